package main

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"golang.org/x/term"

	"slipway/agent/config"
	"slipway/systemd"
)

// newLogger builds the logger: for people on a terminal, entries with fields where the output is the journal's, JSON lines otherwise, and beside it
// the log file in the official agent's form when one is configured (C-24, C-26). Nothing is sampled: a dropped line of a hook would be missed.
func newLogger(cfg *config.Config, out io.Writer, journal *systemd.Journal) (*zap.Logger, zap.AtomicLevel, error) {
	level := zap.NewAtomicLevel()
	if err := level.UnmarshalText([]byte(cfg.Log.Level)); err != nil {
		return nil, level, fmt.Errorf("log.level: %w", err)
	}
	first := zapcore.NewCore(encoder(cfg.Log.Format, out), zapcore.Lock(zapcore.AddSync(out)), level)
	if journal != nil {
		first = &journalCore{LevelEnabler: level, send: journal.Send, text: journalEncoder(cfg.Log.Format), otherwise: zapcore.Lock(zapcore.AddSync(out))}
	}
	cores := []zapcore.Core{first}
	if cfg.Log.File != "" {
		f, err := openLog(cfg)
		if err != nil {
			return nil, level, err
		}
		cores = append(cores, zapcore.NewCore(fileEncoder(cfg.ProgramName), f, level))
	}
	return zap.New(zapcore.NewTee(cores...)).Named("slipway"), level, nil
}

// newGuestLogger is the logger of a command beside the daemon: the log file is told as the daemon tells it, the person at the terminal only
// of errors: what else there is to know is in what the command prints.
func newGuestLogger(cfg *config.Config, out io.Writer) (*zap.Logger, error) {
	quiet := *cfg
	quiet.Log.Level, quiet.Log.Format, quiet.Log.File = "error", "human", ""
	log, _, err := newLogger(&quiet, out, nil)
	if err != nil || cfg.Log.File == "" {
		return log, err
	}
	level, err := zapcore.ParseLevel(cfg.Log.Level)
	if err != nil {
		return nil, fmt.Errorf("log.level: %w", err)
	}
	f, err := openLog(cfg)
	if err != nil {
		return nil, err
	}
	return log.WithOptions(zap.WrapCore(func(c zapcore.Core) zapcore.Core {
		return zapcore.NewTee(c, zapcore.NewCore(fileEncoder(cfg.ProgramName), f, level))
	})), nil
}

func encoder(format string, out io.Writer) zapcore.Encoder {
	f, ok := out.(*os.File)
	tty := ok && term.IsTerminal(int(f.Fd()))
	if format == "auto" {
		format = "json"
		if tty {
			format = "human"
		}
	}
	c := zap.NewProductionEncoderConfig()
	c.StacktraceKey = ""
	if format == "json" {
		c.TimeKey, c.EncodeTime, c.EncodeDuration = "time", zapcore.RFC3339NanoTimeEncoder, zapcore.StringDurationEncoder
		return zapcore.NewJSONEncoder(c)
	}
	c.EncodeTime, c.EncodeDuration, c.NameKey, c.ConsoleSeparator = zapcore.TimeEncoderOfLayout("15:04:05.000"), zapcore.StringDurationEncoder, "", "  "
	c.EncodeLevel = zapcore.CapitalLevelEncoder
	if tty && os.Getenv("NO_COLOR") == "" {
		c.EncodeLevel = zapcore.CapitalColorLevelEncoder
	}
	return zapcore.NewConsoleEncoder(c)
}

// fileEncoder writes lines as the official agent does: 2006-01-02T15:04:05 INFO  [program(pid)]: text (C-26).
func fileEncoder(name string) zapcore.Encoder {
	c := zap.NewProductionEncoderConfig()
	c.StacktraceKey, c.CallerKey, c.ConsoleSeparator = "", "", " "
	c.EncodeTime = zapcore.TimeEncoderOfLayout("2006-01-02T15:04:05")
	c.EncodeLevel = func(l zapcore.Level, enc zapcore.PrimitiveArrayEncoder) {
		enc.AppendString(fmt.Sprintf("%-5s", l.CapitalString()))
	}
	tag := fmt.Sprintf("[%s(%d)]:", name, os.Getpid())
	c.EncodeName = func(_ string, enc zapcore.PrimitiveArrayEncoder) { enc.AppendString(tag) }
	c.EncodeDuration = zapcore.StringDurationEncoder
	return zapcore.NewConsoleEncoder(c)
}

// logFile appends to a file that others may rotate: once a second it looks whether its name still leads to the file it has open.
type logFile struct {
	name    string
	mu      sync.Mutex // guards what follows
	file    *os.File
	checked time.Time
}

// openLog opens the log file of a configuration, in a folder that others may read or may not (V-111). A folder that is not the agent's own is left
// as it is.
func openLog(cfg *config.Config) (*logFile, error) {
	l, err := openLogFile(cfg.Log.File)
	if err == nil && cfg.RestrictLogDir && filepath.Dir(cfg.Log.File) == filepath.Clean(cfg.LogDir) {
		if err = os.Chmod(cfg.LogDir, 0o750); err != nil {
			l.file.Close()
			return nil, fmt.Errorf("keep the log folder from others (restrict_log_dir_permissions): %w", err)
		}
	}
	return l, err
}

func openLogFile(name string) (*logFile, error) {
	l := &logFile{name: name, checked: time.Now()}
	return l, l.open()
}

func (l *logFile) open() error {
	if err := os.MkdirAll(filepath.Dir(l.name), 0o755); err != nil {
		return fmt.Errorf("make the folder of the log file: %w (log.file or log_dir says where it is)", err)
	}
	f, err := os.OpenFile(l.name, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o640)
	if err != nil {
		return fmt.Errorf("open the log file: %w (log.file or log_dir says where it is)", err)
	}
	if l.file != nil {
		l.file.Close()
	}
	l.file = f
	return nil
}

func (l *logFile) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if now := time.Now(); now.Sub(l.checked) > time.Second {
		l.checked = now
		if l.moved() {
			if err := l.open(); err != nil {
				return 0, err
			}
		}
	}
	return l.file.Write(p)
}

func (l *logFile) moved() bool {
	var there, here syscall.Stat_t
	if syscall.Stat(l.name, &there) != nil || syscall.Fstat(int(l.file.Fd()), &here) != nil {
		return true
	}
	return there.Ino != here.Ino || there.Dev != here.Dev
}

// Sync is part of zapcore.WriteSyncer. Log lines are not worth a disk flush each.
func (l *logFile) Sync() error { return nil }
