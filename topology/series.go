package topology

import (
	"slices"
	"strconv"
	"strings"
)

// A series gives a name to every rank of a line of text: name itself when per is 0, else name with its final
// number raised by one every per ranks and, when wrap is not 0, starting again after wrap values.
type series struct {
	name      string
	per, wrap int
}

// maxDigits is how many digits at the end of a name count as its number: a name with more has none.
const maxDigits = 9

// splitName cuts the number off the end of a name. A number with a leading zero is not one that counting
// would produce, so such a name has no number and num is -1.
func splitName(s string) (prefix string, num int) {
	i := len(s)
	for i > 0 && s[i-1] >= '0' && s[i-1] <= '9' {
		i--
	}
	digits := s[i:]
	if digits == "" || len(digits) > maxDigits || len(digits) > 1 && digits[0] == '0' {
		return s, -1
	}
	num, _ = strconv.Atoi(digits)
	return s[:i], num
}

// at returns the name of rank number i of the line. The series has been checked.
func (s series) at(i int) string {
	if s.per == 0 {
		return s.name
	}
	prefix, num := splitName(s.name)
	return prefix + strconv.Itoa(num+s.step(i))
}

// step returns by how much the number of rank i of the line is above the first.
func (s series) step(i int) int {
	if s.per == 0 {
		return 0
	}
	k := i / s.per
	if s.wrap != 0 {
		k %= s.wrap
	}
	return k
}

// parseSeries reads a series for a line of n ranks. The reason is "" when it is good.
func parseSeries(word string, n int) (s series, reason string) {
	name, steps, counted := strings.Cut(word, "/")
	s.name = name
	if why := badName(name); why != "" {
		return s, why
	}
	if !counted {
		return s, ""
	}
	per, wrap, wraps := strings.Cut(steps, "%")
	var ok bool
	if s.per, ok = parseCount(per); !ok {
		return s, "the number after / is not between 1 and " + strconv.Itoa(MaxRanks)
	}
	if wraps {
		if s.wrap, ok = parseCount(wrap); !ok {
			return s, "the number after % is not between 1 and " + strconv.Itoa(MaxRanks)
		}
	}
	prefix, num := splitName(name)
	if num < 0 {
		return s, "name " + strconv.Quote(name) + " does not end in a number of at most " + strconv.Itoa(maxDigits) + " digits to count from"
	}
	top := (n - 1) / s.per
	if s.wrap != 0 {
		top = min(top, s.wrap-1)
	}
	if last := prefix + strconv.Itoa(num+top); len(last) > maxName {
		return s, badName(last)
	}
	return s, ""
}

func parseCount(s string) (int, bool) {
	n, ok := parseInt(s)
	return n, ok && n >= 1 && n <= MaxRanks
}

// parseInt reads decimal digits and nothing else, up to nine of them, so that it fits an int anywhere.
func parseInt(s string) (int, bool) {
	if s == "" || len(s) > 9 {
		return 0, false
	}
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return 0, false
		}
	}
	n, err := strconv.Atoi(s)
	return n, err == nil
}

// appendRanks appends the lines of ranks. Each line is made as long as its columns allow, which keeps a
// machine of equal parts at one line and any other at no more than a line a device, or a host where none is named.
func (g *Graph) appendRanks(b []byte) []byte {
	cols := g.columns()
	found := make([]series, len(cols))
	for from, n := 0, g.Size(); from < n; {
		// A column is only looked at as far as the line can reach, so that the work is linear in the ranks.
		end := 0
		for limit := min(from+64, n); ; limit = min(from+4*(limit-from), n) {
			end = limit
			for i := range cols {
				var e int
				found[i], e = cols[i].longest(from, end)
				end = min(end, e)
			}
			if end < limit || limit == n {
				break
			}
		}
		b = append(b, "ranks "...)
		b = strconv.AppendInt(b, int64(from), 10)
		if end > from+1 {
			b = append(b, '-')
			b = strconv.AppendInt(b, int64(end-1), 10)
		}
		for i := range cols {
			b = cols[i].appendSeries(b, found[i], end-from)
		}
		b = append(b, '\n')
		from = end
	}
	return b
}

// A column is one kind of place, seen from the ranks.
type column struct {
	word  string
	of    func(r int) int32 // index of the place of a rank
	parts []namePart        // by index
}

type namePart struct {
	name   string
	prefix string
	num    int
}

func (g *Graph) columns() []column {
	split := func(names []string) []namePart {
		parts := make([]namePart, len(names))
		for i, s := range names {
			prefix, num := splitName(s)
			parts[i] = namePart{s, prefix, num}
		}
		return parts
	}
	cols := []column{
		{"host", func(r int) int32 { return g.host[r] }, split(g.hosts)},
		{"rack", func(r int) int32 { return g.hostRack[g.host[r]] }, split(g.racks)},
		{"site", func(r int) int32 { return g.rackSite[g.hostRack[g.host[r]]] }, split(g.sites)},
	}
	if g.device != nil {
		cols = slices.Insert(cols, 1, column{"device", func(r int) int32 { return g.device[r] }, split(g.devices)})
	}
	return cols
}

// longest finds the series that names the most ranks from the given one on, and where it ends, at most at
// limit. A series that would end inside a run of one name ends before that run instead: otherwise every line
// after it would start in the middle of a run, and no count would fit any more.
func (c *column) longest(from, limit int) (series, int) {
	first := c.parts[c.of(from)]
	s := series{name: first.name}
	fits := func(i int) bool {
		p := &c.parts[c.of(i)]
		return p.name == first.name && s.step(i-from) == 0 ||
			first.num >= 0 && p.num == first.num+s.step(i-from) && p.prefix == first.prefix
	}
	end := from + 1
	for end < limit && fits(end) {
		end++
	}
	if end == limit || first.num < 0 {
		return s, end
	}
	s.per = end - from
	if !fits(end) {
		s.per = 0
		return s, end
	}
	for end < limit && fits(end) {
		end++
	}
	if end == limit {
		return s, end
	}
	if n := end - from; n%s.per == 0 && c.parts[c.of(end)].name == first.name {
		s.wrap = n / s.per
		for end < limit && fits(end) {
			end++
		}
	}
	if end < limit && c.parts[c.of(end)].name == c.parts[c.of(end-1)].name {
		end -= (end-from-1)%s.per + 1
	}
	return s, end
}

// appendSeries appends a column of a line of n ranks, without the counts that make no difference to them.
func (c *column) appendSeries(b []byte, s series, n int) []byte {
	if s.name == "" {
		return b // a device of the rank's own
	}
	b = append(b, ' ')
	b = append(b, c.word...)
	b = append(b, ' ')
	b = append(b, s.name...)
	if s.per == 0 || n <= s.per {
		return b
	}
	b = append(b, '/')
	b = strconv.AppendInt(b, int64(s.per), 10)
	if s.wrap != 0 && n > s.per*s.wrap {
		b = append(b, '%')
		b = strconv.AppendInt(b, int64(s.wrap), 10)
	}
	return b
}
