package main

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"slipway/agent/config"
)

var update = flag.Bool("update", false, "rewrite golden files and generated documentation")

// docs/configuration.md holds the table of keys; it is generated from the table that the program reads by.
func TestConfigurationIsDocumented(t *testing.T) {
	generated(t, "../../../docs/configuration.md", "keys", keyTable())
}

// generated holds what stands between two marks of a document to a text, or writes it there.
func generated(t *testing.T, name, mark, text string) {
	t.Helper()
	begin, end := "<!-- "+mark+" -->\n", "<!-- /"+mark+" -->\n"
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, ok := strings.Cut(string(data), begin)
	_, after, ok2 := strings.Cut(rest, end)
	if !ok || !ok2 {
		t.Fatalf("%s has no %q … %q", name, begin, end)
	}
	want := before + begin + text + end + after
	if *update {
		if err := os.WriteFile(name, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if diff := cmp.Diff(want, string(data)); diff != "" {
		t.Errorf("%s is out of date (make golden):\n%s", name, diff)
	}
}

func keyTable() string {
	var b strings.Builder
	b.WriteString("| key | value | default | environment | meaning |\n|---|---|---|---|---|\n")
	for _, k := range config.Reference() {
		doc := k.Doc
		switch {
		case k.Ignored != "":
			doc += " *Without effect: " + k.Ignored + ".*"
		case !k.Live:
			doc += " (restart)"
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s | `%s` | %s |\n", k.Name, cell(k.Type), code(k.Default), k.Env, cell(doc))
	}
	return b.String()
}

func cell(s string) string { return strings.ReplaceAll(s, "|", "\\|") }

func code(s string) string {
	if s == "" {
		return "–"
	}
	return "`" + s + "`"
}
