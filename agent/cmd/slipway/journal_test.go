package main

import (
	"bytes"
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"slipway/systemd"
)

func observed() (*zap.Logger, *observer.ObservedLogs) {
	core, logs := observer.New(zap.DebugLevel)
	return zap.New(core), logs
}

func TestJournalCore(t *testing.T) {
	var got [][]systemd.Field
	var out bytes.Buffer
	gone := false
	core := &journalCore{LevelEnabler: zap.InfoLevel, text: journalEncoder("auto"), otherwise: &out, send: func(f []systemd.Field) error {
		if gone {
			return errors.New("gone")
		}
		got = append(got, f)
		return nil
	}}
	log := zap.New(core).Named("slipway").Named("agent")
	of := log.With(zap.String("event", "Install"), zap.String("deployment", "d-1"))
	of.Info("event succeeded", zap.Duration("took", 1500*time.Millisecond), zap.Int("files", 3))
	of.Debug("not logged")
	log.Warn("the command service cannot be used", zap.Error(errors.New("no route\nto host")), zap.NamedError("because", nil), zap.Strings("keys", []string{"a", "b"}))
	of.Error("event failed", zap.Bool("noop", true), zap.Time("at", time.Unix(0, 0).UTC()))
	field := func(name, value string) systemd.Field { return systemd.Field{Name: name, Value: value} }
	head := func(message, priority string, more ...systemd.Field) []systemd.Field {
		return append([]systemd.Field{field("MESSAGE", message), field("PRIORITY", priority), field("SYSLOG_IDENTIFIER", "slipway"), field("SLIPWAY_LOGGER", "slipway.agent")}, more...)
	}
	want := [][]systemd.Field{
		head(`event succeeded  {"event": "Install", "deployment": "d-1", "took": "1.5s", "files": 3}`, "6",
			field("SLIPWAY_EVENT", "Install"), field("SLIPWAY_DEPLOYMENT", "d-1"), field("SLIPWAY_TOOK", "1.5s"), field("SLIPWAY_FILES", "3")),
		head(`the command service cannot be used  {"error": "no route\nto host", "keys": ["a", "b"]}`, "4", field("SLIPWAY_ERROR", "no route\nto host"), field("SLIPWAY_KEYS", "[a b]")),
		head(`event failed  {"event": "Install", "deployment": "d-1", "noop": true, "at": 0}`, "3",
			field("SLIPWAY_EVENT", "Install"), field("SLIPWAY_DEPLOYMENT", "d-1"), field("SLIPWAY_NOOP", "true"), field("SLIPWAY_AT", "1970-01-01T00:00:00Z")),
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("entries (-want +got):\n%s", diff)
	}
	gone = true
	log.Warn("one\ntwo")
	if want := "<4>one two\n"; out.String() != want {
		t.Errorf("where the journal does not take it: %q, want %q", out.String(), want)
	}
}

// log.format json keeps the text a line of JSON.
func TestJournalJSON(t *testing.T) {
	line, err := journalEncoder("json").EncodeEntry(zapcore.Entry{Message: "started"}, []zapcore.Field{zap.Int("pid", 1)})
	if err != nil || line.String() != `{"msg":"started","pid":1}`+"\n" {
		t.Errorf("%v: %s", err, line)
	}
}
