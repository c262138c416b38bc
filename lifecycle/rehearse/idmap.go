package rehearse

import (
	"context"
	"os"
	"strconv"
	"strings"

	"slipway/lifecycle"
)

// overflow is who owns, in a user namespace, what belongs to nobody in it.
const overflow = 65534

// idMap is how ids of a user namespace are those of the one around it. An empty one is of a process that is in none of its own.
type idMap []idRange

type idRange struct{ inside, outside, count uint64 }

// readIDMap reads uid_map or gid_map of this process.
func readIDMap(name string) idMap {
	data, _ := os.ReadFile("/proc/self/" + name)
	return parseIDMap(string(data))
}

func parseIDMap(text string) (m idMap) {
	for _, line := range strings.Split(text, "\n") {
		f := strings.Fields(line)
		if len(f) != 3 {
			continue
		}
		var n [3]uint64
		for i := range f {
			var err error
			if n[i], err = strconv.ParseUint(f[i], 10, 32); err != nil {
				return nil
			}
		}
		m = append(m, idRange{n[0], n[1], n[2]})
	}
	return m
}

// in gives the id inside of one outside.
func (m idMap) in(id uint32) uint32 {
	for _, r := range m {
		if n := uint64(id) - r.outside; uint64(id) >= r.outside && n < r.count {
			return uint32(r.inside + n)
		}
	}
	if len(m) == 0 {
		return id
	}
	return overflow
}

// out gives the id outside of one inside. Of what nobody in here owns the owner is not known.
func (m idMap) out(id uint32) uint32 {
	for _, r := range m {
		if n := uint64(id) - r.inside; uint64(id) >= r.inside && n < r.count {
			return uint32(r.outside + n)
		}
	}
	return id
}

// ExpectWithin is Expect for a plan that is made within a sandbox: owners are given as they are outside of its user namespace, if it has one.
func ExpectWithin(ctx context.Context, p *lifecycle.Preview) ([]Expected, error) {
	list, err := Expect(ctx, p)
	users, groups := readIDMap("uid_map"), readIDMap("gid_map")
	for i := range list {
		list[i].UID, list[i].GID = users.out(list[i].UID), groups.out(list[i].GID)
	}
	return list, err
}
