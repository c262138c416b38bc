package provision

// What every platform calls what a profile names. {php} is the version of PHP, {name} the profile's name. A package that is "" is part of
// another one; of a|b either will do, and a is installed. A row is chosen by ID and the beginning of VERSION_ID of os-release; the last rows of a family also by ID_LIKE.

// platform is one row: packages, paths and units.
type platform struct {
	title    string
	releases []release
	like     []string // ID_LIKE that this row serves when no other knows the ID
	manager  string   // apt, dnf, yum
	php      []string // versions that it has, the usual one first
	handlers []string // the usual one first
	source   source   // what has to be switched on before PHP and the database can be installed
	packages map[string]string
	web      webServer
	fpm      phpFPM
	ini      []iniPlace
	database string // unit of the database server
}

// release is a pair of os-release; an empty version is any.
type release struct{ id, version string }

// source is a set of packages that is off by default.
type source struct {
	kind   string // sourceExtras, sourceModule or none
	topics []string
}

const (
	sourceExtras = "extras" // amazon-linux-extras
	sourceModule = "module" // dnf module streams, as name:stream
)

type webServer struct {
	unit, user, group string
	test              []string            // finds out whether the configuration is good
	site              string              // the virtual host
	siteLink          string              // link that switches it on; "" where the file alone does
	welcome           welcome             // the platform's own page or site
	modules           map[string][]string // module → files to link; none where all modules are on
	available         string              // where those files are
	enabled           string              // where they are linked
}

// welcome is what a server without a site shows, and how it is switched off.
type welcome struct {
	blank string // a file whose content goes, because an upgrade of the package would bring the file back
	link  string // a link that goes
	is    string // the target of that link
}

type phpFPM struct {
	unit, socket string
	test         []string
}

// iniPlace is a folder of settings: a file, and the links to it.
type iniPlace struct {
	handler string // only with this handler; "" always
	file    string
	links   []string
}

// rhelPackages are the names of Fedora's descendants.
var rhelPackages = map[string]string{
	"httpd": "httpd", "php": "php-cli", "php-fpm": "php-fpm", "php-pdo": "php-pdo", "php-sqlite": "", "php-mysql": "php-mysqlnd",
	"php-mbstring": "php-mbstring", "php-xml": "php-xml", "php-intl": "php-intl", "php-gd": "php-gd", "php-curl": "", "php-zip": "php-pecl-zip",
	"php-opcache": "php-opcache", "php-bcmath": "php-bcmath", "mariadb-server": "mariadb-server", "mariadb-client": "mariadb",
	"sqlite": "sqlite", "curl": "curl", "unzip": "unzip", "zip": "zip", "git": "git", "acl": "acl", "rsync": "rsync", "tzdata": "tzdata", "chrony": "chrony",
}

var al2023Packages = map[string]string{
	"httpd": "httpd", "php": "php{php}-cli", "php-fpm": "php{php}-fpm", "php-pdo": "php{php}-pdo", "php-sqlite": "", "php-mysql": "php{php}-mysqlnd",
	"php-mbstring": "php{php}-mbstring", "php-xml": "php{php}-xml", "php-intl": "php{php}-intl", "php-gd": "php{php}-gd", "php-curl": "", "php-zip": "php{php}-zip",
	"php-opcache": "php{php}-opcache", "php-bcmath": "php{php}-bcmath", "mariadb-server": "mariadb105-server", "mariadb-client": "mariadb105",
	// curl-minimal is part of the image, gives /usr/bin/curl and conflicts with curl: either will do.
	"sqlite": "sqlite", "curl": "curl-minimal|curl", "unzip": "unzip", "zip": "zip", "git": "git", "acl": "acl", "rsync": "rsync", "tzdata": "tzdata", "chrony": "chrony",
}

var debianPackages = map[string]string{
	"httpd": "apache2", "php": "php{php}-cli", "php-fpm": "php{php}-fpm", "php-module": "libapache2-mod-php{php}", "php-pdo": "",
	"php-sqlite": "php{php}-sqlite3", "php-mysql": "php{php}-mysql", "php-mbstring": "php{php}-mbstring", "php-xml": "php{php}-xml",
	"php-intl": "php{php}-intl", "php-gd": "php{php}-gd", "php-curl": "php{php}-curl", "php-zip": "php{php}-zip", "php-opcache": "php{php}-opcache",
	"php-bcmath": "php{php}-bcmath", "mariadb-server": "mariadb-server", "mariadb-client": "mariadb-client", "sqlite": "sqlite3", "curl": "curl",
	"unzip": "unzip", "zip": "zip", "git": "git", "acl": "acl", "rsync": "rsync", "tzdata": "tzdata", "chrony": "chrony",
}

var rhelWeb = webServer{
	unit: "httpd.service", user: "apache", group: "apache", test: []string{"httpd", "-t"},
	site: "/etc/httpd/conf.d/{name}.conf", welcome: welcome{blank: "/etc/httpd/conf.d/welcome.conf"},
}

var debianWeb = webServer{
	unit: "apache2.service", user: "www-data", group: "www-data", test: []string{"apache2ctl", "-t"},
	site: "/etc/apache2/sites-available/{name}.conf", siteLink: "/etc/apache2/sites-enabled/{name}.conf",
	welcome: welcome{link: "/etc/apache2/sites-enabled/000-default.conf", is: "../sites-available/000-default.conf"},
	modules: map[string][]string{
		"rewrite": {"rewrite.load"}, "proxy": {"proxy.conf", "proxy.load"}, "proxy_http": {"proxy_http.load"}, "proxy_fcgi": {"proxy_fcgi.load"},
	},
	available: "/etc/apache2/mods-available", enabled: "/etc/apache2/mods-enabled",
}

var rhelFPM = phpFPM{unit: "php-fpm.service", socket: "/run/php-fpm/www.sock", test: []string{"php-fpm", "-t"}}

var debianFPM = phpFPM{unit: "php{php}-fpm.service", socket: "/run/php/php{php}-fpm.sock", test: []string{"php-fpm{php}", "-t"}}

var rhelIni = []iniPlace{{file: "/etc/php.d/90-{name}.ini"}}

var debianIni = []iniPlace{
	{file: "/etc/php/{php}/mods-available/{name}.ini", links: []string{"/etc/php/{php}/cli/conf.d/90-{name}.ini"}},
	{handler: handlerModule, links: []string{"/etc/php/{php}/apache2/conf.d/90-{name}.ini"}},
	{handler: handlerFPM, links: []string{"/etc/php/{php}/fpm/conf.d/90-{name}.ini"}},
}

// platforms is the table. Rows of one family differ in the versions that they have.
var platforms = []platform{
	{
		title: "Amazon Linux 2023", releases: []release{{"amzn", "2023"}}, manager: "dnf",
		php: []string{"8.4", "8.1", "8.2", "8.3", "8.5"}, handlers: []string{handlerFPM},
		packages: al2023Packages, web: rhelWeb, fpm: rhelFPM, ini: rhelIni, database: "mariadb.service",
	},
	{
		title: "Amazon Linux 2", releases: []release{{"amzn", "2"}}, manager: "yum",
		php: []string{"8.2", "8.1"}, handlers: []string{handlerFPM}, source: source{sourceExtras, []string{"php{php}", "mariadb10.5"}},
		packages: rhelPackages, web: rhelWeb, fpm: rhelFPM, ini: rhelIni, database: "mariadb.service",
	},
	{
		title: "RHEL 10 and its kin", releases: []release{{"rhel", "10"}, {"centos", "10"}, {"rocky", "10"}, {"almalinux", "10"}, {"ol", "10"}, {"fedora", ""}},
		like: []string{"fedora"}, manager: "dnf",
		php: []string{"8.3"}, handlers: []string{handlerFPM},
		packages: rhelPackages, web: rhelWeb, fpm: rhelFPM, ini: rhelIni, database: "mariadb.service",
	},
	{
		title: "RHEL 9 and its kin", releases: []release{{"rhel", "9"}, {"centos", "9"}, {"rocky", "9"}, {"almalinux", "9"}, {"ol", "9"}},
		like: []string{"rhel", "centos"}, manager: "dnf",
		php: []string{"8.2", "8.1", "8.3"}, handlers: []string{handlerFPM}, source: source{sourceModule, []string{"php:{php}"}},
		packages: rhelPackages, web: rhelWeb, fpm: rhelFPM, ini: rhelIni, database: "mariadb.service",
	},
	{
		title: "RHEL 8 and its kin", releases: []release{{"rhel", "8"}, {"centos", "8"}, {"rocky", "8"}, {"almalinux", "8"}, {"ol", "8"}}, manager: "dnf",
		php: []string{"8.2"}, handlers: []string{handlerFPM}, source: source{sourceModule, []string{"php:{php}"}},
		packages: rhelPackages, web: rhelWeb, fpm: rhelFPM, ini: rhelIni, database: "mariadb.service",
	},
	{
		title: "Debian 13", releases: []release{{"debian", "13"}}, manager: "apt", php: []string{"8.4"}, handlers: []string{handlerModule, handlerFPM},
		packages: debianPackages, web: debianWeb, fpm: debianFPM, ini: debianIni, database: "mariadb.service",
	},
	{
		title: "Debian 12", releases: []release{{"debian", "12"}}, manager: "apt", php: []string{"8.2"}, handlers: []string{handlerModule, handlerFPM},
		packages: debianPackages, web: debianWeb, fpm: debianFPM, ini: debianIni, database: "mariadb.service",
	},
	{
		title: "Ubuntu 24.04", releases: []release{{"ubuntu", "24.04"}}, manager: "apt", php: []string{"8.3"}, handlers: []string{handlerModule, handlerFPM},
		packages: debianPackages, web: debianWeb, fpm: debianFPM, ini: debianIni, database: "mariadb.service",
	},
	{
		title: "Ubuntu 22.04", releases: []release{{"ubuntu", "22.04"}}, manager: "apt", php: []string{"8.1"}, handlers: []string{handlerModule, handlerFPM},
		packages: debianPackages, web: debianWeb, fpm: debianFPM, ini: debianIni, database: "mariadb.service",
	},
}
