package main

import (
	"cmp"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"slipway/systemd"
)

// journalCore writes log lines into the journal: the text as MESSAGE, the severity as PRIORITY, and every key as a field SLIPWAY_<KEY>.
type journalCore struct {
	zapcore.LevelEnabler
	send   func([]systemd.Field) error
	text   zapcore.Encoder
	fields []systemd.Field // of With
	// otherwise takes what the journal does not.
	otherwise io.Writer
}

// journalOf is the journal that the output of this program leads to, nil if it leads elsewhere.
func (p *program) journalOf(out io.Writer) (*systemd.Journal, error) {
	f, ok := out.(*os.File)
	if !ok {
		return nil, nil
	}
	return systemd.OpenJournal(p.getenv, f)
}

// journalEncoder is for the text of an entry: time and severity are fields of it.
func journalEncoder(format string) zapcore.Encoder {
	c := zap.NewProductionEncoderConfig()
	c.StacktraceKey, c.TimeKey, c.LevelKey, c.EncodeDuration = "", "", "", zapcore.StringDurationEncoder
	if format == "json" {
		return zapcore.NewJSONEncoder(c)
	}
	c.NameKey, c.ConsoleSeparator = "", "  "
	return zapcore.NewConsoleEncoder(c)
}

func (c *journalCore) With(fields []zapcore.Field) zapcore.Core {
	with := *c
	with.text = c.text.Clone()
	for _, f := range fields {
		f.AddTo(with.text)
	}
	with.fields = slices.Concat(c.fields, journalFields(fields))
	return &with
}

func (c *journalCore) Check(e zapcore.Entry, checked *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	if c.Enabled(e.Level) {
		return checked.AddCore(e, c)
	}
	return checked
}

func (c *journalCore) Write(e zapcore.Entry, fields []zapcore.Field) error {
	line, err := c.text.EncodeEntry(e, fields)
	if err != nil {
		return err
	}
	defer line.Free()
	text := strings.TrimSuffix(line.String(), "\n")
	priority := priorities[e.Level]
	entry := slices.Concat([]systemd.Field{
		{Name: "MESSAGE", Value: text},
		{Name: "PRIORITY", Value: strconv.Itoa(priority)},
		{Name: "SYSLOG_IDENTIFIER", Value: "slipway"},
		{Name: "SLIPWAY_LOGGER", Value: cmp.Or(e.LoggerName, "slipway")},
	}, c.fields, journalFields(fields))
	if c.send(entry) == nil {
		return nil
	}
	// A line that begins so is taken with that severity.
	_, err = fmt.Fprintf(c.otherwise, "<%d>%s\n", priority, strings.ReplaceAll(text, "\n", " "))
	return err
}

// Sync is part of zapcore.Core. The journal keeps what it was given.
func (c *journalCore) Sync() error { return nil }

// priorities are those of syslog.
var priorities = map[zapcore.Level]int{zapcore.DebugLevel: 7, zapcore.InfoLevel: 6, zapcore.WarnLevel: 4, zapcore.ErrorLevel: 3, zapcore.DPanicLevel: 2, zapcore.PanicLevel: 2, zapcore.FatalLevel: 2}

// journalFields are the keys of a line as fields of an entry, in their order.
func journalFields(fields []zapcore.Field) []systemd.Field {
	out := make([]systemd.Field, 0, len(fields))
	for _, f := range fields {
		m := zapcore.NewMapObjectEncoder()
		f.AddTo(m)
		if v, ok := m.Fields[f.Key]; ok {
			out = append(out, systemd.Field{Name: systemd.FieldName("SLIPWAY_", f.Key), Value: fieldText(v)})
		}
	}
	return out
}

func fieldText(v any) string {
	switch v := v.(type) {
	case string:
		return v
	case time.Time:
		return v.Format(time.RFC3339Nano)
	default:
		return fmt.Sprint(v)
	}
}
