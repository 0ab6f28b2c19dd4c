package quic

import (
	"net"
	"net/netip"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

type fakeWorker struct{ n atomic.Uint64 }

func (w *fakeWorker) done() uint64 { return w.n.Load() }

// A connection that is given all that the reader of a socket admits never has more to do than quic-go has room for, whatever the sizes of packets and
// however long it does nothing.
func TestBacklog(t *testing.T) {
	const batch = 8
	at := netip.MustParseAddrPort("192.0.2.1:7")
	from := net.UDPAddrFromAddrPort(at)
	// begin starts a reader of packets of a size, and returns how many it has handed out.
	begin := func(t *testing.T, w *fakeWorker, size int) *atomic.Int64 {
		b := &backlogs{}
		b.admit(at, 1<<20, 1<<30) // a stranger passes
		w.n.Store(1000)
		stop := b.add(from, w)
		handed, ended, gone := &atomic.Int64{}, make(chan bool), make(chan bool)
		go func() {
			defer close(gone)
			for {
				select {
				case <-ended:
					return
				default:
					b.admit(at, batch, batch*size)
					handed.Add(batch)
					<-time.After(time.Microsecond) // reading takes time
				}
			}
		}()
		t.Cleanup(func() {
			stop()
			close(ended)
			<-gone
			if len(b.of) != 0 {
				t.Error("a connection that has ended is remembered")
			}
		})
		return handed
	}
	for _, size := range []int{40, 1440} {
		synctest.Test(t, func(t *testing.T) {
			w := &fakeWorker{}
			handed := begin(t, w, size)
			done := int64(0)
			work := func(packets int64) {
				w.n.Add(uint64(packets) * uint64(size))
				done += packets
			}
			most := int64(0)
			for _, pause := range []time.Duration{time.Microsecond, time.Millisecond, stalled + time.Millisecond, gone - stalled} {
				for range max(3, min(100, int(100*time.Millisecond/pause))) {
					<-time.After(pause)
					to := handed.Load() - done
					if most = max(most, to); to > quicRoom {
						t.Fatalf("%d packets of %d bytes wait for a connection that has done nothing for %v", to, size, pause)
					}
					work(to - to%3)
				}
			}
			if most <= backlogLimit {
				t.Errorf("at most %d packets waited: a pause has led to no question", most)
			}
		})
	}
	// What quic-go does not count as done, as it is of no connection, is found out, from what comes behind it or in time.
	synctest.Test(t, func(t *testing.T) {
		w := &fakeWorker{}
		handed := begin(t, w, 100)
		const strange = backlogLimit
		for handed.Load() < strange {
			<-time.After(time.Microsecond)
		}
		start, done := time.Now(), int64(strange)
		for done < 100*quicRoom {
			<-time.After(50 * time.Microsecond)
			to := handed.Load() - done
			w.n.Add(uint64(100 * to))
			done += to
		}
		if took := time.Since(start); took > 5*stalled {
			t.Errorf("behind packets of no connection others wait for %v", took)
		}
	})
	synctest.Test(t, func(t *testing.T) {
		handed := begin(t, &fakeWorker{}, 100)
		<-time.After(2*gone + 10*stalled)
		if handed.Load() <= quicRoom {
			t.Error("a connection that never does anything stops the reader for good")
		}
	})
}

// What a connection is given by others than the reader does not make it seem less busy later.
func TestBacklogOtherSources(t *testing.T) {
	var b backlogs
	at := netip.MustParseAddrPort("192.0.2.1:7")
	w := &fakeWorker{}
	b.add(net.UDPAddrFromAddrPort(at), w)
	w.n.Add(1 << 20)
	if !b.room(at, backlogLimit, backlogLimit, 1000) || b.room(at, backlogLimit, 1, 10) {
		t.Error("the count does not follow what is done")
	}
	w.n.Add(999)
	if b.room(at, backlogLimit, 1, 10) {
		t.Error("packets count as done of which a byte is missing")
	}
	w.n.Add(1)
	for range 2 * quicRoom { // one by one, with more marks than there is room for
		b.room(at, backlogLimit, 1, 10)
	}
	if got := b.of[at].waiting(); got != backlogLimit {
		t.Errorf("%d packets wait, want %d", got, backlogLimit)
	}
	w.n.Add(10 * 100)
	if b.of[at].look(); b.of[at].waiting() != backlogLimit-100 {
		t.Errorf("%d packets wait, want %d", b.of[at].waiting(), backlogLimit-100)
	}
}
