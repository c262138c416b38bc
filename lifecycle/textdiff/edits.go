package textdiff

// edit is a line that is kept (' '), removed ('-') or added ('+'). a and b are how many lines of either text come before it.
type edit struct {
	kind byte
	a, b int
}

// maxCost bounds the search for the shortest way between two pieces of text.
const maxCost = 512

// edits finds a way from one list of lines to another, by the algorithm of Myers in linear space: the middle of a shortest way is found from
// both ends, and then the ways to it and from it. Between two kept lines what is removed comes first.
func edits(was, is []string) []edit {
	d := &differ{removed: make([]bool, len(was)), added: make([]bool, len(is))}
	number := make(map[string]int32, len(was))
	name := func(list []string) []int32 {
		names := make([]int32, len(list))
		for i, line := range list {
			n, ok := number[line]
			if !ok {
				n = int32(len(number))
				number[line] = n
			}
			names[i] = n
		}
		return names
	}
	d.was, d.is = name(was), name(is)
	d.offset = len(is) + 1
	d.forward, d.backward = make([]int, len(was)+len(is)+3), make([]int, len(was)+len(is)+3)
	d.between(box{0, len(was), 0, len(is)})

	list := make([]edit, 0, max(len(was), len(is)))
	for a, b := 0, 0; a < len(was) || b < len(is); {
		switch {
		case a < len(was) && d.removed[a]:
			list = append(list, edit{'-', a, b})
			a++
		case b < len(is) && d.added[b]:
			list = append(list, edit{'+', a, b})
			b++
		default:
			list = append(list, edit{' ', a, b})
			a, b = a+1, b+1
		}
	}
	return list
}

type differ struct {
	was, is        []int32 // lines, by the number of their text
	removed, added []bool
	// How far the searches from the beginning and from the end have come on each diagonal: a - b, plus offset.
	forward, backward []int
	offset            int
}

// box is a piece of either text.
type box struct{ a, aEnd, b, bEnd int }

// between marks what is removed and added in a box.
func (d *differ) between(x box) {
	for x.a < x.aEnd && x.b < x.bEnd && d.was[x.a] == d.is[x.b] {
		x.a, x.b = x.a+1, x.b+1
	}
	for x.a < x.aEnd && x.b < x.bEnd && d.was[x.aEnd-1] == d.is[x.bEnd-1] {
		x.aEnd, x.bEnd = x.aEnd-1, x.bEnd-1
	}
	if x.a == x.aEnd || x.b == x.bEnd {
		for i := x.a; i < x.aEnd; i++ {
			d.removed[i] = true
		}
		for i := x.b; i < x.bEnd; i++ {
			d.added[i] = true
		}
		return
	}
	a, b := d.middle(x)
	d.between(box{x.a, a, x.b, b})
	d.between(box{a, x.aEnd, b, x.bEnd})
}

// middle finds a point that a shortest way through the box leads over, or a good one if that costs too much. Neither first nor last lines of
// the box are equal, so that the point is never a corner that the box would not become smaller by.
func (d *differ) middle(x box) (a, b int) {
	low, high := x.a-x.bEnd, x.aEnd-x.b // the diagonals of the corners
	first, last := x.a-x.b, x.aEnd-x.bEnd
	fMin, fMax, bMin, bMax := first, first, last, last
	odd := (first-last)&1 != 0
	fwd, bwd := d.forward, d.backward
	at := func(diagonal int) int { return diagonal + d.offset }
	fwd[at(first)], bwd[at(last)] = x.a, x.aEnd
	const far = int(^uint(0) >> 1)
	for cost := 1; ; cost++ {
		if fMin > low {
			fMin--
			fwd[at(fMin-1)] = -1
		} else {
			fMin++
		}
		if fMax < high {
			fMax++
			fwd[at(fMax+1)] = -1
		} else {
			fMax--
		}
		for k := fMax; k >= fMin; k -= 2 {
			a := max(fwd[at(k-1)]+1, fwd[at(k+1)])
			for a < x.aEnd && a-k < x.bEnd && d.was[a] == d.is[a-k] {
				a++
			}
			fwd[at(k)] = a
			if odd && bMin <= k && k <= bMax && bwd[at(k)] <= a {
				return a, a - k
			}
		}
		if bMin > low {
			bMin--
			bwd[at(bMin-1)] = far
		} else {
			bMin++
		}
		if bMax < high {
			bMax++
			bwd[at(bMax+1)] = far
		} else {
			bMax--
		}
		for k := bMax; k >= bMin; k -= 2 {
			a := min(bwd[at(k-1)], bwd[at(k+1)]-1)
			for a > x.a && a-k > x.b && d.was[a-1] == d.is[a-k-1] {
				a--
			}
			bwd[at(k)] = a
			if !odd && fMin <= k && k <= fMax && a <= fwd[at(k)] {
				return a, a - k
			}
		}
		if cost >= maxCost {
			return d.farthest(x, fMin, fMax, bMin, bMax)
		}
	}
}

// farthest gives the point at which one of the two searches has come farthest.
func (d *differ) farthest(x box, fMin, fMax, bMin, bMax int) (a, b int) {
	best, went := [2]int{x.a, x.b}, -1
	for k := fMax; k >= fMin; k -= 2 {
		a := min(d.forward[k+d.offset], x.aEnd)
		b := a - k
		if b > x.bEnd {
			a, b = x.bEnd+k, x.bEnd
		}
		if n := a - x.a + b - x.b; n > went {
			best, went = [2]int{a, b}, n
		}
	}
	for k := bMax; k >= bMin; k -= 2 {
		a := max(d.backward[k+d.offset], x.a)
		b := a - k
		if b < x.b {
			a, b = x.b+k, x.b
		}
		if n := x.aEnd - a + x.bEnd - b; n > went {
			best, went = [2]int{a, b}, n
		}
	}
	return best[0], best[1]
}
