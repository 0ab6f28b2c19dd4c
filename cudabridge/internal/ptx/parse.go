package ptx

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
)

// A Module is a parsed text.
type Module struct {
	Version, Target string
	Kernels         map[string]*Kernel
}

// A Kernel is one entry point.
type Kernel struct {
	Name   string
	Params []Param

	regs   map[string]int
	labels map[string]int
	code   []instruction
}

// A Param is a parameter: where its bytes begin and how many there are.
type Param struct {
	Name         string
	Offset, Size int
}

// An instruction is decoded once; run executes it and returns where to go on, or next.
type instruction struct {
	line   int
	text   string
	guard  int // predicate register, or -1
	negate bool
	parts  []string // of the opcode
	args   []operand
	run    func(*thread) int
}

// An operand is a register, a number, an address, a label or a vector of operands.
type operand struct {
	kind   byte // one of the constants
	reg    int
	value  uint64 // of a number; offset of an address
	name   string // of a label or parameter
	vector []operand
}

const (
	register byte = iota
	number
	address // register plus offset
	parameter
	special
	vector
	label
)

// sizes are the bytes of the types.
var sizes = map[string]int{
	"u8": 1, "s8": 1, "b8": 1, "u16": 2, "s16": 2, "b16": 2, "f16": 2, "u32": 4, "s32": 4, "b32": 4, "f32": 4, "u64": 8, "s64": 8, "b64": 8, "f64": 8,
}

var (
	comment    = regexp.MustCompile(`//[^\n]*`)
	entryHead  = regexp.MustCompile(`\.visible \.entry (\w+)\(([^)]*)\)\s*\{`)
	paramText  = regexp.MustCompile(`^\.param \.(\w+) (\w+)$`)
	regText    = regexp.MustCompile(`^\.reg \.(\w+) %(\w+)<(\d+)>$`)
	labelText  = regexp.MustCompile(`^([$\w]+):$`)
	memoryText = regexp.MustCompile(`^\[([%$\w]+)(?:\+(\d+))?\]$`)
)

// Parse reads a module. The error names the line.
func Parse(text string) (*Module, error) {
	text = comment.ReplaceAllString(text, "")
	m := &Module{Kernels: make(map[string]*Kernel)}
	first := entryHead.FindStringIndex(text)
	if first == nil {
		return nil, fmt.Errorf("ptx: no entry point")
	}
	for line := range strings.Lines(text[:first[0]]) {
		f := strings.Fields(line)
		switch {
		case len(f) == 0:
		case f[0] == ".version" && len(f) == 2:
			m.Version = f[1]
		case f[0] == ".target" && len(f) == 2:
			m.Target = f[1]
		case f[0] == ".address_size" && len(f) == 2 && f[1] == "64":
		default:
			return nil, fmt.Errorf("ptx: cannot read %q", strings.TrimSpace(line))
		}
	}
	if m.Version == "" || m.Target == "" {
		return nil, fmt.Errorf("ptx: no .version or no .target")
	}
	for at := 0; ; {
		loc := entryHead.FindStringSubmatchIndex(text[at:])
		if loc == nil {
			if rest := strings.TrimSpace(text[at:]); rest != "" {
				return nil, fmt.Errorf("ptx: cannot read %.40q", rest)
			}
			return m, nil
		}
		k := &Kernel{Name: text[at+loc[2] : at+loc[3]], regs: make(map[string]int), labels: make(map[string]int)}
		if between := strings.TrimSpace(text[at : at+loc[0]]); at > 0 && between != "" {
			return nil, fmt.Errorf("ptx: cannot read %.40q", between)
		}
		if m.Kernels[k.Name] != nil {
			return nil, fmt.Errorf("ptx: two entry points %s", k.Name)
		}
		if err := k.readParams(text[at+loc[4] : at+loc[5]]); err != nil {
			return nil, err
		}
		body := text[at+loc[1]:]
		end := strings.Index(body, "\n}")
		if end < 0 {
			return nil, fmt.Errorf("ptx: %s does not end", k.Name)
		}
		if err := k.readBody(body[:end], 1+strings.Count(text[:at+loc[1]], "\n")); err != nil {
			return nil, fmt.Errorf("ptx: %s: %w", k.Name, err)
		}
		m.Kernels[k.Name] = k
		at += loc[1] + end + 2
	}
}

func (k *Kernel) readParams(text string) error {
	if strings.TrimSpace(text) == "" {
		return nil
	}
	offset := 0
	for p := range strings.SplitSeq(text, ",") {
		f := paramText.FindStringSubmatch(strings.TrimSpace(p))
		if f == nil || sizes[f[1]] == 0 {
			return fmt.Errorf("ptx: %s: cannot read parameter %q", k.Name, strings.TrimSpace(p))
		}
		n := sizes[f[1]]
		offset = (offset + n - 1) / n * n
		k.Params = append(k.Params, Param{f[2], offset, n})
		offset += n
	}
	return nil
}

// ParamBytes is the length of the parameters' block.
func (k *Kernel) ParamBytes() int {
	if len(k.Params) == 0 {
		return 0
	}
	last := k.Params[len(k.Params)-1]
	return last.Offset + last.Size
}

func (k *Kernel) readBody(body string, line int) error {
	for text := range strings.Lines(body) {
		s := strings.TrimSpace(text)
		at := line
		line++
		if s == "" {
			continue
		}
		if f := labelText.FindStringSubmatch(s); f != nil {
			if _, twice := k.labels[f[1]]; twice {
				return fmt.Errorf("line %d: label %s for the second time", at, f[1])
			}
			k.labels[f[1]] = len(k.code)
			continue
		}
		s, ok := strings.CutSuffix(s, ";")
		if !ok {
			return fmt.Errorf("line %d: %q does not end in a semicolon", at, s)
		}
		if f := regText.FindStringSubmatch(s); f != nil {
			n, err := strconv.Atoi(f[3])
			if err != nil || n > 1<<16 || (f[1] != "pred" && sizes[f[1]] == 0) {
				return fmt.Errorf("line %d: cannot read %q", at, s)
			}
			for i := range n {
				k.regs["%"+f[2]+strconv.Itoa(i)] = len(k.regs)
			}
			continue
		}
		in, err := k.decode(s)
		if err != nil {
			return fmt.Errorf("line %d: %q: %w", at, s, err)
		}
		in.line = at
		k.code = append(k.code, in)
	}
	for i := range k.code {
		in := &k.code[i]
		run, err := k.compile(in)
		if err != nil {
			return fmt.Errorf("line %d: %q: %w", in.line, in.text, err)
		}
		in.run = run
	}
	return nil
}

func (k *Kernel) decode(s string) (instruction, error) {
	in := instruction{text: s, guard: -1}
	if guard, rest, ok := strings.Cut(s, " "); ok && guard[0] == '@' {
		name, negated := strings.CutPrefix(guard[1:], "!")
		r, known := k.regs[name]
		if !known {
			return in, fmt.Errorf("unknown register %s", name)
		}
		in.guard, in.negate, s = r, negated, rest
	}
	opcode, rest, _ := strings.Cut(s, " ")
	in.parts = strings.Split(opcode, ".")
	for _, a := range splitOperands(rest) {
		o, err := k.operand(a)
		if err != nil {
			return in, err
		}
		in.args = append(in.args, o)
	}
	return in, nil
}

// splitOperands cuts at commas outside of brackets.
func splitOperands(s string) []string {
	var out []string
	depth, from := 0, 0
	for i, c := range s {
		switch c {
		case '{', '[':
			depth++
		case '}', ']':
			depth--
		case ',':
			if depth == 0 {
				out = append(out, strings.TrimSpace(s[from:i]))
				from = i + 1
			}
		}
	}
	if last := strings.TrimSpace(s[from:]); last != "" {
		out = append(out, last)
	}
	return out
}

var specials = map[string]int{"%tid.x": 0, "%ntid.x": 1, "%ctaid.x": 2, "%nctaid.x": 3, "%ctaid.y": 4}

func (k *Kernel) operand(s string) (operand, error) {
	if s == "" {
		return operand{}, fmt.Errorf("an operand is missing")
	}
	if r, ok := k.regs[s]; ok {
		return operand{kind: register, reg: r}, nil
	}
	if r, ok := specials[s]; ok {
		return operand{kind: special, reg: r}, nil
	}
	switch {
	case s[0] == '{' && s[len(s)-1] == '}':
		o := operand{kind: vector}
		for _, e := range splitOperands(s[1 : len(s)-1]) {
			x, err := k.operand(e)
			if err != nil {
				return o, err
			}
			o.vector = append(o.vector, x)
		}
		return o, nil
	case s[0] == '[':
		f := memoryText.FindStringSubmatch(s)
		if f == nil {
			return operand{}, fmt.Errorf("cannot read address %s", s)
		}
		var o operand
		if f[2] != "" {
			n, err := strconv.ParseUint(f[2], 10, 31)
			if err != nil {
				return o, err
			}
			o.value = n
		}
		if r, ok := k.regs[f[1]]; ok {
			o.kind, o.reg = address, r
			return o, nil
		}
		for _, p := range k.Params {
			if p.Name == f[1] {
				o.kind, o.value = parameter, o.value+uint64(p.Offset)
				return o, nil
			}
		}
		return o, fmt.Errorf("unknown address %s", s)
	case s[0] == '$':
		return operand{kind: label, name: s}, nil
	case strings.HasPrefix(s, "0f") || strings.HasPrefix(s, "0d"):
		n, err := strconv.ParseUint(s[2:], 16, 64)
		return operand{kind: number, value: n}, err
	}
	if n, err := strconv.ParseInt(s, 0, 64); err == nil {
		return operand{kind: number, value: uint64(n)}, nil
	}
	return operand{}, fmt.Errorf("unknown operand %s", s)
}
