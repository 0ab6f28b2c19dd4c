package network

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/ringtree/ringtree/transport"
	"github.com/ringtree/ringtree/transport/internal/stripe"
)

// DefaultHeadStart is how long a transport may try alone, if [HeadStart] does not say. It is long enough for a handshake
// around the world and short beside what forming a group takes.
const DefaultHeadStart = 500 * time.Millisecond

// A Way is a transport that can be one of several: those of transport/quic and transport/tcp.
type Way interface {
	transport.Transport
	Identity() transport.Identity
	Settings() stripe.Settings
	Carrier(ctx context.Context, name string, nonce stripe.Nonce) (c stripe.Carrier, free func(), err error)
}

// Transport is the [transport.Transport] that chooses. It is safe for concurrent use.
type Transport struct {
	ways   []Way
	cfg    config
	caps   transport.Caps
	ranks  stripe.Ranks
	memory stripe.Memory
}

var _ transport.Transport = (*Transport)(nil)

// An Option changes how [New] makes a transport.
type Option func(*config)

type config struct {
	headStart time.Duration
	log       *slog.Logger
}

// HeadStart sets how long each way may try to reach a peer before the next is tried beside it, up to a minute; 0 is
// not at all. The default is 0.5 seconds.
func HeadStart(d time.Duration) Option { return func(c *config) { c.headStart = d } }

// Logger sets where ways that cannot listen are reported. The default is nowhere.
func Logger(l *slog.Logger) Option { return func(c *config) { c.log = l } }

// New returns a transport that uses any of ways, best first. They must show one identity, or none, and have the same
// numbers of connections and frames on the way; no two may have one name.
func New(ways []Way, options ...Option) (*Transport, error) {
	t := &Transport{ways: append([]Way(nil), ways...), cfg: config{headStart: DefaultHeadStart, log: slog.New(slog.DiscardHandler)}}
	for _, o := range options {
		o(&t.cfg)
	}
	if err := t.check(); err != nil {
		return nil, fmt.Errorf("network: %w", err)
	}
	t.caps = ways[0].Caps()
	for _, w := range ways[1:] {
		t.caps.Encrypted = t.caps.Encrypted && w.Caps().Encrypted
	}
	return t, nil
}

func (t *Transport) check() error {
	if len(t.ways) == 0 {
		return errors.New("no way")
	}
	if t.cfg.headStart < 0 || t.cfg.headStart > time.Minute || t.cfg.log == nil {
		return fmt.Errorf("head start of %v, logger %v: want 0 to 1 minute and a logger", t.cfg.headStart, t.cfg.log)
	}
	first := t.ways[0]
	names := make(map[string]bool)
	for _, w := range t.ways {
		a, b := first.Settings(), w.Settings()
		switch {
		case names[w.Name()]:
			return fmt.Errorf("%s stands twice", w.Name())
		case first.Identity().ID != w.Identity().ID:
			return fmt.Errorf("%s and %s show different identities", first.Name(), w.Name())
		case a.Conns != b.Conns || a.Window != b.Window:
			return fmt.Errorf("%s has %d connections and windows of %d, %s %d and %d: want the same",
				first.Name(), a.Conns, a.Window, w.Name(), b.Conns, b.Window)
		}
		names[w.Name()] = true
	}
	return nil
}

// Name returns "network".
func (t *Transport) Name() string { return "network" }

// Caps returns those of the ways; encrypted if all of them are.
func (t *Transport) Caps() transport.Caps { return t.caps }

// NewBell returns [transport.NewBell].
func (t *Transport) NewBell() (transport.Bell, error) { return transport.NewBell(), nil }

// Reaches reports whether both ranks listen on one way at least, and peer has an identity where one is needed.
func (t *Transport) Reaches(self, peer transport.Peer) bool {
	return (t.ways[0].Identity().ID == "" || peer.ID != "") && stripe.Share(self.Addr, peer.Addr)
}

// Listen makes the endpoint of rank in group, on every way that can listen. It fails with [transport.ErrExists] while an
// endpoint of that rank and group, made by t, is open; with the context's error when ctx is done; and with the system's
// errors when no way can listen. A rank must not be negative.
//
// The address of the endpoint is a name of its own, "@", and a list of way/host:port.
func (t *Transport) Listen(ctx context.Context, group string, rank int, bell transport.Bell) (transport.Endpoint, error) {
	ep, err := t.listen(ctx, group, rank, bell)
	if err != nil {
		return nil, fmt.Errorf("network: listen: %w", err)
	}
	return ep, nil
}

func (t *Transport) listen(ctx context.Context, group string, rank int, bell transport.Bell) (*stripe.Endpoint, error) {
	release, err := t.ranks.Take(ctx, group, rank, bell)
	if err != nil {
		return nil, err
	}
	cfg := stripe.Config{
		Settings: t.settings(), Name: t.Name(), Caps: t.caps, Group: group, Rank: rank, Bell: bell,
		Nonce: stripe.NewNonce(), ID: t.ways[0].Identity().ID, HeadStart: t.cfg.headStart, Memory: &t.memory,
	}
	frees := []func(){release}
	var errs []error
	for _, w := range t.ways {
		c, free, err := w.Carrier(ctx, w.Name(), cfg.Nonce)
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", w.Name(), err))
			t.cfg.log.Warn("a transport cannot listen, the others have to do", "transport", w.Name(), "rank", rank, "error", err)
			c = stripe.Carrier{Name: w.Name()} // keeps its place, so that links say what they miss
		} else {
			frees = append(frees, free)
		}
		cfg.Carriers = append(cfg.Carriers, c)
	}
	if len(errs) == len(t.ways) {
		release()
		return nil, errors.Join(errs...)
	}
	cfg.Release = func() {
		for i := len(frees) - 1; i >= 0; i-- {
			frees[i]()
		}
	}
	return stripe.New(cfg), nil
}

// settings are what the ways share; the longest patience and the first one's logger.
func (t *Transport) settings() stripe.Settings {
	s := t.ways[0].Settings()
	for _, w := range t.ways[1:] {
		s.DialTimeout = max(s.DialTimeout, w.Settings().DialTimeout)
	}
	return s
}
