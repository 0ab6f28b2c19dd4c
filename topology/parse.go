package topology

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// maxLine is the longest line of the text form in bytes, its end not counted.
const maxLine = 16 << 10

// Parse reads the text form of a graph to the end of r. It fails with a [*ParseError], which wraps the
// reader's error when there was one. It allocates for what it has read and for the ranks that are named, never more
// than [MaxRanks]: see [ParseLimit] for text from a stranger.
func Parse(r io.Reader) (*Graph, error) { return ParseLimit(r, MaxRanks) }

// ParseLimit is [Parse] for a graph of at most maxRanks ranks. One short line can name them all, so the limit is
// what bounds the memory, at up to 1 KB a rank where each is a host, a rack and a site of its own.
func ParseLimit(r io.Reader, maxRanks int) (*Graph, error) {
	p := parser{b: newBuilder(min(maxRanks, MaxRanks))}
	sc := bufio.NewScanner(r)
	sc.Buffer(nil, maxLine+2)
	for sc.Scan() {
		p.line++
		if err := p.parseLine(sc.Text()); err != nil {
			return nil, err
		}
	}
	p.line++
	if err := sc.Err(); err != nil {
		reason := err.Error()
		if errors.Is(err, bufio.ErrTooLong) {
			reason = fmt.Sprintf("longer than %d bytes", maxLine)
		}
		return nil, &ParseError{Line: p.line, Reason: reason, Err: err}
	}
	if !p.started {
		return nil, p.fail(0, "no header %q", header)
	}
	if len(p.b.host) == 0 {
		return nil, p.fail(0, "no ranks")
	}
	g, err := p.b.finish(&p.spec)
	if err != nil {
		return nil, p.wrap(err)
	}
	return g, nil
}

type parser struct {
	b       *builder
	spec    Spec // costs only
	line    int
	started bool
	seen    map[string]int // statement that may stand only once -> its line
}

type word struct {
	text string
	col  int
}

func (p *parser) fail(col int, format string, args ...any) error {
	return &ParseError{Line: p.line, Column: col, Reason: fmt.Sprintf(format, args...)}
}

// wrap makes the builder's complaint an error of the current line, or of the line that its field stands on.
func (p *parser) wrap(err error) error {
	line := p.line
	reason := err.Error()
	var se *SpecError
	if errors.As(err, &se) {
		reason = strings.TrimPrefix(reason, "topology: ")
		for field := se.Field; field != ""; {
			if at, ok := p.seen[field]; ok {
				line = at
				break
			}
			cut := strings.LastIndexByte(field, ' ') // "tier rack alpha" stands under "tier rack"
			field = field[:max(cut, 0)]
		}
	}
	return &ParseError{Line: line, Reason: reason, Err: err}
}

func splitWords(s string) []word {
	var words []word
	for i := 0; i < len(s) && s[i] != '#'; {
		if s[i] == ' ' || s[i] == '\t' {
			i++
			continue
		}
		from := i
		for i < len(s) && s[i] != ' ' && s[i] != '\t' && s[i] != '#' {
			i++
		}
		words = append(words, word{s[from:i], from + 1})
	}
	return words
}

func (p *parser) parseLine(s string) error {
	w := splitWords(s)
	if len(w) == 0 {
		return nil
	}
	if !p.started {
		if w[0].text != "topology" {
			return p.fail(w[0].col, "the header %q comes first", header)
		}
		if len(w) != 2 || w[1].text != "v1" {
			return p.fail(w[0].col, "not version 1 of the format, whose header is %q", header)
		}
		p.started = true
		return nil
	}
	switch w[0].text {
	case "cores":
		if err := p.expect(w, 1); err != nil {
			return err
		}
		n, ok := parseInt(w[1].text)
		if !ok || n > maxCores {
			return p.fail(w[1].col, "%q is not an integer between 0 and %d", w[1].text, maxCores)
		}
		p.spec.Cores = n
		return p.once(w[0], "cores")
	case "reduce":
		if err := p.expect(w, 1); err != nil {
			return err
		}
		if err := p.floats(w[1:], &p.spec.Reduce); err != nil {
			return err
		}
		return p.once(w[0], "reduce")
	case "tier":
		if err := p.expect(w, 3); err != nil {
			return err
		}
		l, err := ParseLevel(w[1].text)
		if err != nil {
			return p.fail(w[1].col, "%q is not a level", w[1].text)
		}
		t := Link{Level: l}
		if err := p.floats(w[2:], &t.Alpha, &t.Beta); err != nil {
			return err
		}
		p.spec.Tiers = append(p.spec.Tiers, t)
		return p.once(w[1], "tier "+w[1].text)
	case "path":
		if err := p.expect(w, 4); err != nil {
			return err
		}
		t := Path{From: w[1].text, To: w[2].text}
		if err := p.floats(w[3:], &t.Alpha, &t.Beta); err != nil {
			return err
		}
		p.spec.Paths = append(p.spec.Paths, t)
		return p.once(w[1], "path "+t.From+" "+t.To)
	case "layer":
		return p.layer(w)
	case "ranks":
		return p.ranks(w)
	}
	return p.fail(w[0].col, "%q begins no line", w[0].text)
}

// expect holds a statement to n words after the first.
func (p *parser) expect(w []word, n int) error {
	if len(w) != n+1 {
		return p.fail(w[0].col, "%q takes %d words, not %d", w[0].text, n, len(w)-1)
	}
	return nil
}

// once records a statement that may stand only once, such as "tier rack".
func (p *parser) once(at word, field string) error {
	if line, dup := p.seen[field]; dup {
		return p.fail(at.col, "%q was given in line %d", field, line)
	}
	if p.seen == nil {
		p.seen = make(map[string]int)
	}
	p.seen[field] = p.line
	return nil
}

func (p *parser) floats(w []word, dst ...*float64) error {
	for i, d := range dst {
		v, err := strconv.ParseFloat(w[i].text, 64)
		if err != nil {
			return p.fail(w[i].col, "%q is not a number", w[i].text)
		}
		if why := badCost(v); why != "" {
			return p.fail(w[i].col, "cost %s is %s", w[i].text, why)
		}
		*d = v
	}
	return nil
}

func (p *parser) ranks(w []word) error {
	if len(w) < 2 {
		return p.fail(w[0].col, "no range of ranks")
	}
	from, to, err := p.rankRange(w[1])
	if err != nil {
		return err
	}
	if len(w)%2 != 0 {
		return p.fail(w[len(w)-1].col, "%q has no name after it", w[len(w)-1].text)
	}
	words := [...]string{"host", "device", "rack", "site"}
	var cols [len(words)]series
	for i := 2; i < len(w); i += 2 {
		k := 0
		for k < len(words) && words[k] != w[i].text {
			k++
		}
		if k == len(words) {
			return p.fail(w[i].col, "%q is not host, device, rack or site", w[i].text)
		}
		if cols[k].name != "" {
			return p.fail(w[i].col, "%q stands twice", w[i].text)
		}
		s, reason := parseSeries(w[i+1].text, to-from+1)
		if reason != "" {
			return p.fail(w[i+1].col, "%s", reason)
		}
		cols[k] = s
	}
	if cols[0].name == "" {
		return p.fail(w[0].col, "no host")
	}
	return p.addRanks(to-from+1, cols)
}

// addRanks adds n ranks. It makes each name once a run, not once a rank.
func (p *parser) addRanks(n int, cols [4]series) error {
	var names [4]string
	var steps [4]int
	for i := range n {
		for k := range cols {
			if s := cols[k].step(i); i == 0 || s != steps[k] {
				names[k], steps[k] = cols[k].at(i), s
			}
		}
		if err := p.b.add(Place{Host: names[0], Device: names[1], Rack: names[2], Site: names[3]}); err != nil {
			return p.wrap(err)
		}
	}
	return nil
}

func (p *parser) rankRange(w word) (from, to int, err error) {
	first, last, isRange := strings.Cut(w.text, "-")
	if !isRange {
		last = first
	}
	from, ok1 := parseInt(first)
	to, ok2 := parseInt(last)
	if !ok1 || !ok2 {
		return 0, 0, p.fail(w.col, "%q is not a rank or a range such as 0-7", w.text)
	}
	if next := len(p.b.host); from != next {
		return 0, 0, p.fail(w.col, "ranks go on at %d, not at %d", next, from)
	}
	if to < from {
		return 0, 0, p.fail(w.col, "the range %q ends before it begins", w.text)
	}
	if to >= p.b.limit {
		return 0, 0, p.fail(w.col, "rank %d is above the limit of %d ranks", to, p.b.limit)
	}
	return from, to, nil
}
