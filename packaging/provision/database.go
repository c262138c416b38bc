package provision

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
)

// madeBy finds what a schema makes.
var madeBy = newForm("(?im)^\\s*CREATE\\s+(?:UNIQUE\\s+)?(TABLE|INDEX|VIEW)\\s+(?:IF\\s+NOT\\s+EXISTS\\s+)?[`\"]?(\\w+)")

// schemaText is the schema of a profile with the names of the tables and views, and of the indexes, that it makes.
func (d *database) schemaText() (text string, tables, indexes []string, err error) {
	text = d.schema
	if d.schemaFile != "" {
		data, err := os.ReadFile(d.schemaFile)
		if err != nil {
			return "", nil, nil, fmt.Errorf("read the schema of the database: %w", err)
		}
		text = string(data)
	}
	for _, m := range madeBy().FindAllStringSubmatch(text, -1) {
		if strings.EqualFold(m[1], "INDEX") {
			indexes = append(indexes, m[2])
		} else {
			tables = append(tables, m[2])
		}
	}
	return text, tables, indexes, nil
}

// sqlite is a file with a schema, made and opened by the web server's user alone: beside a file that root has opened, SQLite may leave some
// that the web server cannot write.
type sqlite struct {
	file, schema string
	objects      []string // tables and indexes
	user, group  string
	pending      bool // PHP or the user are not there yet
}

// Both read the file name as their argument and the schema as their input. What is printed is the names of what there is.
const (
	sqliteLook = `$db = new PDO("sqlite:" . $argv[1], null, null, [PDO::ATTR_ERRMODE => PDO::ERRMODE_EXCEPTION, PDO::SQLITE_ATTR_OPEN_FLAGS => PDO::SQLITE_OPEN_READWRITE]);
$db->exec("PRAGMA busy_timeout = 5000");
foreach ($db->query("SELECT name FROM sqlite_master") as $row) { echo $row["name"], "\n"; }`
	sqliteMake = `umask(0027);
$db = new PDO("sqlite:" . $argv[1], null, null, [PDO::ATTR_ERRMODE => PDO::ERRMODE_EXCEPTION]);
$db->exec("PRAGMA busy_timeout = 5000");
$db->exec(stream_get_contents(STDIN));`
)

func (s *sqlite) check(ctx context.Context, h *Host) ([]Change, error) {
	n, err := h.lstat(s.file)
	if err != nil {
		return nil, err
	}
	if n != nil && !n.mode.IsRegular() {
		return nil, fmt.Errorf("%s is there and is not a file: move it away", s.file)
	}
	if s.pending && n == nil || n == nil {
		return []Change{s.change("create", "", s.objects)}, nil
	}
	uid, _, ok := h.account(usersFile, s.user)
	if !ok {
		return nil, fmt.Errorf("the database file %s belongs to %s, and there is no such user", s.file, s.user)
	}
	var changes []Change
	if uid != n.uid && os.Geteuid() == 0 {
		return []Change{property("database", s.file, "edit", "owner "+h.nameOf(usersFile, n.uid), "owner "+s.user)}, nil
	}
	if s.pending {
		return nil, nil // there and its own, and PHP, which could look into it, is missing
	}
	r, err := s.php(ctx, h, sqliteLook, "")
	if err != nil {
		return nil, fmt.Errorf("look into the database %s: %w", s.file, err)
	}
	missing := slices.DeleteFunc(slices.Clone(s.objects), func(o string) bool { return slices.Contains(strings.Fields(r), o) })
	if len(missing) > 0 {
		changes = append(changes, s.change("edit", "", missing))
	}
	return changes, nil
}

func (s *sqlite) change(action, from string, objects []string) Change {
	to := "owner " + s.user + "\n"
	if action != "create" {
		to = ""
	}
	for _, o := range objects {
		to += "has " + o + "\n"
	}
	return property("database", s.file, action, from, to)
}

// php runs a few lines as the web server's user.
func (s *sqlite) php(ctx context.Context, h *Host, code, stdin string) (string, error) {
	uid, gid, ok := h.account(usersFile, s.user)
	if !ok {
		return "", fmt.Errorf("there is no user %s", s.user)
	}
	if id, _, found := h.account(groupsFile, s.group); found {
		gid = id
	}
	r, err := h.run(ctx, command{argv: []string{"php", "-d", "display_errors=stderr", "-r", code, "--", s.file}, stdin: stdin, as: os.Geteuid() == 0, uid: uid, gid: gid})
	if err == nil && r.code != 0 {
		err = fmt.Errorf("php says%s", lastLines(r.all))
	}
	return r.out, err
}

func (s *sqlite) apply(ctx context.Context, h *Host) error {
	n, err := h.lstat(s.file)
	if err != nil {
		return err
	}
	uid, gid, ok := h.account(usersFile, s.user)
	if n != nil && ok && n.uid != uid {
		real, err := h.resolve(s.file, false)
		if err != nil {
			return err
		}
		return os.Lchown(real, uid, gid)
	}
	if _, err := s.php(ctx, h, sqliteMake, s.schema); err != nil {
		return fmt.Errorf("make the database %s from its schema: %w", s.file, err)
	}
	return nil
}

// password reads the first line of the file, which nobody else may read.
func (d *database) password(h *Host) (string, error) {
	data, err := h.read(d.passwordFile)
	if errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("the password file %s is missing: make it with (umask 077; head -c 24 /dev/urandom | base64 >%s), and with the same line on every host that shares the database", d.passwordFile, d.passwordFile)
	}
	if err != nil {
		return "", fmt.Errorf("read the password: %w", err)
	}
	real, err := h.resolve(d.passwordFile, true)
	if err != nil {
		return "", err
	}
	info, err := os.Stat(real)
	if err != nil {
		return "", err
	}
	const groupOrOthers = 0o077
	if info.Mode().Perm()&groupOrOthers != 0 || !owned(info) {
		return "", fmt.Errorf("the password file %s can be read or changed by others than root: chown root: %s; chmod 600 %s", d.passwordFile, d.passwordFile, d.passwordFile)
	}
	text, _, _ := strings.Cut(string(data), "\n")
	text = strings.TrimSuffix(text, "\r")
	if text == "" || strings.ContainsFunc(text, func(r rune) bool { return r < ' ' || r == 0x7f }) {
		return "", fmt.Errorf("the first line of the password file %s is empty or holds control characters", d.passwordFile)
	}
	return text, nil
}

// settings are what the application's deployment scripts are told of the database.
func (p *Profile) settings(password string) []setting {
	d, prefix := &p.database, p.environment.prefix
	list := slices.Clone(p.environment.values)
	switch {
	case d.kind == databaseSQLite:
		list = append(list, setting{prefix + "DSN", "sqlite:" + d.file})
	case d.served():
		server := d.server
		if server == "" {
			server = "localhost"
		}
		list = append(list, setting{prefix + "DSN", "mysql:host=" + server + ";dbname=" + d.name + ";charset=utf8mb4"},
			setting{prefix + "DB_USER", d.user}, setting{prefix + "DB_PASSWORD", password})
	}
	return list
}

// setLines puts NAME=value lines into a file that has other ones too.
func setLines(list []setting) func(string) (string, error) {
	return func(old string) (string, error) {
		rest := slices.Clone(list)
		var b strings.Builder
		if old == "" {
			b.WriteString("# For the deployment scripts. slipway provision sets what its profile knows and leaves other lines alone.\n")
		}
		for line := range strings.Lines(old) {
			name, _, _ := strings.Cut(strings.TrimSpace(line), "=")
			at := slices.IndexFunc(rest, func(s setting) bool { return s.name == name })
			switch {
			case at >= 0:
				b.WriteString(assignment(rest[at]))
				rest = slices.Delete(rest, at, at+1)
			case slices.ContainsFunc(list, func(s setting) bool { return s.name == name }): // once more, and it was set above
			default:
				b.WriteString(strings.TrimSuffix(line, "\n") + "\n")
			}
		}
		for _, s := range rest {
			b.WriteString(assignment(s))
		}
		return b.String(), nil
	}
}

// assignment is a line as the deployment scripts read it: what is between the first = and the end, without one pair of quotation marks.
func assignment(s setting) string {
	if s.value != strings.TrimSpace(s.value) || strings.HasPrefix(s.value, `"`) || strings.HasPrefix(s.value, "'") {
		return s.name + `="` + s.value + "\"\n"
	}
	return s.name + "=" + s.value + "\n"
}

// hideSecrets takes passwords out of what is shown; other is the text that it is compared with.
func hideSecrets(content, other string) string {
	var b strings.Builder
	for line := range strings.Lines(content) {
		name, _, ok := strings.Cut(line, "=")
		if ok && (strings.Contains(name, "PASSWORD") || strings.Contains(name, "SECRET") || strings.Contains(name, "TOKEN")) {
			shown := name + "=(hidden)\n"
			if !strings.Contains("\n"+other, "\n"+line) {
				shown = name + "=(hidden, another one)\n"
			}
			if !strings.Contains("\n"+other, "\n"+name+"=") {
				shown = name + "=(hidden)\n"
			}
			line = shown
		}
		b.WriteString(line)
	}
	return b.String()
}

// mariadbClients are the names of the client, the present one first.
var mariadbClients = []string{"mariadb", "mysql"}

// served is a database behind a MariaDB or MySQL server, with its user, the user's rights and the tables.
type served struct {
	*database
	password string
	schema   string
	tables   []string
	pending  bool   // the server or the client is not installed yet
	unit     string // of the server, when it is on this host
}

// sqlText writes a text as an SQL literal.
func sqlText(s string) string {
	return "'" + strings.NewReplacer(`\`, `\\`, `'`, `''`).Replace(s) + "'"
}

func (s *served) account() string { return sqlText(s.user) + "@" + sqlText(s.userHost) }

// like is the database's name where a pattern is read, as in GRANT.
func (s *served) like() string { return strings.ReplaceAll(s.name, "_", `\_`) }

// ask runs statements as the administrator. They come on the standard input, so that no list of processes shows them.
func (s *served) ask(ctx context.Context, h *Host, sql string) (string, error) {
	var before []string
	if s.adminFile != "" {
		before = []string{"--defaults-extra-file=" + s.adminFile}
	}
	r, err := s.client(ctx, h, before, nil, sql)
	if err == nil && r.code != 0 {
		err = fmt.Errorf("the server says%s", lastLines(r.all))
	}
	return r.out, err
}

func (s *served) client(ctx context.Context, h *Host, before, env []string, sql string, more ...string) (reply, error) {
	program := mariadbClients[0]
	if h.has(program) == "" {
		program = mariadbClients[1]
	}
	argv := append([]string{program}, before...)
	argv = append(argv, "--batch", "--skip-column-names", "--connect-timeout=10")
	if s.server != "" {
		argv = append(argv, "--host="+s.server)
	}
	return h.run(ctx, command{argv: append(argv, more...), env: env, stdin: sql})
}

// login says whether the application's password is the one that the server knows.
func (s *served) login(ctx context.Context, h *Host) (bool, error) {
	r, err := s.client(ctx, h, []string{"--no-defaults"}, []string{"MYSQL_PWD=" + s.password}, "SELECT 1;\n", "--user="+s.user)
	return r.code == 0, err
}

// state is what there is, as lines; wanted is what there should be.
func (s *served) state(ctx context.Context, h *Host) ([]string, error) {
	sql := fmt.Sprintf(`SELECT CONCAT('database ', schema_name) FROM information_schema.schemata WHERE schema_name = %[1]s;
SELECT CONCAT('user ', user, '@', host) FROM mysql.user WHERE user = %[2]s AND host = %[3]s;
SELECT CONCAT('grant ', privilege_type) FROM information_schema.schema_privileges WHERE grantee = %[4]s AND table_schema IN (%[1]s, %[5]s);
SELECT CONCAT('table ', table_name) FROM information_schema.tables WHERE table_schema = %[1]s;
`, sqlText(s.name), sqlText(s.user), sqlText(s.userHost), sqlText("'"+s.user+"'@'"+s.userHost+"'"), sqlText(s.like()))
	out, err := s.ask(ctx, h, sql)
	if err != nil {
		return nil, fmt.Errorf("look at the database %s: %w", s.name, err)
	}
	var list []string
	for line := range strings.Lines(out) {
		line = strings.TrimSpace(line)
		if name, isTable := strings.CutPrefix(line, "table "); isTable && !slices.Contains(s.tables, name) || line == "grant USAGE" {
			continue // more tables are the application's business
		}
		list = append(list, line)
	}
	if slices.Contains(list, s.userLine()) {
		right, err := s.login(ctx, h)
		if err != nil {
			return nil, err
		}
		list = append(list, map[bool]string{true: passwordRight, false: "password another one"}[right])
	}
	slices.Sort(list)
	return list, nil
}

const passwordRight = "password as in its file"

func (s *served) userLine() string { return "user " + s.user + "@" + s.userHost }

func (s *served) wanted() []string {
	list := []string{"database " + s.name, s.userLine(), passwordRight}
	for _, g := range s.grants {
		list = append(list, "grant "+g)
	}
	for _, t := range s.tables {
		list = append(list, "table "+t)
	}
	slices.Sort(list)
	return list
}

func (s *served) check(ctx context.Context, h *Host) ([]Change, error) {
	var have []string
	if s.unit != "" && !s.pending {
		// One that is stopped cannot be asked. It is a change of its own to start it, and apply asks after that.
		if state, err := h.unit(ctx, s.unit); err != nil || !state.running() {
			return nil, err
		}
	}
	if !s.pending {
		var err error
		if have, err = s.state(ctx, h); err != nil {
			return nil, err
		}
	}
	want := s.wanted()
	if slices.Equal(have, want) {
		return nil, nil
	}
	action := "edit"
	if len(have) == 0 {
		action = "create"
	}
	return []Change{property("database", s.name, action, strings.Join(have, "\n"), strings.Join(want, "\n"))}, nil
}

func (s *served) apply(ctx context.Context, h *Host) error {
	have, err := s.state(ctx, h)
	if err != nil {
		return err
	}
	var b strings.Builder
	fmt.Fprintf(&b, "CREATE DATABASE IF NOT EXISTS `%s` CHARACTER SET utf8mb4;\n", s.name)
	if !slices.Contains(have, s.userLine()) {
		fmt.Fprintf(&b, "CREATE USER %s IDENTIFIED BY %s;\n", s.account(), sqlText(s.password))
	} else if !slices.Contains(have, passwordRight) {
		fmt.Fprintf(&b, "ALTER USER %s IDENTIFIED BY %s;\n", s.account(), sqlText(s.password))
	}
	for _, line := range have {
		if right, ok := strings.CutPrefix(line, "grant "); ok && !slices.Contains(s.grants, right) {
			fmt.Fprintf(&b, "REVOKE %s ON `%s`.* FROM %s;\n", right, s.like(), s.account())
		}
	}
	fmt.Fprintf(&b, "GRANT %s ON `%s`.* TO %s;\n", strings.Join(s.grants, ", "), s.like(), s.account())
	if s.schema != "" {
		fmt.Fprintf(&b, "USE `%s`;\n%s\n", s.name, strings.TrimSpace(s.schema))
	}
	if _, err := s.ask(ctx, h, b.String()); err != nil {
		return fmt.Errorf("make the database %s, its user and its tables: %w", s.name, err)
	}
	return nil
}
