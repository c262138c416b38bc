package lint

// The rules that need the bundle, by name.
const (
	badArchive    = "SW301"
	noAppspec     = "SW302"
	fallbackName  = "SW303"
	twoAppspecs   = "SW304"
	scriptMissing = "SW310"
	notRunnable   = "SW311"
	scriptCRLF    = "SW312"
	noInterpreter = "SW313"
	interpreterNA = "SW314"
	bashism       = "SW315"
	syntaxError   = "SW316"
	goesOn        = "SW317"
	scriptNoFile  = "SW318"
	scriptBOM     = "SW319"
	sourceMissing = "SW320"
	sameTarget    = "SW321"
	installsGit   = "SW322"
	leavingLink   = "SW323"
	selectsNoPath = "SW330"
	selectedTwice = "SW331"
	patternOnFile = "SW332"
	macFolder     = "SW340"
	secretFile    = "SW341"
)

var bundleRules = []Rule{
	{
		ID: badArchive, Severity: bad, Title: "bundle that cannot be unpacked",
		Why:    "The agent refuses an archive that is corrupt, hostile or not what its name says, before anything of it is used.",
		Remedy: "Pack the bundle anew as zip, tar or tgz.",
	},
	{
		ID: noAppspec, Severity: bad, Title: "no appspec at the top",
		Why:    "The agent looks for the appspec at the top of the bundle, under its exact name.",
		Remedy: "Name it appspec.yml and pack the bundle from within the folder that holds it.",
	},
	{
		ID: fallbackName, Severity: warn, Title: "appspec under its second name",
		Why:    "Version 1 of the official agent finds appspec.yaml at Install but not when it runs hooks, and version 2 fails at DownloadBundle.",
		Remedy: "Name it appspec.yml, or say appspec.yaml in the deployment's AppSpecFilename.",
	},
	{
		ID: twoAppspecs, Severity: warn, Title: "two appspec files",
		Why:    "One of them is read and the other one never, whatever is changed in it.",
		Remedy: "Remove the one that is not meant.",
	},
	{
		ID: scriptMissing, Severity: bad, Title: "script missing",
		Why:    "The event fails when the script is not in the bundle.",
		Remedy: "Write the path from the top of the bundle, in its exact case.",
	},
	{
		ID: notRunnable, Severity: warn, Title: "script not executable",
		Why:    "The agent makes it executable itself and says so each time; other tools do not.",
		Remedy: "Run chmod +x, and git update-index --chmod=+x.", Fix: "sets the execute bits in a directory",
	},
	{
		ID: scriptCRLF, Severity: bad, Title: "script with CRLF line ends",
		Why:    "The carriage return becomes a part of the interpreter's name, or of the last word of each command, and the script fails.",
		Remedy: "Save it with LF line ends, and write *.sh text eol=lf into .gitattributes.", Fix: "replaces CRLF by LF in a directory",
	},
	{
		ID: noInterpreter, Severity: warn, Title: "script without interpreter line",
		Why:    "What has no #! line is run by /bin/sh, whatever it was written for, and version 2 may not run it at all.",
		Remedy: "Begin with #!/bin/sh or #!/bin/bash.",
	},
	{
		ID: interpreterNA, Severity: warn, Title: "interpreter not on this host",
		Why:    "A script whose interpreter does not exist cannot be started.",
		Remedy: "Name an interpreter that the hosts have, or have it installed before the script runs.",
	},
	{
		ID: bashism, Severity: bad, Title: "bash syntax under sh",
		Why:    "The interpreter line asks for sh, which refuses the script where sh is not bash, as on Debian and Ubuntu.",
		Remedy: "Write #!/bin/bash on the first line.",
	},
	{
		ID: syntaxError, Severity: bad, Title: "syntax error in a script",
		Why:    "The shell that the script is for refuses it.",
		Remedy: "Mend the line; sh -n or bash -n tells when it is right.",
	},
	{
		ID: goesOn, Severity: note, Title: "script that hides failures",
		Why:    "Without set -e a command that fails does not end the script, and the last command always succeeds, so the deployment goes on.",
		Remedy: "Write set -e below the first line, or end with the status that counts.",
	},
	{
		ID: scriptNoFile, Severity: bad, Title: "script that is no file",
		Why:    "A folder, a broken link or a link that leads out of the bundle cannot be run.",
		Remedy: "Name a file in the bundle.",
	},
	{
		ID: scriptBOM, Severity: bad, Title: "script with a byte order mark",
		Why:    "The mark hides the #! line from the kernel and is no command of any shell.",
		Remedy: "Save it as UTF-8 without a byte order mark.", Fix: "removes it in a directory",
	},
	{
		ID: sourceMissing, Severity: bad, Title: "source missing",
		Why:    "The Install step fails when a source is not in the bundle.",
		Remedy: "Write the path from the top of the bundle, in its exact case.",
	},
	{
		ID: sameTarget, Severity: bad, Title: "two sources for one path",
		Why:    "Two entries that write the same path fail the Install step, even if they write the same content.",
		Remedy: "Let each file come from one entry.",
	},
	{
		ID: installsGit, Severity: warn, Title: ".git is installed",
		Why:    "The whole history of the sources goes to every host, and to the web where the destination is served.",
		Remedy: "Pack with git archive, or leave .git out of the bundle.",
	},
	{
		ID: leavingLink, Severity: warn, Title: "link that leaves the bundle",
		Why:    "The link is installed as it is and leads to whatever the host has at that place.",
		Remedy: "Link within the bundle, or make the link in a script where it is meant.",
	},
	{
		ID: selectsNoPath, Severity: warn, Title: "permissions entry without a path",
		Why:    "Nothing that this bundle installs is selected by the entry, so it is ignored without a word.",
		Remedy: "Compare object, pattern and type with what the files section installs.",
	},
	{
		ID: selectedTwice, Severity: bad, Title: "path of two permissions entries",
		Why:    "A path that two entries select fails the Install step, even if they agree.",
		Remedy: "Make one entry of the two, or let them select different types or names.",
	},
	{
		ID: patternOnFile, Severity: bad, Title: "pattern on a file",
		Why:    "An object that is itself an installed file takes no pattern, except or default ACL entry, and the Install step fails.",
		Remedy: "Remove pattern and except, or make the folder the object.",
	},
	{
		ID: macFolder, Severity: warn, Title: "leftovers of macOS",
		Why:    "__MACOSX and ._ files are installed like all others, and beside a single folder they keep it from being taken away.",
		Remedy: "Pack with zip -X, or with git archive, or delete them with zip -d bundle.zip '__MACOSX/*'.",
	},
	{
		ID: secretFile, Severity: warn, Title: "file that looks like a secret",
		Why:    "Whoever can read the bucket or the deployment root of a host can read what is in the bundle.",
		Remedy: "Leave it out, and let a script fetch it from Secrets Manager or Parameter Store.",
	},
}
