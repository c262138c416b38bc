package appspec

import (
	"fmt"
	"math/big"
	"strconv"
	"strings"
)

// maxCategory is the highest SELinux category.
const maxCategory = 1023

// normalRange brings an SELinux range into normal form (A-40..A-42). why is empty, or says what is wrong with the range.
func normalRange(s string) (normal, why string) {
	levels, categories, hasCategories := strings.Cut(s, ":")
	low, high, two := strings.Cut(levels, "-")
	if hasCategories && categories == "" || levels == "" || two && (low == "" || high == "") {
		return "", "lacks something on one side of : or -"
	}
	if !two {
		high = low
	}
	lowest, ok := level(low, 's')
	highest, ok2 := level(high, 's')
	switch {
	case !ok || !ok2:
		return "", "has a sensitivity that is not s and a number"
	case highest.Cmp(lowest) < 0:
		return "", "ends below its beginning"
	}
	normal = "s" + lowest.String()
	if highest.Cmp(lowest) > 0 {
		normal += "-s" + highest.String()
	}
	if !hasCategories {
		return normal, ""
	}
	set, why := categorySet(categories)
	if why != "" {
		return "", why
	}
	return normal + ":" + set, ""
}

// level is the number after the letter.
func level(s string, letter byte) (_ *big.Int, ok bool) {
	if len(s) < 2 || s[0] != letter || strings.Trim(s[1:], "0123456789") != "" {
		return nil, false
	}
	return parseInteger(strings.TrimLeft(s[1:len(s)-1], "0")+s[len(s)-1:], 10), true
}

// categorySet reads a comma list and writes it sorted, with consecutive runs joined.
func categorySet(list string) (_, why string) {
	var set [maxCategory + 2]bool
	// The reference's split drops empty members at the end, and only there, so that a lone comma is an empty set.
	list = strings.TrimRight(list, ",")
	for part := range strings.SplitSeq(list, ",") {
		if list == "" {
			break
		}
		first, last, run := strings.Cut(part, ".")
		if !run {
			last = first
		}
		from, ok := category(first)
		to, ok2 := category(last)
		switch {
		case !ok || !ok2:
			return "", fmt.Sprintf("has a category %s that is not c0 to c%d", shown(part), maxCategory)
		case to < from:
			return "", "has a run of categories that ends below its beginning"
		}
		for n := from; n <= to; n++ {
			if set[n] {
				return "", fmt.Sprintf("has the category c%d twice", n)
			}
			set[n] = true
		}
	}
	var parts []string
	for n := 0; n <= maxCategory; n++ {
		if !set[n] {
			continue
		}
		first := n
		for set[n+1] {
			n++
		}
		part := "c" + strconv.Itoa(first)
		if n > first {
			part += ".c" + strconv.Itoa(n)
		}
		parts = append(parts, part)
	}
	return strings.Join(parts, ","), ""
}

func category(s string) (int, bool) {
	n, ok := level(s, 'c')
	if !ok || !n.IsInt64() || n.Int64() > maxCategory {
		return 0, false
	}
	return int(n.Int64()), true
}
