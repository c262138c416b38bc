package config

import (
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
)

// finish settles what depends on more than one key.
func (l *loader) finish() {
	c := l.cfg
	c.TestProfile = strings.ToLower(c.TestProfile)
	l.logging()
	l.trust()
	if c.IMDS.AllowV1 && c.DisableIMDSv1 {
		c.IMDS.AllowV1 = false
		p := l.placed("imds.allow_v1")
		p.Message = "imds.allow_v1 has no effect: disable_imds_v1 is true in " + c.origins["disable_imds_v1"].source
		l.warn(p)
		c.origins["imds.allow_v1"] = origin{c.origins["disable_imds_v1"].source, "false"}
	}
	if c.Poll.BackoffMax < c.Poll.BackoffMin {
		p := l.placed("poll.backoff_max", "poll.backoff_min")
		p.Message = "poll.backoff_max is " + durationText(c.Poll.BackoffMax) + ", less than poll.backoff_min, " + durationText(c.Poll.BackoffMin)
		l.fail(p)
	}
	l.health()
	if c.Health.Probe.Any() && c.Health.MaxAge < c.Health.Probe.Interval {
		p := l.placed("health.max_age", "health.probe.interval")
		p.Message = "health.max_age is " + durationText(c.Health.MaxAge) + ", less than health.probe.interval, " + durationText(c.Health.Probe.Interval) + ": every result would be too old"
		l.fail(p)
	}
	for _, name := range []string{"deploy_control_endpoint", "s3_endpoint_override"} {
		if u := cleartext(c.origins[name].text); u != nil {
			p := l.placed(name)
			p.Message = name + " is not encrypted: " + u.Redacted()
			p.Suggestion = "write https://"
			l.warn(p)
		}
	}
}

// logging resolves the level, which verbose lowers, and the file, which follows log_dir once somebody set it.
func (l *loader) logging() {
	c := l.cfg
	if _, said := c.origins["log.level"]; !said && c.Verbose {
		c.Log.Level = "debug"
		c.origins["log.level"] = origin{c.origins["verbose"].source, "debug"}
	}
	switch c.Log.File {
	case off:
		c.Log.File = ""
	case auto:
		c.Log.File = ""
		if o, said := c.origins["log_dir"]; said {
			c.Log.File = filepath.Join(c.LogDir, c.ProgramName+".log")
			if _, said := c.origins["log.file"]; !said {
				c.origins["log.file"] = origin{o.source, c.Log.File}
			}
		}
	}
}

// trust checks that a policy has what it judges by.
func (l *loader) trust() {
	t := &l.cfg.Trust
	for i, pin := range t.Pins {
		t.Pins[i] = strings.ToLower(pin)
	}
	switch {
	case t.Signer == "ca" && t.CAFile == "":
		p := l.placed("trust.signer")
		p.Message, p.Suggestion = "trust.signer is ca, but trust.ca_file is not set", "name the PEM file of the authorities"
		l.fail(p)
	case t.Signer == "pin" && len(t.Pins) == 0:
		p := l.placed("trust.signer")
		p.Message, p.Suggestion = "trust.signer is pin, but trust.pins is empty", "list the fingerprints to accept"
		l.fail(p)
	case t.Signer == "ca":
		if _, err := os.Stat(t.CAFile); err != nil {
			p := l.placed("trust.ca_file")
			p.Message = "trust.ca_file cannot be read: " + err.Error()
			l.fail(p)
		}
	}
}

// health checks what is asked of a probe that is not there.
func (l *loader) health() {
	h := &l.cfg.Health
	switch {
	case h.Gate && !h.Probe.Any():
		p := l.placed("health.gate")
		p.Message, p.Suggestion = "health.gate is true, but nothing is probed", "set health.probe.url"
		l.fail(p)
	case h.StatusFile != "" && !h.Probe.Any():
		p := l.placed("health.status_file")
		p.Message, p.Suggestion = "health.status_file is set, but nothing is probed: the file would never be there", "set health.probe.url"
		l.warn(p)
	}
	if h.Probe.FileMaxAge > 0 && h.Probe.File == "" {
		p := l.placed("health.probe.file_max_age")
		p.Message = "health.probe.file_max_age has no effect: health.probe.file is not set"
		l.warn(p)
	}
	if h.Probe.Latency > h.Probe.Timeout {
		p := l.placed("health.probe.latency")
		p.Message = "health.probe.latency has no effect: health.probe.timeout, " + durationText(h.Probe.Timeout) + ", is shorter"
		l.warn(p)
	}
}

// placed makes a Problem at the place that the first of the named keys was set at.
func (l *loader) placed(names ...string) Problem {
	for _, name := range names {
		if o, said := l.cfg.origins[name]; said {
			return Problem{Source: o.source, Key: name}
		}
	}
	return Problem{Source: "default", Key: names[0]}
}

// cleartext is an http URL that leaves the host; nil if text is none.
func cleartext(text string) *url.URL {
	u, err := url.Parse(text)
	if err != nil || u.Scheme != "http" {
		return nil
	}
	if ip := net.ParseIP(u.Hostname()); u.Hostname() == "localhost" || ip != nil && ip.IsLoopback() {
		return nil
	}
	return u
}
