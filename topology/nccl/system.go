package nccl

import (
	"bytes"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// An Element is an element of the file.
type Element struct {
	Name     string
	Attrs    []Attr // in the order of the file
	Children []*Element
}

// An Attr is an attribute of an element.
type Attr struct{ Name, Value string }

// Get returns the value of an attribute, or "".
func (e *Element) Get(name string) string {
	for _, a := range e.Attrs {
		if a.Name == name {
			return a.Value
		}
	}
	return ""
}

// A System is the description of a host.
type System struct{ Root *Element }

// A ParseError says where a text is not NCCL's XML, and why.
type ParseError struct {
	Line   int // counted from 1
	Reason string
}

func (e *ParseError) Error() string { return fmt.Sprintf("nccl: line %d: %s", e.Line, e.Reason) }

// Limits of what is read.
const (
	maxText     = 4 << 20
	maxElements = 1 << 15
	maxDepth    = 64
)

// inside says which elements may stand in which, and which attributes they must have.
var inside = map[string]struct {
	parents  string
	required string
}{
	"system":  {"", "version"},
	"cpu":     {"system", "numaid"},
	"pci":     {"cpu pci", "busid"},
	"gpu":     {"pci", "dev sm"},
	"nvlink":  {"gpu", "target count"},
	"c2c":     {"gpu", "bw"},
	"nic":     {"pci cpu", ""},
	"net":     {"nic", "name dev"},
	"pcilink": {"pci", "target"},
}

// integers are the attributes that are numbers, and what they must not be below.
var integers = map[string]int{"numaid": -1, "dev": 0, "sm": 1, "rank": -1, "gdr": 0, "count": 1, "link_width": 0, "speed": 0, "port": 0}

// Parse reads the XML of one host. It fails with a [*ParseError] when it is not NCCL's: an element that does not belong where it
// stands, an attribute that is missing or no number, two GPUs or devices of one number.
func Parse(r io.Reader) (*System, error) {
	text, err := io.ReadAll(io.LimitReader(r, maxText+1))
	if err != nil {
		return nil, &ParseError{1, err.Error()}
	}
	if len(text) > maxText {
		return nil, &ParseError{1, fmt.Sprintf("longer than %d bytes", maxText)}
	}
	d := xml.NewDecoder(bytes.NewReader(text))
	fail := func(format string, args ...any) error {
		line, _ := d.InputPos()
		return &ParseError{line, fmt.Sprintf(format, args...)}
	}
	s := &System{}
	var open []*Element
	seen := make(map[string]bool) // "gpu 3", "pci 0000:19:00.0"
	count := 0
	for {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, fail("%v", err)
		}
		switch x := token.(type) {
		case xml.StartElement:
			e := &Element{Name: x.Name.Local}
			for _, a := range x.Attr {
				if a.Name.Space != "" || e.has(a.Name.Local) {
					return nil, fail("attribute %q of %q", a.Name.Local, e.Name)
				}
				e.Attrs = append(e.Attrs, Attr{a.Name.Local, a.Value})
			}
			if count++; count > maxElements || len(open) == maxDepth {
				return nil, fail("more than %d elements, or deeper than %d", maxElements, maxDepth)
			}
			parent := ""
			if len(open) > 0 {
				parent = open[len(open)-1].Name
			}
			if x.Name.Space != "" || parent == "" && s.Root != nil {
				return nil, fail("%q stands outside of the system", e.Name)
			}
			if why := e.check(parent); why != "" {
				return nil, fail("%s", why)
			}
			if key := e.key(); key != "" {
				if seen[key] {
					return nil, fail("%s stands twice", key)
				}
				seen[key] = true
			}
			if parent == "" {
				s.Root = e
			} else {
				top := open[len(open)-1]
				top.Children = append(top.Children, e)
			}
			open = append(open, e)
		case xml.EndElement:
			open = open[:len(open)-1]
		case xml.CharData:
			if len(bytes.TrimSpace(x)) > 0 {
				return nil, fail("text between the elements: %.20q", x)
			}
		}
	}
	if s.Root == nil {
		return nil, fail("no system")
	}
	return s, nil
}

func (e *Element) has(name string) bool {
	for _, a := range e.Attrs {
		if a.Name == name {
			return true
		}
	}
	return false
}

// key names what may stand once in a system.
func (e *Element) key() string {
	switch e.Name {
	case "gpu", "net":
		return e.Name + " " + e.Get("dev")
	case "pci":
		return "pci " + strings.ToLower(e.Get("busid"))
	case "cpu":
		return "cpu " + e.Get("numaid")
	}
	return ""
}

// check returns what is wrong with an element inside the one named parent, or "".
func (e *Element) check(parent string) string {
	rule, ok := inside[e.Name]
	if !ok || (parent == "") != (rule.parents == "") || parent != "" && !contains(rule.parents, parent) {
		return fmt.Sprintf("%q inside %q", e.Name, parent)
	}
	for _, name := range strings.Fields(rule.required) {
		if e.Get(name) == "" {
			return fmt.Sprintf("%q has no %s", e.Name, name)
		}
	}
	for _, a := range e.Attrs {
		least, isNumber := integers[a.Name]
		if !isNumber || e.Name == "c2c" {
			continue
		}
		if n, err := strconv.Atoi(a.Value); err != nil || n < least || n > 1<<24 {
			return fmt.Sprintf("%q has %s=%q, which is no number from %d on", e.Name, a.Name, a.Value, least)
		}
	}
	return ""
}

func contains(words, word string) bool {
	for _, w := range strings.Fields(words) {
		if w == word {
			return true
		}
	}
	return false
}

// MarshalText writes the system as NCCL does: an element a line, two blanks for each that it stands in. The error is
// always nil.
func (s *System) MarshalText() ([]byte, error) {
	var b bytes.Buffer
	s.Root.write(&b, 0)
	return b.Bytes(), nil
}

func (e *Element) write(b *bytes.Buffer, depth int) {
	b.WriteString(strings.Repeat("  ", depth) + "<" + e.Name)
	for _, a := range e.Attrs {
		b.WriteString(" " + a.Name + `="`)
		_ = xml.EscapeText(b, []byte(a.Value)) // a Buffer takes all
		b.WriteString(`"`)
	}
	if len(e.Children) == 0 {
		b.WriteString("/>\n")
		return
	}
	b.WriteString(">\n")
	for _, c := range e.Children {
		c.write(b, depth+1)
	}
	b.WriteString(strings.Repeat("  ", depth) + "</" + e.Name + ">\n")
}
