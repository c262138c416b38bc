package appspec

import "slices"

// Rule is one reason for which Parse refuses a file.
type Rule struct {
	// ID is stable and never used for anything else.
	ID string
	// Why is one sentence: what the file must have, and why.
	Why string

	class class
}

// class is how the reference agent fails. All reach the service as error code 5.
type class string

const (
	classSyntax     class = "syntax"     // its YAML parser cannot read the text
	classAlias      class = "alias"      // it refuses aliases
	classDisallowed class = "disallowed" // it refuses dates and tagged objects
	classInvalid    class = "invalid"    // its own validation
	classType       class = "type"       // an unplanned runtime error
	classOurs       class = "ours"       // it has no such bound
)

// The rules by name. Numbers leave room, and are not reused.
const (
	tooLarge      = "SW001"
	notUTF8       = "SW002"
	badSyntax     = "SW003"
	tooDeep       = "SW004"
	hasAlias      = "SW005"
	disallowed    = "SW006"
	badNumber     = "SW007"
	emptyFile     = "SW010"
	notAMapping   = "SW011"
	rootIsList    = "SW012"
	badVersion    = "SW013"
	badOS         = "SW014"
	badBehavior   = "SW015"
	hooksType     = "SW020"
	eventType     = "SW021"
	scriptType    = "SW022"
	noLocation    = "SW023"
	badTimeout    = "SW024"
	timeoutType   = "SW025"
	filesType     = "SW030"
	fileType      = "SW031"
	noSource      = "SW032"
	noDestination = "SW033"
	permsType     = "SW040"
	permType      = "SW041"
	noObject      = "SW042"
	notOnWindows  = "SW043"
	exceptType    = "SW044"
	typesType     = "SW045"
	badType       = "SW046"
	badMode       = "SW047"
	aclsType      = "SW048"
	badACL        = "SW049"
	contextType   = "SW050"
	noContextType = "SW051"
	rangeType     = "SW052"
	badRange      = "SW053"
)

// rules is every reason to refuse, in the order of the checks.
var rules = []Rule{
	{tooLarge, "An appspec file is at most 1 MiB, so that a broken or hostile bundle cannot exhaust the host.", classOurs},
	{notUTF8, "The file is UTF-8 text without control characters, because YAML has no other characters.", classSyntax},
	{badSyntax, "The file is YAML 1.1; where the text is not, nobody can tell what it means.", classSyntax},
	{tooDeep, "Lists and maps nest at most 1,000 deep, so that a hostile bundle cannot exhaust the host.", classOurs},
	{hasAlias, "Aliases (*name) are refused by the reference agent on every supported Ruby, so a file that uses them deploys nowhere else.", classAlias},
	{disallowed, "Dates, times and language-specific tags become objects in YAML 1.1, which the reference agent refuses anywhere in the file, even under keys that nobody reads.", classDisallowed},
	{badNumber, "What has the form of a number has to be one, because YAML 1.1 tries to read it as one wherever it stands.", classType},
	{emptyFile, "A file without content says nothing about the deployment.", classInvalid},
	{notAMapping, "The file is a map of keys such as version, os, files and hooks.", classInvalid},
	{rootIsList, "The file is a map of keys such as version, os, files and hooks, not a list.", classType},
	{badVersion, "version is the number 0.0, the only version of the format there is.", classInvalid},
	{badOS, "os is the operating system of the hosts, and a bundle is made for one of them.", classInvalid},
	{badBehavior, "file_exists_behavior is DISALLOW, OVERWRITE or RETAIN in capital letters, because a word that is not understood could cost files.", classInvalid},
	{hooksType, "hooks is a map from lifecycle events to lists of scripts.", classType},
	{eventType, "A lifecycle event holds a list of scripts, each with a dash.", classType},
	{scriptType, "A script is a map with the key location.", classType},
	{noLocation, "A script has a location, the path of its file in the bundle.", classInvalid},
	{badTimeout, "timeout is a number of seconds, at least 1.", classInvalid},
	{timeoutType, "timeout is a number of seconds, not a list, a map, true or an infinite number.", classType},
	{filesType, "files is a list of maps with source and destination.", classType},
	{fileType, "Each entry of files is a map with source and destination.", classType},
	{noSource, "A files entry has a source, a path in the bundle; / is all of it.", classInvalid},
	{noDestination, "A files entry has a destination, a folder on the host.", classInvalid},
	{permsType, "permissions is a list of maps with the key object.", classType},
	{permType, "Each entry of permissions is a map with the key object.", classType},
	{noObject, "A permissions entry has an object, the file or folder on the host that it is about.", classInvalid},
	{notOnWindows, "permissions are for Linux hosts only.", classInvalid},
	{exceptType, "except is a list of patterns.", classType},
	{typesType, "type is a list of file and directory.", classType},
	{badType, "type holds file and directory and nothing else.", classInvalid},
	{badMode, "mode is one to four octal digits; symbolic modes are not understood.", classInvalid},
	{aclsType, "acls is a list of texts.", classType},
	{badACL, "An ACL entry is [default:][user|group|mask|other:][name]:permissions, and those of the owner, the group and others come from mode.", classInvalid},
	{contextType, "context is a map with name, type and range.", classType},
	{noContextType, "A context has a type, the SELinux type of the files.", classInvalid},
	{rangeType, "range is a text such as s0:c0.c3.", classType},
	{badRange, "range is s<n>[-s<n>][:<categories>], the low level first and no category twice.", classInvalid},
}

// Rules are the reasons for which Parse refuses a file, in the order of its checks. Documentation is made from them.
func Rules() []Rule { return slices.Clone(rules) }

func classOf(id string) class {
	for _, r := range rules {
		if r.ID == id {
			return r.class
		}
	}
	return ""
}
