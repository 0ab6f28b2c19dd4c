package probe

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ringtree/ringtree/transport"
	"github.com/ringtree/ringtree/transport/simnet"
	"github.com/ringtree/ringtree/transport/transporttest"
)

func probeOf(g *transporttest.Group, l transport.Link, rank int) Probe {
	return Probe{Link: l, Bell: g.Bells[rank], Pair: 5, Polls: -1, Send: make([]byte, 3*transport.MaxPayload/2), Receive: make([]byte, transport.MaxPayload)}
}

// A slow path is measured with few probes, a fast one with all.
func TestPingerLimit(t *testing.T) {
	for _, test := range []struct {
		delay    time.Duration
		limit    time.Duration
		directed bool
		shapes   int
		probes   int // of the first shape
		longest  time.Duration
	}{
		{time.Microsecond, 0, false, len(sizes), maxRepeats, time.Second},
		{time.Microsecond, 0, true, 2*len(sizes) - 1, maxRepeats, time.Second},
		{time.Millisecond, 100 * time.Millisecond, false, len(sizes), 9, 110 * time.Millisecond},
		{50 * time.Millisecond, 300 * time.Millisecond, false, 2, 2, 510 * time.Millisecond},
		{time.Second, 100 * time.Millisecond, false, 2, 1, 9 * time.Second},
		{time.Second, 100 * time.Millisecond, true, 3, 1, 11 * time.Second},
	} {
		synctest.Test(t, func(t *testing.T) {
			g := transporttest.NewGroup(t, simnet.New(func(a, b int) simnet.Path { return simnet.Path{Delay: test.delay} }), 2)
			a, b := g.Pair(t, transport.LinkID{Comm: 1})
			var pong error
			var wait sync.WaitGroup
			wait.Go(func() { pong = Ponger(t.Context(), probeOf(g, b, 1)) })
			p := probeOf(g, a, 0)
			p.Limit, p.Directed = test.limit, test.directed
			began := time.Now()
			samples, err := Pinger(t.Context(), p)
			took := time.Since(began)
			wait.Wait()
			if err != nil || pong != nil {
				t.Fatalf("got %v and %v", err, pong)
			}
			if len(samples) != test.shapes || samples[0].Probes != test.probes || took > test.longest {
				t.Errorf("%+v: got %d shapes in %v, the first %+v", test, len(samples), took, samples[0])
			}
			for _, s := range samples {
				if want := 2 * test.delay.Seconds(); s.Seconds != want || s.Probes < 1 {
					t.Errorf("%+v: got %+v, want %g s", test, s, want)
				}
			}
		})
	}
}

// What does not belong to the protocol is refused with a typed error, on both sides.
func TestPingPongStrangers(t *testing.T) {
	for name, test := range map[string]struct {
		header transport.Header
		bytes  int
	}{
		"version":  {transport.Header{Step: stepPing, Seq: 5, Root: version + 1}, 8},
		"pair":     {transport.Header{Step: stepPing, Seq: 6, Root: version}, 8},
		"step":     {transport.Header{Step: 4711, Seq: 5, Root: version}, 8},
		"too long": {transport.Header{Step: stepPing, Seq: 5, Root: version, Count: transport.MaxPayload + 1}, 8},
		"overflow": {transport.Header{Step: stepPing, Seq: 5, Root: version, Count: 1 << 63}, 8},
		"short":    {transport.Header{Step: stepPong, Seq: 5, Root: version}, 7}, // for the pinger
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				g := transporttest.NewGroup(t, simnet.New(func(a, b int) simnet.Path { return simnet.Path{} }), 2)
				a, b := g.Pair(t, transport.LinkID{Comm: 1})
				test.header.Kind, test.header.Length = transport.Data, uint32(test.bytes)
				if ok, err := a.Post(&test.header, make([]byte, test.bytes)); !ok || err != nil {
					t.Fatal(ok, err)
				}
				var err error
				if test.header.Step == stepPong {
					_, err = Pinger(t.Context(), probeOf(g, b, 1))
				} else {
					err = Ponger(t.Context(), probeOf(g, b, 1))
				}
				var proto *ProtocolError
				if !errors.As(err, &proto) {
					t.Errorf("got %v, want a ProtocolError", err)
				}
			})
		})
	}
}

func TestPingPongEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := transporttest.NewGroup(t, simnet.New(func(a, b int) simnet.Path { return simnet.Path{} }), 2)
		a, b := g.Pair(t, transport.LinkID{Comm: 1})
		enough := errors.New("enough")
		ctx, cancel := context.WithTimeoutCause(t.Context(), time.Second, enough)
		defer cancel()
		if _, err := Pinger(ctx, probeOf(g, a, 0)); !errors.Is(err, enough) {
			t.Errorf("nobody answers: got %v, want %v", err, enough)
		}
		_ = a.Close()
		if err := Ponger(t.Context(), probeOf(g, b, 1)); err != nil {
			// The ping that was posted is answered to nobody.
			if !errors.Is(err, transport.ErrPeerClosed) {
				t.Errorf("the peer has closed: got %v, want %v", err, transport.ErrPeerClosed)
			}
		} else {
			t.Error("the peer has closed: got no error")
		}
	})
}

func TestProbeConfig(t *testing.T) {
	g := transporttest.NewGroup(t, simnet.New(func(a, b int) simnet.Path { return simnet.Path{} }), 2)
	a, _ := g.Pair(t, transport.LinkID{Comm: 1})
	for field, change := range map[string]func(*Probe){
		"Probe.Link":  func(p *Probe) { p.Link = nil },
		"Probe.Bell":  func(p *Probe) { p.Bell = nil },
		"Probe.Send":  func(p *Probe) { p.Receive = p.Receive[1:] },
		"Probe.Limit": func(p *Probe) { p.Limit = -1 },
	} {
		p := probeOf(g, a, 0)
		change(&p)
		var ce *ConfigError
		if _, err := Pinger(t.Context(), p); !errors.As(err, &ce) || ce.Field != field {
			t.Errorf("Pinger: got %v, want a ConfigError of %s", err, field)
		}
		if err := Ponger(t.Context(), p); !errors.As(err, &ce) || ce.Field != field {
			t.Errorf("Ponger: got %v, want a ConfigError of %s", err, field)
		}
	}
}

// FuzzParseResults holds what a stranger's samples can do to rank 0: nothing but be refused, or fit.
func FuzzParseResults(f *testing.F) {
	f.Add([]byte(`[{"pair":0,"samples":[{"Ping":8,"Pong":8,"Probes":3,"Seconds":1e-6},{"Ping":262144,"Pong":8,"Probes":1,"Seconds":1e-4}]}]`))
	f.Add([]byte(`[{"pair":1,"samples":[{"Ping":0,"Pong":0,"Probes":1,"Seconds":1e-320}]}]`))
	f.Add([]byte(`[{"pair":0},{"pair":0}]`))
	f.Add([]byte(`null`))
	f.Fuzz(func(t *testing.T, text []byte) {
		rs, err := parseResults(text, 2)
		if err != nil {
			var proto *ProtocolError
			if !errors.As(err, &proto) {
				t.Fatalf("got %v, want a ProtocolError", err)
			}
			return
		}
		for _, r := range rs {
			for _, directed := range []bool{false, true} {
				c := fit(r.Samples, directed)
				if !(c.alpha >= 0) || !(c.there >= 0) || !(c.back >= 0) || c.probes < 1 {
					t.Errorf("samples %+v: got %+v", r.Samples, c)
				}
			}
		}
	})
}
