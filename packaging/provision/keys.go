package provision

import (
	"net/url"
	"path"
	"regexp"
	"strings"
	"sync"
)

// kind is how the value of a key is written.
type kind int

const (
	kindText kind = iota
	kindPath      // absolute
	kindNumber
	kindBool
	kindEnum
	kindBlock       // a text of several lines
	kindList        // texts
	kindPairs       // names with texts, in their order
	kindDirectories // mappings of path, owner, group, mode
)

var kindNames = map[kind]string{
	kindText: "text", kindPath: "absolute path", kindNumber: "whole number", kindBool: "true or false", kindBlock: "text of lines",
	kindList: "list of texts", kindPairs: "names and values", kindDirectories: "list of folders",
}

// value is what was written, after its kind was found right.
type value struct {
	text        string
	number      int
	yes         bool
	list        []string
	pairs       []setting
	directories []directory
}

// key is one row of the table that the parser and the documentation are made from.
type key struct {
	name     string
	kind     kind
	def      string   // written as in a profile; "" leaves the zero value
	enum     []string // of kindEnum, and of the elements of a list
	min, max int      // of kindNumber
	doc      string
	check    func(string) string // of a text or each element: "" or what is wrong with it
	set      func(*Profile, value)
}

// form is what a text has to look like. It is compiled when it is first asked for: the program that this package is a part of is started for every
// hook, and nearly always for something else.
type form func() *regexp.Regexp

func newForm(expression string) form {
	return sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(expression) })
}

// MatchString reports whether a text has the form.
func (f form) MatchString(text string) bool { return f().MatchString(text) }

var (
	nameForm    = newForm(`^[a-z][a-z0-9-]{0,31}$`)
	zoneForm    = newForm(`^[A-Z][A-Za-z0-9_+-]*(/[A-Za-z0-9_+-]+){0,2}$`)
	packageForm = newForm(`^[A-Za-z0-9][A-Za-z0-9.+_:-]*$`)
	unitForm    = newForm(`^[A-Za-z0-9][A-Za-z0-9@._-]*$`)
	versionForm = newForm(`^[0-9]+\.[0-9]+$`)
	hostForm    = newForm(`^[A-Za-z0-9.:%_-]+$`)
	sqlForm     = newForm(`^[A-Za-z0-9_]{1,64}$`)
	urlPathForm = newForm(`^/[A-Za-z0-9._/-]*$`)
	userForm    = newForm(`^[a-z_][a-z0-9_-]*\$?$`)
	modeForm    = newForm(`^0?[0-7]{3}$|^0?[0-7]{4}$`)
	iniForm     = newForm(`^[A-Za-z_][A-Za-z0-9_.-]*$`)
	prefixForm  = newForm(`^[A-Z][A-Z0-9_]*$`)
)

func matches(form form, otherwise string) func(string) string {
	return func(s string) string {
		if form.MatchString(s) {
			return ""
		}
		return otherwise
	}
}

// oneLine refuses what would end a line of a configuration file.
func oneLine(s string) string {
	if strings.ContainsAny(s, "\n\r\x00") {
		return "holds a line end"
	}
	return ""
}

// servedPath refuses what cannot stand between quotation marks in the web server's configuration.
func servedPath(s string) string {
	if strings.ContainsAny(s, "\"\\\n\r\x00") || path.Clean(s) != s || s == "/" {
		return "is not a path of a folder to serve"
	}
	return ""
}

func upstreamForm(s string) string {
	u, err := url.Parse(s)
	if err != nil || u.Scheme != "http" || u.Host == "" || strings.ContainsAny(s, "\" \\\n\r$") {
		return "is not an http URL of a host, a port and a path"
	}
	return ""
}

// grantable are the rights on the application's database that a profile may give.
var grantable = []string{
	"SELECT", "INSERT", "UPDATE", "DELETE", "CREATE", "ALTER", "DROP", "INDEX", "REFERENCES", "CREATE TEMPORARY TABLES",
	"LOCK TABLES", "CREATE VIEW", "SHOW VIEW", "TRIGGER", "EXECUTE",
}

// leastKeepAlive is above the 60 s that an Application Load Balancer keeps an idle connection by default.
const leastKeepAlive = 65

// keys is the table, in the order of the documentation.
var keys = []key{
	{
		name: "name", doc: "Name of the application: part of the names of files that are made. Needed.",
		check: matches(nameForm, "is not a name: small letters, digits and hyphens, a letter first"), set: func(p *Profile, v value) { p.name = v.text },
	},
	{
		name: "timezone", doc: "Zone of the host's clock. Not set: left as it is.",
		check: matches(zoneForm, "is not the name of a time zone, such as Asia/Tokyo"), set: func(p *Profile, v value) { p.timezone = v.text },
	},
	{
		name: "packages", kind: kindList, enum: logicalNames(), doc: "Packages by their common names; what other keys need comes by itself.",
		set: func(p *Profile, v value) { p.packages = v.list },
	},
	{
		name: "extra_packages", kind: kindList, doc: "Packages by the name that this platform gives them.",
		check: matches(packageForm, "is not the name of a package"), set: func(p *Profile, v value) { p.extra = v.list },
	},
	{
		name: "services", kind: kindList, doc: "Units to enable and start beside those of the web server, PHP-FPM and the database.",
		check: matches(unitForm, "is not the name of a unit"), set: func(p *Profile, v value) { p.services = v.list },
	},
	{
		name: "php.version", doc: "Version of PHP, such as 8.3, where the platform has several. Not set: the platform's first.",
		check: matches(versionForm, "is not a version such as 8.3"), set: func(p *Profile, v value) { p.php.version = v.text },
	},
	{
		name: "php.handler", kind: kindEnum, def: handlerPlatform, enum: []string{handlerPlatform, handlerFPM, handlerModule},
		doc: "Who runs PHP: PHP-FPM, the web server itself, or what is usual on the platform.", set: func(p *Profile, v value) { p.php.handler = v.text },
	},
	{
		name: "php.ini", kind: kindPairs, doc: "Settings of PHP, written as a drop-in file; php.ini itself is left alone.",
		check: oneLine, set: func(p *Profile, v value) { p.php.ini = v.pairs },
	},
	{
		name: "web.server_name", doc: "ServerName of the virtual host. Not set: it answers to any name.",
		check: matches(hostForm, "is not a host name"), set: func(p *Profile, v value) { p.web.serverName = v.text },
	},
	{
		name: "web.port", kind: kindNumber, def: "80", min: 1, max: 65535, doc: "Port of the virtual host.",
		set: func(p *Profile, v value) { p.web.port = v.number },
	},
	{
		name: "web.document_root", kind: kindPath, doc: "Folder that is served. Needed.",
		check: servedPath, set: func(p *Profile, v value) { p.web.documentRoot = v.text },
	},
	{
		name: "web.allow_override", def: "None", doc: "What an .htaccess file may set: All, None, or a list as Apache has it.",
		check: oneLine, set: func(p *Profile, v value) { p.web.allowOverride = v.text },
	},
	{
		name: "web.require", def: "all granted", doc: "Who may see the document root.",
		check: oneLine, set: func(p *Profile, v value) { p.web.require = v.text },
	},
	{
		name: "web.rewrite", kind: kindBool, def: "true", doc: "Load mod_rewrite.",
		set: func(p *Profile, v value) { p.web.rewrite = v.yes },
	},
	{
		name: "web.welcome_page", kind: kindBool, def: "false", doc: "Keep the platform's own page or site for an empty server.",
		set: func(p *Profile, v value) { p.web.welcomePage = v.yes },
	},
	{
		name: "web.keep_alive_timeout", kind: kindNumber, def: "65", min: leastKeepAlive, max: 4000,
		doc: "Seconds that an idle connection is kept. Below that of the balancer it would use connections that are being closed.",
		set: func(p *Profile, v value) { p.web.keepAliveTimeout = v.number },
	},
	{
		name: "web.directives", kind: kindList, doc: "Further lines of the virtual host, as Apache has them. They are tested before they are used.",
		check: oneLine, set: func(p *Profile, v value) { p.web.directives = v.list },
	},
	{
		name: "directories", kind: kindDirectories, doc: "Folders, each with `path`, and `owner`, `group`, `mode` where they matter. `web-user` and `web-group` are the platform's.",
		set: func(p *Profile, v value) { p.directories = v.directories },
	},
	{
		name: "database.kind", kind: kindEnum, def: databaseNone, enum: []string{databaseNone, databaseSQLite, databaseMariaDB, databaseMySQL},
		doc: "`mariadb` runs a server here unless `database.server` names one; `mysql` is a server elsewhere.", set: func(p *Profile, v value) { p.database.kind = v.text },
	},
	{
		name: "database.file", kind: kindPath, doc: "File of an SQLite database. Made by and for the web server's user.",
		set: func(p *Profile, v value) { p.database.file = v.text },
	},
	{
		name: "database.name", doc: "Name of the database on its server.",
		check: matches(sqlForm, "is not a name: letters, digits and _"), set: func(p *Profile, v value) { p.database.name = v.text },
	},
	{
		name: "database.user", doc: "User that the application logs in as.",
		check: matches(sqlForm, "is not a name: letters, digits and _"), set: func(p *Profile, v value) { p.database.user = v.text },
	},
	{
		name: "database.user_host", def: "localhost", doc: "From where that user may connect: a name, an address, or % for anywhere.",
		check: matches(hostForm, "is not a host name, an address or %"), set: func(p *Profile, v value) { p.database.userHost = v.text },
	},
	{
		name: "database.server", doc: "Server elsewhere. Not set: on this host.",
		check: matches(hostForm, "is not a host name"), set: func(p *Profile, v value) { p.database.server = v.text },
	},
	{
		name: "database.admin_file", kind: kindPath, doc: "Option file of the client with the login of an administrator. Not set: root, by the socket.",
		set: func(p *Profile, v value) { p.database.adminFile = v.text },
	},
	{
		name: "database.password_file", kind: kindPath, doc: "File whose first line is the password of `database.user`. Only root may be able to read it.",
		set: func(p *Profile, v value) { p.database.passwordFile = v.text },
	},
	{
		name: "database.grants", kind: kindList, enum: grantable, def: "SELECT, INSERT, UPDATE, DELETE, CREATE, ALTER, INDEX",
		doc: "Rights of that user on its database, and no others.", set: func(p *Profile, v value) { p.database.grants = v.list },
	},
	{
		name: "database.schema", kind: kindBlock, doc: "Statements that make what is missing, CREATE … IF NOT EXISTS. Run when a table of them is missing.",
		set: func(p *Profile, v value) { p.database.schema = v.text },
	},
	{
		name: "database.schema_file", doc: "The same from a file; a relative path begins at the profile's folder.",
		check: oneLine, set: func(p *Profile, v value) { p.database.schemaFile = v.text },
	},
	{
		name: "health.path", doc: "Path of the site under which a balancer gets the agent's answer. Not set: none.",
		check: matches(urlPathForm, "is not a path of a URL: / and letters, digits, . _ -"), set: func(p *Profile, v value) { p.health.path = v.text },
	},
	{
		name: "health.upstream", def: "http://127.0.0.1:8427/health", doc: "Where the agent answers: the web server passes the question on.",
		check: upstreamForm, set: func(p *Profile, v value) { p.health.upstream = v.text },
	},
	{
		name: "health.file", kind: kindPath, doc: "The agent's `health.status_file`, served instead: 200 while it is there, else 503. The agent is not asked.",
		check: servedPath, set: func(p *Profile, v value) { p.health.file = v.text },
	},
	{
		name: "environment.file", kind: kindPath, doc: "File of NAME=value lines that the deployment scripts read; other lines of it stay. With a database it gets the data source and the login.",
		set: func(p *Profile, v value) { p.environment.file = v.text },
	},
	{
		name: "environment.prefix", def: "APP_", doc: "What the names of those settings begin with: `APP_DSN`, `APP_DB_USER`, `APP_DB_PASSWORD`.",
		check: matches(prefixForm, "is not the beginning of a variable's name: capitals, digits and _"), set: func(p *Profile, v value) { p.environment.prefix = v.text },
	},
	{
		name: "environment.set", kind: kindPairs, doc: "Further settings of that file, with their whole names.",
		check: oneLine, set: func(p *Profile, v value) { p.environment.values = v.pairs },
	},
}

// A Key describes a key of a profile, for documentation.
type Key struct {
	Name, Type, Default, Doc string
}

// Keys gives all keys in the order of the documentation.
func Keys() []Key {
	all := make([]Key, len(keys))
	for i, k := range keys {
		all[i] = Key{Name: k.name, Type: k.typeName(), Default: k.def, Doc: k.doc}
	}
	return all
}

func (k *key) typeName() string {
	switch {
	case k.kind == kindEnum:
		return strings.Join(k.enum, ", ")
	case k.kind == kindList && k.enum != nil && len(k.enum) <= len(grantable):
		return "list of " + strings.Join(k.enum, ", ")
	case k.kind == kindList && k.enum != nil:
		return "list of names in the table below"
	}
	return kindNames[k.kind]
}
