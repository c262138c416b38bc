package main

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
)

// resultsEnv names the file that `make crash` makes its tables of. Without it a test's counts only go to its log.
const resultsEnv = "SLIPWAY_CRASH"

// tell gives a row of a table of `make crash`: the table's name, then its columns. The last column counts exceptions.
func tell(t testing.TB, table string, columns ...any) {
	t.Helper()
	fields := []string{table}
	for _, c := range columns {
		fields = append(fields, strings.NewReplacer("\t", " ", "\n", " ").Replace(fmt.Sprint(c)))
	}
	line := strings.Join(fields, "\t")
	t.Log(line)
	name := os.Getenv(resultsEnv)
	if name == "" {
		return
	}
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o644)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteString(line + "\n"); err != nil {
		t.Fatal(err)
	}
}

// times is how often something is done: what the environment says (`make crash` does), or so many times.
func times(t *testing.T, variable string, otherwise int) int {
	t.Helper()
	text := os.Getenv(variable)
	if text == "" {
		return otherwise
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 {
		t.Fatalf("%s is %q, want a number from 1 on", variable, text)
	}
	return n
}

// aside lets the long form of a test run beside others. The short form does not: some of those hold times.
func aside(t *testing.T) {
	if os.Getenv(resultsEnv) != "" {
		t.Parallel()
	}
}
