package main

import (
	"fmt"
	"io"
	"os"
)

// A progress line says on a terminal what is being measured, and leaves nothing behind.
type progress struct {
	w     io.Writer // nil: stay silent
	shown bool
	done  int
	total int // 0: unknown
}

// newProgress shows progress on f if that is a terminal.
func newProgress(f *os.File, total int) *progress {
	p := &progress{total: total}
	if info, err := f.Stat(); err == nil && info.Mode()&os.ModeCharDevice != 0 {
		p.w = f
	}
	return p
}

// next shows the line of the next measurement.
func (p *progress) next(what string) {
	p.done++
	if p.w == nil {
		return
	}
	of := ""
	if p.total > 0 {
		of = fmt.Sprintf("/%d", p.total)
	}
	fmt.Fprintf(p.w, "\r\x1b[K[%d%s] %s", p.done, of, what)
	p.shown = true
}

// clear erases the line, before anything else is written to the terminal.
func (p *progress) clear() {
	if p.shown {
		fmt.Fprint(p.w, "\r\x1b[K")
		p.shown = false
	}
}
