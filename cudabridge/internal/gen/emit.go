package main

import (
	"fmt"
	"strings"
)

// A kernel is the text of one entry point under construction. Registers are numbered as they are asked for.
type kernel struct {
	name   string
	params []string
	body   strings.Builder
	regs   map[string]int // by prefix
	labels int
	pairs  map[string][]string // what a word and half of it have been converted to
}

// prefixes are the register classes and their PTX types.
var prefixes = []struct{ prefix, declared string }{
	{"p", ".pred"}, {"h", ".b16"}, {"r", ".b32"}, {"f", ".f32"}, {"l", ".b64"}, {"d", ".f64"},
}

func newKernel(name string, params ...string) *kernel {
	return &kernel{name: name, params: params, regs: make(map[string]int), pairs: make(map[string][]string)}
}

// reg returns a new register of a class.
func (k *kernel) reg(prefix string) string {
	k.regs[prefix]++
	return fmt.Sprintf("%%%s%d", prefix, k.regs[prefix])
}

// list returns n new registers.
func (k *kernel) list(prefix string, n int) []string {
	out := make([]string, n)
	for i := range out {
		out[i] = k.reg(prefix)
	}
	return out
}

// op appends one instruction.
func (k *kernel) op(format string, args ...any) {
	fmt.Fprintf(&k.body, "\t"+format+";\n", args...)
}

// to appends an instruction whose result goes into a new register, which it returns.
func (k *kernel) to(prefix, opcode string, args ...any) string {
	r := k.reg(prefix)
	text := make([]string, len(args))
	for i, a := range args {
		text[i] = fmt.Sprint(a)
	}
	k.op("%s %s, %s", opcode, r, strings.Join(text, ", "))
	return r
}

// label returns a name that is not used yet.
func (k *kernel) label(what string) string {
	k.labels++
	return fmt.Sprintf("$%s_%d", what, k.labels)
}

func (k *kernel) at(label string) { fmt.Fprintf(&k.body, "%s:\n", label) }

// param loads a 64-bit parameter.
func (k *kernel) param(name string) string { return k.to("l", "ld.param.u64", "["+name+"]") }

// pointer loads a parameter that is an address in global memory.
func (k *kernel) pointer(name string) string {
	return k.to("l", "cvta.to.global.u64", k.param(name))
}

// thread returns the number of this thread among those of its row of blocks, and how many there are.
func (k *kernel) thread() (index, count string) {
	block, threads, thread, blocks := k.to("r", "mov.u32", "%ctaid.x"), k.to("r", "mov.u32", "%ntid.x"), k.to("r", "mov.u32", "%tid.x"), k.to("r", "mov.u32", "%nctaid.x")
	first := k.to("l", "mul.wide.u32", block, threads)
	return k.to("l", "add.u64", first, k.to("l", "cvt.u64.u32", thread)), k.to("l", "mul.wide.u32", blocks, threads)
}

// loop runs body for i = from, from+step, … below to. i is a register of its own.
func (k *kernel) loop(what, from, to, step string, body func(i string)) {
	i, p := k.reg("l"), k.reg("p")
	head, end := k.label(what), k.label(what+"_end")
	k.op("mov.u64 %s, %s", i, from)
	k.at(head)
	k.op("setp.ge.u64 %s, %s, %s", p, i, to)
	k.op("@%s bra %s", p, end)
	body(i)
	k.op("add.u64 %s, %s, %s", i, i, step)
	k.op("bra %s", head)
	k.at(end)
}

// String returns the entry point.
func (k *kernel) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, ".visible .entry %s(", k.name)
	for i, p := range k.params {
		if i > 0 {
			b.WriteString(",")
		}
		fmt.Fprintf(&b, "\n\t.param .u64 %s", p)
	}
	b.WriteString("\n)\n{\n")
	for _, c := range prefixes {
		if n := k.regs[c.prefix]; n > 0 {
			fmt.Fprintf(&b, "\t.reg %s %%%s<%d>;\n", c.declared, c.prefix, n+1)
		}
	}
	b.WriteString(k.body.String())
	b.WriteString("\tret;\n}\n")
	return b.String()
}

func braces(regs []string) string { return "{" + strings.Join(regs, ", ") + "}" }
