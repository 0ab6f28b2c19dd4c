package stripe

import (
	"fmt"
	"sync"
	"time"
)

// A why says why a session has the carrier that it has. It travels in the hello, so that both sides know.
type why uint8

const (
	whyOnly    why = iota // there is no choice
	whyBest               // it is the best that both sides offer
	whySilent             // what is better did not answer within its head start
	whyFailed             // what is better failed
	whyBefore             // what is better did not reach this peer before
	whyMissing            // what is better is not offered by both sides
	whySteady             // it is the first, and suits the path: losses by chance do not slow it
	whyShort              // or because the path is short
	whyUnfit              // the first does not suit the path
	whyAlone              // it is the first, does not suit the path, and nothing else answers

	whyLast = whyAlone
)

// text says it for people.
func (w why) text(better string, headStart time.Duration) string {
	switch w {
	case whySilent:
		return fmt.Sprintf("no answer over %s within %v", better, headStart)
	case whyFailed:
		return better + " failed"
	case whyBefore:
		return better + " did not reach this peer before"
	case whyMissing:
		return better + " is not offered by both sides"
	case whySteady:
		return "it takes the least processor time, and losses by chance do not slow it: BBR on both sides"
	case whyShort:
		return fmt.Sprintf("it takes the least processor time, and a round trip less than %v", longPath)
	case whyUnfit:
		return better + " would take losses by chance for congestion: a long path, and BBR not on both sides"
	case whyAlone:
		return "nothing else answers, though losses by chance would slow it"
	}
	return ""
}

// A Memory remembers which carrier reached whom, for all endpoints of a transport, so that a carrier that is blocked
// costs its head start once for each peer. The zero value is ready, and it is safe for concurrent use.
type Memory struct {
	mu     sync.Mutex
	by     map[string]string // carrier that reached an identity when a better one did not
	best   int               // sessions over the best carrier that both sides offer
	beaten int               // sessions over another one, because the best did not answer or failed
}

// carrier returns what reached an identity before, "" if that is not known or was the best.
func (m *Memory) carrier(id string) string {
	if m == nil || id == "" {
		return ""
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.by[id]
}

// headStart returns how long a carrier may try alone: less where the best one has reached nobody and failed with a few, as
// it does where a firewall is in front of this process.
func (m *Memory) headStart(whole time.Duration) time.Duration {
	if m == nil {
		return whole
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.best == 0 && m.beaten >= hopeless {
		return whole / 10
	}
	return whole
}

// hopeless is after how many peers that the best carrier did not reach nobody waits for it any more.
const hopeless = 2

// note takes the outcome of a session's beginning.
func (m *Memory) note(id, carrier string, w why) {
	if m == nil || id == "" {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	switch w {
	case whyBest, whySteady, whyShort:
		m.best++
	case whySilent, whyFailed:
		m.beaten++
		if m.by == nil {
			m.by = make(map[string]string)
		}
		m.by[id] = carrier
	}
}
