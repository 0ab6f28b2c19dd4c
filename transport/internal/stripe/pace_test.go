package stripe

import (
	"errors"
	"log/slog"
	"net"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ringtree/ringtree/transport"
	"github.com/ringtree/ringtree/transport/transporttest"
)

// TestPacer holds the rates that are found on paths of several kinds, by reports every 10 ms.
func TestPacer(t *testing.T) {
	const mb, step = 1e6, 10 * time.Millisecond
	type stretch struct {
		reports  int
		capacity float64 // of the path, bytes a second
		offered  float64 // what there is to send; 0: as much as may be sent
		crowded  bool    // something waits all the time
	}
	full := []stretch{{reports: 60, capacity: 100 * mb}}
	for name, tc := range map[string]struct {
		course      []stretch
		late        time.Duration // every other report comes so late, with what has come by then
		least, most float64       // rate in the end; 0: none
	}{
		"windows have not opened":   {course: []stretch{{reports: 4, capacity: 100 * mb}}},
		"a clean path":              {course: full, least: 99 * mb, most: 101 * mb},
		"it gets narrow":            {course: append(full, stretch{reports: 60, capacity: 20 * mb}), least: 19 * mb, most: 21 * mb},
		"it gets wide":              {course: append(full, stretch{reports: 60, capacity: 500 * mb}), least: 480 * mb, most: 505 * mb},
		"little to send for a time": {course: append(full, stretch{reports: 40, capacity: 100 * mb, offered: mb}), least: 99 * mb, most: 101 * mb},
		"little to send for long":   {course: append(full, stretch{reports: 70, capacity: 100 * mb, offered: mb})},
		"never much to send":        {course: []stretch{{reports: 500, capacity: 100 * mb, offered: mb}}},
		"others fill the queue":     {course: append(full, stretch{reports: 120, capacity: 50 * mb, crowded: true})},
		"others have filled it":     {course: append(full, stretch{reports: 120, capacity: 50 * mb, crowded: true}, stretch{reports: 520, capacity: 100 * mb}), least: 99 * mb, most: 101 * mb},
		"reports come late":         {course: []stretch{{reports: 300, capacity: 100 * mb}}, late: 4 * time.Millisecond, least: 99 * mb, most: 126 * mb},
	} {
		var p pacer
		a := arrival{clock: time.Hour} // of another machine
		windows, queue := 10*mb, 0.0
		for _, s := range tc.course {
			for i := range s.reports {
				rate, busy := windows, time.Hour
				if windows = min(2*windows, 3*s.capacity); p.on.Load() {
					rate = p.rate * p.gain()
				}
				if s.offered > 0 {
					rate, busy = min(rate, s.offered), 0
				}
				queue += rate * step.Seconds()
				carried := min(queue, s.capacity*step.Seconds())
				queue = min(queue-carried, 2*s.capacity*step.Seconds()) // the rest is lost
				a.bytes += uint64(carried)
				a.clock += step
				told := a
				if i%2 == 1 {
					told.clock += tc.late
					told.bytes += uint64(rate * tc.late.Seconds())
				}
				p.heard(told, busy, s.crowded)
			}
		}
		switch {
		case p.on.Load() != (tc.most > 0):
			t.Errorf("%s: paced: %t", name, p.on.Load())
		case tc.most > 0 && (p.rate < tc.least || p.rate > tc.most || p.text() == ""):
			t.Errorf("%s: %.1f MB/s, %q, want %.1f to %.1f", name, p.rate/mb, p.text(), tc.least/mb, tc.most/mb)
		case tc.most == 0 && p.text() != "":
			t.Errorf("%s: %q", name, p.text())
		}
	}
	sum := 0.0
	for _, g := range gains {
		sum += g
	}
	if sum >= float64(len(gains)) {
		t.Errorf("a cycle sends %.3f of what the path carries, so that its queue only grows", sum/float64(len(gains)))
	}
}

// TestPacerDrains holds that draining ends when nothing waits any more, or after its samples if there is enough to send; who has little to send for long forgets the rate.
func TestPacerDrains(t *testing.T) {
	const step = 10 * time.Millisecond
	for name, tc := range map[string]struct {
		waits    int // reports with something that waits on the way
		busy     time.Duration
		drains   int // reports
		pacedYet bool
	}{
		"little to send, nothing waits":           {waits: 0, drains: 1, pacedYet: true},
		"little to send, it waits for a while":    {waits: 4, drains: 5, pacedYet: true},
		"little to send, it waits all the time":   {waits: 200, drains: int(staleTime/(2*step)) + 1},
		"much to send, nothing waits":             {waits: 0, busy: time.Hour, drains: 1, pacedYet: true},
		"much to send, it waits for a while":      {waits: 4, busy: time.Hour, drains: 5, pacedYet: true},
		"much to send, and it waits all the time": {waits: 100, busy: time.Hour, drains: drainSamples},
	} {
		var p pacer
		a := arrival{clock: time.Hour}
		report := func(n uint64, busy time.Duration, queueing bool) {
			a.bytes += n
			a.clock += step
			p.heard(a, busy, queueing)
		}
		for range 100 {
			if p.on.Load() {
				break
			}
			report(1e6, time.Hour, true)
		}
		if got := p.gain(); got != drainBy {
			t.Fatalf("%s: it begins at %g of the rate, want %g", name, got, drainBy)
		}
		drains := 0
		for p.on.Load() && p.gain() == drainBy {
			report(1e5, tc.busy, drains < tc.waits)
			drains++
		}
		if drains != tc.drains || p.on.Load() != tc.pacedYet {
			t.Errorf("%s: drained for %d reports, paced then: %t; want %d, %t", name, drains, p.on.Load(), tc.drains, tc.pacedYet)
		}
	}
}

// A report that cannot be is no sample.
func TestPacerNonsense(t *testing.T) {
	var p pacer
	for _, a := range []arrival{{5, 1}, {6, 2}, {9, 0}, {3, 4}, {1 << 63, 5}, {0, 6}, {7, 7}, {1, 1 << 62}} {
		p.heard(a, time.Hour, true)
		if p.rate < 0 || p.rate > 1<<63*1e9 {
			t.Errorf("%d bytes at %d: %g bytes a second", a.bytes, a.clock, p.rate)
		}
		if n, wait := p.piece(1<<20, time.Now()); n <= 0 || n > 1<<20 || wait > time.Minute {
			t.Errorf("%d bytes after %v", n, wait)
		}
	}
}

// A line carries bytes at a rate, one after the other, to an end that is a delay away.
type line struct {
	mu   sync.Mutex
	free time.Time // when it has carried all that waits

	pieces int
	waits  time.Duration // of pieces, for those before them
}

const (
	lineRate  = 100e6 // bytes a second
	lineDelay = 5 * time.Millisecond
	linePiece = 8 << 10
	// lineWindow is that of a connection: the three of a peer are three times what the empty line needs.
	lineWindow = 1 << 20
)

// A lineConn takes what its window lets through, and delivers it when the line has carried it.
type lineConn struct {
	net.Conn
	line   *line
	window chan struct{} // a token for each piece that is on the way
	way    chan delivery
	done   chan struct{}
	close  func()
}

type delivery struct {
	at time.Time
	b  []byte
}

func newLineConn(c net.Conn, l *line) *lineConn {
	lc := &lineConn{
		Conn: c, line: l, window: make(chan struct{}, lineWindow/linePiece), way: make(chan delivery, lineWindow/linePiece), done: make(chan struct{}),
	}
	lc.close = sync.OnceFunc(func() { close(lc.done) })
	go lc.deliver()
	return lc
}

func (c *lineConn) deliver() {
	for {
		select {
		case <-c.done:
			return
		case d := <-c.way:
			<-time.After(time.Until(d.at))
			if _, err := c.Conn.Write(d.b); err != nil {
				return
			}
			time.AfterFunc(lineDelay, func() { <-c.window })
		}
	}
}

func (c *lineConn) PeerID() string { return "" }

func (c *lineConn) Close() error {
	c.close()
	return c.Conn.Close()
}

func (c *lineConn) Course() Course {
	c.line.mu.Lock()
	defer c.line.mu.Unlock()
	return Course{RTT: 2*lineDelay + max(0, time.Until(c.line.free)), MinRTT: 2 * lineDelay, Window: lineWindow}
}

func (c *lineConn) Write(b []byte) (int, error) {
	n := len(b)
	for len(b) > 0 {
		piece := append([]byte(nil), b[:min(len(b), linePiece)]...)
		select {
		case c.window <- struct{}{}:
		case <-c.done:
			return n - len(b), net.ErrClosed
		}
		b = b[len(piece):]
		c.way <- delivery{c.line.carry(len(piece)), piece}
	}
	return n, nil
}

// carry returns when n bytes will have arrived.
func (l *line) carry(n int) time.Time {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	wait := max(0, l.free.Sub(now))
	l.waits += wait
	l.pieces++
	l.free = now.Add(wait + time.Duration(float64(n)/lineRate*float64(time.Second)))
	return l.free.Add(lineDelay)
}

// reset returns how long pieces have waited since the last one, on average.
func (l *line) reset() time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	mean := l.waits / time.Duration(max(l.pieces, 1))
	l.waits, l.pieces = 0, 0
	return mean
}

// Windows of three times what a line needs fill its queue with the rest, two round trips, until the peer has said what arrives; then next to nothing waits, and the line
// is as busy as before.
func TestPacedQueue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var lines [2]line
		eps, bells := slowPair(t, DefaultConns, 0, slog.New(slog.DiscardHandler), func(c net.Conn, rank int) Conn { return newLineConn(c, &lines[rank]) })
		var links [2]transport.Link
		for i := range links {
			l, err := eps[i].Open(transport.Peer{Rank: 1 - i, Addr: eps[1-i].Addr()}, transport.LinkID{Comm: 1})
			if err != nil {
				t.Fatal(err)
			}
			links[i] = l
			synctest.Wait() // so that rank 0 begins the session
		}
		send := func(frames int) (rate float64, wait time.Duration) {
			begin := time.Now()
			sent := make(chan error, 1)
			go func() {
				payload := make([]byte, 64<<10)
				for range frames {
					h := transport.Header{Kind: transport.Data, Length: uint32(len(payload))}
					err := transporttest.Await(bells[0], "room", func() bool {
						ok, err := links[0].Post(&h, payload)
						return ok || err != nil
					})
					if err = errors.Join(err, links[0].Err()); err != nil {
						sent <- err
						return
					}
				}
				sent <- nil
			}()
			for range frames {
				var f *transport.Frame
				var err error
				if e := transporttest.Await(bells[1], "a frame", func() bool {
					f, err = links[1].Poll()
					return f != nil || err != nil
				}); e != nil || err != nil {
					t.Fatal(e, err)
				}
				links[1].Release()
			}
			if err := <-sent; err != nil {
				t.Fatal(err)
			}
			return float64(frames*64<<10) / time.Since(begin).Seconds(), lines[0].reset()
		}
		send(150) // over connections that there are by and by
		if _, wait := send(150); wait < 2*lineDelay {
			t.Errorf("pieces wait %v on average before the rate is known, which is too little for a test", wait)
		}
		send(5000) // in which it is found
		rate, wait := send(5000)
		if note := links[0].Caps().Note; !strings.HasPrefix(note, "paced at ") || rate < 0.93*lineRate || wait > lineDelay {
			t.Errorf("%q: %.1f MB/s, pieces wait %v on average; want at least %.1f MB/s and at most %v", note, rate/1e6, wait, 0.93*lineRate/1e6, lineDelay)
		}
		t.Logf("%.1f MB/s of %.1f, pieces wait %v on average", rate/1e6, lineRate/1e6, wait)
	})
}
