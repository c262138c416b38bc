package appspec

import (
	"fmt"
	"math"
	"math/big"
	"strings"
	"time"
)

// defaultTimeout is what a script may take unless its entry says otherwise.
const defaultTimeout = 3600 * time.Second

func (c *checker) hooks(section *value) {
	if section.isFalse() {
		return
	}
	if section.kind != mapping {
		c.refuse(hooksType, section, fmt.Sprintf("hooks is %s; it has to be a map of lifecycle events", describe(section)),
			"write the name of an event without a dash, such as AfterInstall:")
		return
	}
	for _, p := range section.pairs() {
		if p.value.isNull() {
			continue // such an event counts as absent
		}
		event := EventHooks{Name: p.key.String(), Text: p.key.kind == text, Pos: p.key.pos(), kind: p.key.kind}
		if event.Scripts = c.scripts(event.Name, p.value); event.Scripts == nil {
			continue
		}
		c.spec.Hooks = append(c.spec.Hooks, event)
	}
}

// scripts are the entries of one event, nil if the event cannot be read.
func (c *checker) scripts(event string, v *value) []Script {
	entries, ok := v.each()
	if !ok {
		c.refuse(eventType, v, fmt.Sprintf("the event %s is %s; it has to be a list of scripts", shown(event), describe(v)), "begin each script with - location:")
		return nil
	}
	if v.kind == mapping && len(entries) > 0 {
		c.refuse(scriptType, v, fmt.Sprintf("the event %s is a map; it has to be a list of scripts", shown(event)), "write a dash before the first key: - location:")
		return nil
	}
	scripts := make([]Script, 0, len(entries))
	for i, entry := range entries {
		if s, ok := c.script(entry); ok {
			c.unknown(fmt.Sprintf("hooks.%s[%d]", clip(event, 60), i), entry, scriptKeys)
			scripts = append(scripts, s)
		}
	}
	return scripts
}

func (c *checker) script(entry *value) (_ Script, ok bool) {
	if entry.kind != mapping {
		c.refuse(scriptType, entry, fmt.Sprintf("a script is %s; it has to be a map", describe(entry)), "write - location: and the path of the script")
		return Script{}, false
	}
	location, runas, sudo := entry.get("location"), entry.get("runas"), entry.get("sudo")
	s := Script{
		Sudo: !sudo.isFalse(),
		Pos:  entry.pos(), LocationPos: given(location), TimeoutPos: given(entry.get("timeout")), RunAsPos: given(runas), SudoPos: given(sudo),
	}
	if !location.isNull() {
		s.Location = trim(location.String())
	}
	if s.Location == "" {
		c.missing(noLocation, location, entry, "location", "a script has no location", "write location: and the path of the script in the bundle")
		return Script{}, false
	}
	if !runas.isNull() {
		s.RunAs, s.RunAsSet = trim(runas.String()), true
	}
	s.Timeout, ok = c.timeout(entry.get("timeout"))
	return s, ok
}

// timeout reads whole seconds. A quoted number and a plain one are the same number: neither does a leading zero make the
// plain one octal, nor do commas or a base of 60 count in the plain one only.
func (c *checker) timeout(v *value) (_ time.Duration, ok bool) {
	const suggestion = "write the seconds that the script may take, such as 300"
	if v.isFalse() {
		return defaultTimeout, true
	}
	seconds, ok := secondsOf(v)
	if !ok {
		c.refuse(timeoutType, v, fmt.Sprintf("timeout is %s; it has to be a number of seconds", describe(v)), suggestion)
		return 0, false
	}
	if seconds.Sign() <= 0 {
		message := fmt.Sprintf("timeout is %s seconds; a script needs at least 1", clip(seconds.String(), 60))
		if v.isText() && seconds.Sign() == 0 && trim(v.text) != "0" {
			message = fmt.Sprintf("timeout is %s; it has to be a number of seconds", describe(v))
		}
		c.refuse(badTimeout, v, message, suggestion)
		return 0, false
	}
	// There is no upper bound, but time.Duration has one, of 292 years.
	if limit := big.NewInt(math.MaxInt64 / int64(time.Second)); seconds.Cmp(limit) > 0 {
		seconds = limit
	}
	return time.Duration(seconds.Int64()) * time.Second, true
}

func secondsOf(v *value) (_ *big.Int, ok bool) {
	switch v.kind {
	case integer:
		if digits, ok := leadingZero(v); ok {
			return parseInteger(digits, 10), true
		}
		return v.number.truncate()
	case float:
		return v.number.truncate()
	case text:
		n, why := resolve(trim(v.text))
		if why == readable && (n.kind == integer || n.kind == float) {
			if seconds, ok := secondsOf(&n); ok {
				return seconds, true
			}
		}
		return leadingInteger(v.text), true
	default:
		return nil, false
	}
}

// leadingZero gives the digits of an integer that YAML 1.1 reads as octal because of its leading zero, with its sign; ok is false
// for any other integer.
func leadingZero(v *value) (digits string, ok bool) {
	if v.kind != integer || !octalForm().MatchString(v.text) {
		return "", false
	}
	return strings.TrimPrefix(separators.Replace(v.text), "+"), true
}
