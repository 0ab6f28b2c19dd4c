package main

import (
	"fmt"
	"io"
	"os"
	"time"
)

// A progress line says on a terminal what is being simulated, and leaves nothing behind.
type progress struct {
	w     io.Writer // nil: stay silent
	what  string
	shown bool
	last  time.Time
}

// newProgress shows progress on f if that is a terminal.
func newProgress(f *os.File) *progress {
	p := &progress{}
	if f == nil {
		return p
	}
	if info, err := f.Stat(); err == nil && info.Mode()&os.ModeCharDevice != 0 {
		p.w = f
	}
	return p
}

// at says what comes next.
func (p *progress) at(what string) { p.what = what; p.part(0) }

// part says how much of it is done. It shows no more than ten lines a second.
func (p *progress) part(done float64) {
	if p.w == nil || time.Since(p.last) < 100*time.Millisecond {
		return
	}
	p.last, p.shown = time.Now(), true
	if done > 0 {
		fmt.Fprintf(p.w, "\r\x1b[K%s: %.0f %%", p.what, done*100)
		return
	}
	fmt.Fprintf(p.w, "\r\x1b[K%s", p.what)
}

// clear erases the line, before anything else is written.
func (p *progress) clear() {
	if p.shown {
		fmt.Fprint(p.w, "\r\x1b[K")
		p.shown = false
	}
}
