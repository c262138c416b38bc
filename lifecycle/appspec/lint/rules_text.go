package lint

// The rules on what the parser accepts, by name.
const (
	unknownEvent  = "SW101"
	serviceEvent  = "SW102"
	strayEvent    = "SW103"
	eventNoText   = "SW104"
	oldRevision   = "SW106"
	unknownKey    = "SW110"
	misspeltKey   = "SW111"
	overwriteKey  = "SW112"
	misplacedKey  = "SW113"
	duplicateKey  = "SW114"
	otherPlatform = "SW115"
	notScalar     = "SW116"
	mapForList    = "SW117"
	doesNothing   = "SW118"
	forWindows    = "SW119"
	hasBOM        = "SW120"
	hasCRLF       = "SW121"
	hasTabs       = "SW122"
	moreDocuments = "SW123"
	oddTimeout    = "SW130"
	longEvent     = "SW131"
	noSuchUser    = "SW132"
	oddSudo       = "SW133"
	climbing      = "SW134"
	oddLocation   = "SW135"
	foreignScript = "SW136"
	sameScript    = "SW137"
	oddTarget     = "SW140"
	climbingFrom  = "SW141"
	sameFiles     = "SW142"
	noText        = "SW143"
	emptyPath     = "SW144"
	globSource    = "SW145"
	plainMode     = "SW150"
	neverObject   = "SW151"
	neverPattern  = "SW152"
	neverExcept   = "SW153"
	setsNothing   = "SW154"
	selectsNone   = "SW155"
	twiceChosen   = "SW156"
	losesSetID    = "SW157"
	worldWritable = "SW158"
	noRange       = "SW159"
)

const filesHead = "files:\n  - source: /\n    destination: /srv/app\n"

var textRules = []Rule{
	{
		unknownEvent, bad, "unknown lifecycle event",
		"No command of a deployment asks for an event of another name, so its scripts never run, and no agent says a word about it.",
		"Write one of BeforeBlockTraffic, AfterBlockTraffic, ApplicationStop, BeforeInstall, AfterInstall, ApplicationStart, ValidateService, BeforeAllowTraffic, AfterAllowTraffic.",
		"hooks:\n  BeoreInstall:\n    - location: a.sh\n", "hooks:\n  BeforeInstall:\n    - location: a.sh\n", "spells the event right, where one name is near and free",
	},
	{
		serviceEvent, bad, "event that runs no scripts",
		"The service or the agent does the work of this event itself, or it exists for Lambda and ECS only, so scripts under it never run on a host.",
		"Move the scripts to the event before or after it, such as BeforeInstall or AfterInstall for Install.",
		"hooks:\n  Install:\n    - location: a.sh\n", "hooks:\n  AfterInstall:\n    - location: a.sh\n", "",
	},
	{
		strayEvent, bad, "event outside hooks",
		"Only what stands below hooks is looked at, so scripts of an event anywhere else never run.",
		"Move the event below hooks, and indent it by as much as its neighbours.",
		"AfterInstall:\n  - location: a.sh\n", "hooks:\n  AfterInstall:\n    - location: a.sh\n", "",
	},
	{
		eventNoText, bad, "event name that is no text",
		"YAML 1.1 reads the key as a boolean, a number or nothing, and no lifecycle event has such a name.",
		"Write the name of an event.",
		"hooks:\n  on:\n    - location: a.sh\n", "hooks:\n  AfterInstall:\n    - location: a.sh\n", "",
	},
	{
		oldRevision, note, "scripts of the previous revision",
		"BeforeBlockTraffic, AfterBlockTraffic and ApplicationStop run the scripts of the revision that was installed last, so what is written here has no effect on the deployment that brings it.",
		"Nothing has to be done; a change to these scripts counts from the deployment after this one.",
		"hooks:\n  ApplicationStop:\n    - location: stop.sh\n", "hooks:\n  ApplicationStart:\n    - location: start.sh\n", "",
	},
	{
		unknownKey, warn, "unknown key",
		"A key that means nothing where it stands is ignored without a word.",
		"Remove it, or write the key that was meant.",
		"files:\n  - source: /\n    destination: /srv/app\n    recursive: true\n", filesHead, "",
	},
	{
		misspeltKey, bad, "misspelt key",
		"A key that is misspelt is ignored without a word, and the default of the right one applies.",
		"Spell the key right.",
		"hooks:\n  AfterInstall:\n    - location: a.sh\n      timout: 60\n", "hooks:\n  AfterInstall:\n    - location: a.sh\n      timeout: 60\n", "spells the key right, unless the right one is there as well",
	},
	{
		overwriteKey, warn, "overwrite in a files entry",
		"There is no such key: whether files that exist already are replaced is said once for the whole deployment, and the default is to fail.",
		"Remove it and write file_exists_behavior: OVERWRITE at the top level.",
		"files:\n  - source: /\n    destination: /srv/app\n    overwrite: true\n", "file_exists_behavior: OVERWRITE\n" + filesHead, "moves it to the top level as file_exists_behavior: OVERWRITE, where every entry says overwrite: true and nothing else is said there",
	},
	{
		misplacedKey, warn, "key in the wrong place",
		"The key means something elsewhere in the file, and is ignored where it stands.",
		"Move it to where it belongs.",
		"files:\n  - source: /\n    destination: /srv/app\n    file_exists_behavior: OVERWRITE\n", "file_exists_behavior: OVERWRITE\n" + filesHead, "",
	},
	{
		duplicateKey, bad, "key given twice",
		"Of equal keys of a map the last one wins, and what the others say is lost without a word.",
		"Join the two, or remove one.",
		"hooks:\n  AfterInstall:\n    - location: a.sh\n  AfterInstall:\n    - location: b.sh\n", "hooks:\n  AfterInstall:\n    - location: a.sh\n    - location: b.sh\n", "",
	},
	{
		otherPlatform, note, "appspec of another compute platform",
		"Resources is the section of appspec files for Lambda and ECS, where no agent runs.",
		"Nothing has to be done if the file is for Lambda or ECS; otherwise write os: linux, files and hooks.",
		"Resources:\n  - TargetService: {}\n", filesHead, "",
	},
	{
		notScalar, bad, "list or map where a text belongs",
		"Agents turn the list or map into a text such as [\"a.sh\"], and then look for a file or user of that name.",
		"Write a single text.",
		"hooks:\n  AfterInstall:\n    - location: [a.sh]\n", "hooks:\n  AfterInstall:\n    - location: a.sh\n", "",
	},
	{
		mapForList, note, "empty map where a list belongs",
		"An empty map passes for an empty list, which the next entry that is written there would not.",
		"Write [] or remove the key.",
		"files: {}\nhooks:\n  AfterInstall:\n    - location: a.sh\n", "files: []\nhooks:\n  AfterInstall:\n    - location: a.sh\n", "",
	},
	{
		doesNothing, warn, "nothing to do",
		"A deployment of a file without files and without scripts succeeds and changes nothing.",
		"Write files, hooks or both.",
		"version: 0.0\nos: linux\n", filesHead, "",
	},
	{
		forWindows, note, "file for Windows",
		"An agent on Linux refuses a file whose os is windows.",
		"Write os: linux if the hosts run Linux.",
		"version: 0.0\nos: windows\n", filesHead, "",
	},
	{
		hasBOM, warn, "byte order mark",
		"Version 1 of the official agent takes the mark for a part of the first key, and fails with a message about os or version.",
		"Save the file as UTF-8 without a byte order mark.",
		"\ufeffversion: 0.0\nos: linux\n" + filesHead, filesHead, "removes it",
	},
	{
		hasCRLF, note, "CRLF line ends",
		"YAML does not mind, but an editor or a checkout that writes CRLF here writes it into scripts too, and those then fail.",
		"Save the file with LF line ends, and write *.sh text eol=lf into .gitattributes.",
		"files:\r\n  - source: /\r\n    destination: /srv/app\r\n", filesHead, "replaces CRLF by LF",
	},
	{
		hasTabs, note, "tab in the indentation",
		"A tab may not indent in YAML; it is accepted here because the line is inside brackets or has no content, and other tools refuse it.",
		"Indent by spaces.",
		"files: [\n\t{source: /, destination: /srv/app}]\n", "files: [\n  {source: /, destination: /srv/app}]\n", "replaces each tab by two spaces, where that changes nothing",
	},
	{
		moreDocuments, warn, "text after the document",
		"Only the first YAML document of a file is read, and whatever follows is ignored without a word.",
		"Remove what follows, or make it a part of the first document.",
		filesHead + "---\nhooks:\n  AfterInstall:\n    - location: a.sh\n", "---\n" + filesHead, "",
	},
	{
		oddTimeout, warn, "timeout that is no plain number",
		"Agents differ on it: version 1 reads the digits that it begins with, so that 5m is five seconds, and version 2 refuses the file.",
		"Write whole seconds without quotes or unit, such as 300.",
		"hooks:\n  AfterInstall:\n    - location: a.sh\n      timeout: 5m\n", "hooks:\n  AfterInstall:\n    - location: a.sh\n      timeout: 300\n", "",
	},
	{
		longEvent, warn, "event of more than an hour",
		"The service gives all scripts of an event one hour together, and fails the deployment after that whatever the timeouts say; a script without timeout counts as 3600 seconds.",
		"Give the scripts timeouts that come to 3600 or less.",
		"hooks:\n  AfterInstall:\n    - location: a.sh\n      timeout: 7200\n", "hooks:\n  AfterInstall:\n    - location: a.sh\n      timeout: 3600\n", "",
	},
	{
		noSuchUser, bad, "user that cannot exist",
		"No Linux user has such a name, so the script cannot be started.",
		"Write the name of a user, or remove runas to run as the agent's user.",
		"hooks:\n  AfterInstall:\n    - location: a.sh\n      runas: ec2 user\n", "hooks:\n  AfterInstall:\n    - location: a.sh\n      runas: ec2-user\n", "",
	},
	{
		oddSudo, warn, "sudo that is no boolean",
		"Version 1 takes everything but a plain false for true, 'false' in quotes and 0 included, and version 2 refuses the file.",
		"Write true or false without quotes.",
		"hooks:\n  AfterInstall:\n    - location: a.sh\n      sudo: 'false'\n", "hooks:\n  AfterInstall:\n    - location: a.sh\n      sudo: false\n", "",
	},
	{
		climbing, bad, "script outside the bundle",
		"A location is a path from the top of the bundle, and one that climbs out of it is refused.",
		"Put the script into the bundle and write its path from the top.",
		"hooks:\n  AfterInstall:\n    - location: ../a.sh\n", "hooks:\n  AfterInstall:\n    - location: scripts/a.sh\n", "",
	},
	{
		oddLocation, warn, "location with blanks or shell characters",
		"A script gets no arguments, and version 1 of the official agent hands the path to a shell, which takes it apart.",
		"Name a file without blanks and shell characters; put arguments into the script.",
		"hooks:\n  AfterInstall:\n    - location: scripts/a.sh --now\n", "hooks:\n  AfterInstall:\n    - location: scripts/a.sh\n", "",
	},
	{
		foreignScript, warn, "script of Windows",
		"A Linux host cannot run it unless it has the interpreter that its first line names.",
		"Write a shell script, or os: windows.",
		"hooks:\n  AfterInstall:\n    - location: a.bat\n", "hooks:\n  AfterInstall:\n    - location: a.sh\n", "",
	},
	{
		sameScript, note, "one script, run twice",
		"The same script runs more than once in a deployment, which has to be meant; LIFECYCLE_EVENT tells it where it is.",
		"Nothing has to be done if it is meant; otherwise name another script.",
		"hooks:\n  BeforeInstall:\n    - location: a.sh\n  AfterInstall:\n    - location: a.sh\n", "hooks:\n  BeforeInstall:\n    - location: a.sh\n  AfterInstall:\n    - location: b.sh\n", "",
	},
	{
		oddTarget, warn, "destination that is not absolute",
		"A relative path starts at the working directory of the agent, ~ is the home of the agent's user, and variables are not expanded.",
		"Write an absolute path.",
		"files:\n  - source: /\n    destination: ~/app\n", "files:\n  - source: /\n    destination: /home/app/app\n", "",
	},
	{
		climbingFrom, bad, "source outside the bundle",
		"A source is a path from the top of the bundle, and one that climbs out of it is refused.",
		"Put the files into the bundle and write their path from the top.",
		"files:\n  - source: ../app\n    destination: /srv/app\n", filesHead, "",
	},
	{
		sameFiles, bad, "the same files twice",
		"Two entries that write the same path fail the Install step, even if they write the same content.",
		"Remove one of them.",
		"files:\n  - source: /\n    destination: /srv/app\n  - source: /\n    destination: /srv/app/\n", filesHead, "",
	},
	{
		noText, bad, "number, boolean or nothing where a text belongs",
		"Agents accept the value and then fail the Install step over it.",
		"Put the value in quotes if it is meant; owners and groups are names, never numbers.",
		filesHead + "permissions:\n  - object: /srv/app\n    owner: 1000\n", filesHead + "permissions:\n  - object: /srv/app\n    owner: www\n", "",
	},
	{
		emptyPath, warn, "empty source or destination",
		"Agents differ on it: for version 1 an empty source is the whole bundle, and version 2 refuses the file.",
		"Write / for the whole bundle, and an absolute path for the destination.",
		"files:\n  - source: ''\n    destination: /srv/app\n", filesHead, "",
	},
	{
		globSource, warn, "pattern as a source",
		"A source is one file or folder; the characters of patterns stand for themselves.",
		"Name the folder: what is in it is installed into the destination.",
		"files:\n  - source: build/*\n    destination: /srv/app\n", "files:\n  - source: build\n    destination: /srv/app\n", "",
	},
	{
		plainMode, warn, "mode with a leading zero, without quotes",
		"YAML 1.1 reads an octal number, which version 1 of the official agent writes in decimal: 0644 is applied as 0420 and 0755 is refused; version 2 and this agent apply what is written.",
		"Leave the zero out, or put the mode in quotes: every agent reads that the same.",
		filesHead + "permissions:\n  - object: /srv/app\n    mode: 0644\n", filesHead + "permissions:\n  - object: /srv/app\n    mode: 644\n", "leaves the zero out",
	},
	{
		neverObject, warn, "permissions on what is not installed",
		"Permissions are applied only to what the files section installs; an object outside of it is ignored without a word.",
		"Write an absolute path at, above or below a destination, or change the mode in a script.",
		filesHead + "permissions:\n  - object: /var/log/app\n    owner: www\n", filesHead + "permissions:\n  - object: /srv/app\n    owner: www\n", "",
	},
	{
		neverPattern, warn, "pattern that can never match",
		"A pattern is compared with the name of a direct child of the object: only * stands for other characters, a pattern with a slash matches nothing, and ** alone is everything below.",
		"Write a pattern for names, or ** for all, and make the folder the object.",
		filesHead + "permissions:\n  - object: /srv/app\n    pattern: bin/*.sh\n    mode: 755\n", filesHead + "permissions:\n  - object: /srv/app/bin\n    pattern: '*.sh'\n    mode: 755\n", "",
	},
	{
		neverExcept, warn, "except that can never match",
		"An except is compared with the names of direct children of the object, even under the pattern **, so one with a slash excludes nothing.",
		"Write the name of a child of the object, or name the folders one by one.",
		filesHead + "permissions:\n  - object: /srv/app\n    except: [bin/run]\n    mode: 644\n", filesHead + "permissions:\n  - object: /srv/app\n    except: [run]\n    mode: 644\n", "",
	},
	{
		setsNothing, warn, "permissions entry that sets nothing",
		"Without owner, group, mode, acls and context the entry changes nothing, and another entry for the same paths fails the Install step all the same.",
		"Say what is to be set, or remove the entry.",
		filesHead + "permissions:\n  - object: /srv/app\n    type: [file]\n", filesHead + "permissions:\n  - object: /srv/app\n    type: [file]\n    mode: 644\n", "",
	},
	{
		selectsNone, warn, "permissions entry that selects nothing",
		"Type, pattern and except together leave nothing that the entry could apply to.",
		"Leave type out for files and directories, and do not exclude all that the pattern selects.",
		filesHead + "permissions:\n  - object: /srv/app\n    type: []\n    mode: 644\n", filesHead + "permissions:\n  - object: /srv/app\n    mode: 644\n", "",
	},
	{
		twiceChosen, bad, "path of two permissions entries",
		"A path that two entries select fails the Install step, even if they agree.",
		"Make one entry of the two, or let them select different types or names.",
		filesHead + "permissions:\n  - object: /srv/app\n    owner: www\n  - object: /srv/app\n    mode: 755\n", filesHead + "permissions:\n  - object: /srv/app\n    owner: www\n    mode: 755\n", "",
	},
	{
		losesSetID, warn, "set-id bit that is lost",
		"The owner is set after the mode, and the kernel then clears the set-user-id and set-group-id bits of files.",
		"Set the mode in an AfterInstall script, or leave owner and group out.",
		filesHead + "permissions:\n  - object: /srv/app\n    type: [file]\n    mode: 4755\n    owner: www\n", filesHead + "permissions:\n  - object: /srv/app\n    type: [file]\n    mode: 755\n    owner: www\n", "",
	},
	{
		worldWritable, note, "writable for everybody",
		"Every user and every broken-into service of the host can replace what is installed.",
		"Give the files to the user that writes them, and take the write bit from others.",
		filesHead + "permissions:\n  - object: /srv/app\n    mode: 777\n", filesHead + "permissions:\n  - object: /srv/app\n    mode: 755\n", "",
	},
	{
		noRange, warn, "context without range",
		"Version 1 of the official agent fails the Install step over a context without range.",
		"Write range: s0.",
		filesHead + "permissions:\n  - object: /srv/app\n    context: {type: httpd_sys_content_t}\n", filesHead + "permissions:\n  - object: /srv/app\n    context: {type: httpd_sys_content_t, range: s0}\n", "",
	},
}
