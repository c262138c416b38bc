package health

import (
	"fmt"
	"strconv"
	"strings"
)

// statusSet is a matcher for status codes as a target group writes it.
type statusSet []statusRange

type statusRange struct{ low, high int }

// parseStatuses reads "200", "200,302" or "200-399", and mixtures of them.
func parseStatuses(s string) (statusSet, error) {
	var set statusSet
	for part := range strings.SplitSeq(s, ",") {
		lowText, highText, isRange := strings.Cut(strings.TrimSpace(part), "-")
		low, err := parseStatus(lowText)
		high := low
		if err == nil && isRange {
			high, err = parseStatus(highText)
		}
		if err != nil {
			return nil, fmt.Errorf("health probe status %q: %w; write it as 200, 200,302 or 200-399", s, err)
		}
		if high < low {
			return nil, fmt.Errorf("health probe status %q: the range %d-%d runs backwards", s, low, high)
		}
		set = append(set, statusRange{low, high})
	}
	return set, nil
}

func parseStatus(s string) (int, error) {
	n, err := strconv.ParseUint(s, 10, 16)
	if err != nil || n < 100 || n > 599 || len(s) != 3 {
		return 0, fmt.Errorf("%q is not a status code from 100 to 599", s)
	}
	return int(n), nil
}

func (s statusSet) has(code int) bool {
	for _, r := range s {
		if r.low <= code && code <= r.high {
			return true
		}
	}
	return false
}
