package main

import (
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func freePort(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, port, _ := net.SplitHostPort(l.Addr().String())
	return port
}

// command runs a program to its end.
func command(t testing.TB, name string, args ...string) string {
	t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Env = append(os.Environ(), "PATH="+os.Getenv("PATH")+":/usr/sbin:/sbin")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}

// background starts a program that is killed at the end of the test.
func background(t testing.TB, name string, args ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.Command(name, args...)
	var said syncBuffer
	cmd.Stdout, cmd.Stderr = &said, &said
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
		if t.Failed() {
			t.Logf("output of %s:\n%s", name, said.String())
		}
	})
	return cmd
}

// tool finds a program that may be in the folders of the administrator.
func tool(t testing.TB, name string) string {
	t.Helper()
	for _, dir := range append(filepath.SplitList(os.Getenv("PATH")), "/usr/sbin", "/sbin") {
		if path := filepath.Join(dir, name); isExecutable(path) {
			return path
		}
	}
	t.Skipf("%s is not installed (packaging/test/run installs it)", name)
	return ""
}

func isExecutable(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0
}

// mariadb is a database server of its own.
type mariadb struct {
	t    testing.TB
	dir  string
	port string
	cmd  *exec.Cmd
}

func newMariaDB(t testing.TB, dir string) *mariadb {
	t.Helper()
	m := &mariadb{t: t, dir: dir, port: freePort(t)}
	command(t, "install", "-d", "-o", "mysql", dir)
	command(t, tool(t, "mariadb-install-db"), "--no-defaults", "--user=mysql", "--datadir="+dir+"/data", "--auth-root-authentication-method=normal", "--skip-test-db")
	m.start()
	command(t, tool(t, "mariadb"), "--no-defaults", "-u", "root", "-S", dir+"/s", "-e",
		"CREATE DATABASE tinitter CHARACTER SET utf8mb4; CREATE USER tinitter@'127.0.0.1' IDENTIFIED BY '"+fleetPassword+"'; GRANT ALL ON tinitter.* TO tinitter@'127.0.0.1'")
	return m
}

func (m *mariadb) start() {
	m.t.Helper()
	m.cmd = background(m.t, tool(m.t, "mariadbd"), "--no-defaults", "--user=mysql", "--datadir="+m.dir+"/data", "--socket="+m.dir+"/s", "--pid-file="+m.dir+"/pid",
		"--bind-address=127.0.0.1", "--port="+m.port, "--skip-name-resolve", "--innodb-flush-log-at-trx-commit=0", "--innodb-buffer-pool-size=16M")
	deadline := time.Now().Add(30 * time.Second)
	for {
		conn, err := net.Dial("tcp", "127.0.0.1:"+m.port)
		if err == nil {
			conn.Close()
			return
		}
		if time.Now().After(deadline) {
			m.t.Fatal("MariaDB does not start")
		}
		time.Sleep(20 * time.Millisecond)
	}
}

func (m *mariadb) stop() {
	m.cmd.Process.Kill()
	m.cmd.Wait()
}
