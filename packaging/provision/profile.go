package provision

import (
	_ "embed" // the profile of the sample application
	"strings"
)

// DefaultName is the file name of the profile that is part of the program.
const DefaultName = "tinitter.yml"

//go:embed tinitter.yml
var defaultProfile []byte

// Default is the text of the profile that is part of the program: what the sample application needs.
func Default() []byte { return append([]byte(nil), defaultProfile...) }

// A Profile says what a host has to be like. Parse makes one that is complete and checked.
type Profile struct {
	name        string
	timezone    string // "" leaves the clock's zone as it is
	packages    []string
	extra       []string // packages by the name that they have on this platform
	services    []string // units beside those that the profile implies
	php         php
	web         web
	directories []directory
	database    database
	health      healthPath
	environment environment
	file        string // where it was read, for messages
}

type php struct {
	version string // "" is the platform's first
	handler string // handlerPlatform, handlerFPM, handlerModule
	ini     []setting
}

type setting struct{ name, value string }

// Ways to run PHP.
const (
	handlerPlatform = "platform"
	handlerFPM      = "fpm"
	handlerModule   = "mod_php"
)

type web struct {
	serverName       string
	port             int
	documentRoot     string
	allowOverride    string
	require          string
	rewrite          bool
	welcomePage      bool
	keepAliveTimeout int // seconds
	directives       []string
}

// directory is a folder with its owner; "" leaves an owner or a mode as it is.
type directory struct {
	path, owner, group, mode string
}

// Names that stand for the user and the group that the platform's web server runs as.
const (
	webUser  = "web-user"
	webGroup = "web-group"
)

type database struct {
	kind         string
	file         string // sqlite
	name         string
	user         string
	userHost     string // from where the user may connect
	server       string // "" is a server on this host
	adminFile    string // option file of the client with the administrator's login; "" is root by the socket
	passwordFile string
	grants       []string
	schema       string
	schemaFile   string
}

// Kinds of database.
const (
	databaseNone    = "none"
	databaseSQLite  = "sqlite"
	databaseMariaDB = "mariadb"
	databaseMySQL   = "mysql" // a server elsewhere
)

// local says whether the database server runs on the host itself.
func (d *database) local() bool { return d.kind == databaseMariaDB && d.server == "" }

// served says whether the database is behind a server.
func (d *database) served() bool { return d.kind == databaseMariaDB || d.kind == databaseMySQL }

// healthPath is where a balancer gets the agent's answer; path "" is nowhere. With a file it is that which is served, else the agent is asked.
type healthPath struct{ path, upstream, file string }

// environment is the file of settings that the application's deployment scripts read; file "" is none.
type environment struct {
	file, prefix string
	values       []setting
}

// Name is the profile's own name, part of the names of files that it makes.
func (p *Profile) Name() string { return p.name }

// wanted is what the profile lists and what its other keys imply, in this order, each once.
func (p *Profile) wanted(handler string) []string {
	names := []string{"httpd", "php"}
	if handler == handlerFPM {
		names = append(names, "php-fpm")
	} else {
		names = append(names, "php-module")
	}
	if p.timezone != "" {
		names = append(names, "tzdata")
	}
	switch {
	case p.database.kind == databaseSQLite:
		names = append(names, "php-pdo", "php-sqlite")
	case p.database.served():
		names = append(names, "php-pdo", "php-mysql", "mariadb-client")
		if p.database.local() {
			names = append(names, "mariadb-server")
		}
	}
	seen := map[string]bool{}
	var all []string
	for _, n := range append(append([]string(nil), p.packages...), names...) {
		if !seen[n] {
			seen[n] = true
			all = append(all, n)
		}
	}
	return all
}

// headline is the first line of every file that a profile makes, after its comment sign.
const headline = "Written by slipway provision"

func (p *Profile) headline(comment string) string {
	return comment + " " + headline + " from the profile " + p.name + ": an edit of this file is undone by the next apply.\n"
}

// ours says whether a file was written from a profile.
func ours(content string) bool {
	first, _, _ := strings.Cut(content, "\n")
	return strings.Contains(first, headline)
}
