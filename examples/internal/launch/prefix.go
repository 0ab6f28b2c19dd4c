package launch

import (
	"bytes"
	"io"
	"sync"
)

// A prefixer writes whole lines to out, each with a prefix, so that lines of several ranks do not mix. Prefixers
// that share out share mu.
type prefixer struct {
	mu     *sync.Mutex
	out    io.Writer
	prefix string
	line   []byte // begun, not yet ended
}

// maxLine is where a line without an end is cut, so that a rank cannot make the parent's memory grow.
const maxLine = 64 << 10

// Write never fails: a rank must not be blocked or ended because nobody can read what it says.
func (p *prefixer) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := len(b)
	for len(b) > 0 {
		i := bytes.IndexByte(b, '\n')
		if i < 0 {
			p.line = append(p.line, b...)
			if len(p.line) >= maxLine {
				p.emit()
			}
			break
		}
		p.line = append(p.line, b[:i]...)
		p.emit()
		b = b[i+1:]
	}
	return n, nil
}

// flush writes what is left of a line without an end.
func (p *prefixer) flush() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.line) > 0 {
		p.emit()
	}
}

// emit writes line; the caller holds mu.
func (p *prefixer) emit() {
	text := make([]byte, 0, len(p.prefix)+len(p.line)+1)
	text = append(text, p.prefix...)
	text = append(text, p.line...)
	text = append(text, '\n')
	p.line = p.line[:0]
	_, _ = p.out.Write(text)
}
