package rdma

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/ringtree/ringtree/transport"
)

// Transport is the RDMA [transport.Transport]. It is safe for concurrent use.
type Transport struct {
	control transport.Transport
	cfg     config
	caps    transport.Caps

	mu     sync.Mutex
	fabric fabric // open while there are endpoints
	stop   func() // ends watching it
	doors  map[*Endpoint]bool
	failed error // why the device could not be opened the last time
}

var _ transport.Transport = (*Transport)(nil)

// Available returns nil if this machine has a device with an active port, else an error that Is
// [transport.ErrNotSupported] and says what is missing: one of the sentinel errors of this package or a
// [*DeviceError]. The options that matter are [Device], [Port] and [GIDIndex].
func Available(options ...Option) error {
	cfg := defaults()
	for _, o := range options {
		o(&cfg)
	}
	err := cfg.check()
	if err == nil {
		var f fabric
		if f, err = cfg.open(&cfg); err == nil {
			f.close()
			return nil
		}
	}
	return fmt.Errorf("rdma: %w: %w", transport.ErrNotSupported, err)
}

// Devices returns the names of the devices of this machine. It fails with [ErrNotBuilt], [ErrNoLibrary] or
// [ErrNoDevice].
func Devices() ([]string, error) {
	names, err := verbsDevices()
	if err != nil {
		return nil, fmt.Errorf("rdma: %w", err)
	}
	return names, nil
}

// New returns a transport whose links are set up, watched and, where the device cannot carry them, carried by control,
// which must reach beyond the host, authenticate its peers and hold at least four frames a link: transport/quic or
// transport/tcp. The same value of control may be in use by itself. New does not open the device: see [Available].
func New(control transport.Transport, options ...Option) (*Transport, error) {
	t := &Transport{control: control, cfg: defaults(), doors: make(map[*Endpoint]bool)}
	for _, o := range options {
		o(&t.cfg)
	}
	if err := t.cfg.check(); err != nil {
		return nil, fmt.Errorf("rdma: %w", err)
	}
	if control == nil {
		return nil, errors.New("rdma: no control transport")
	}
	if c := control.Caps(); c.Scope < transport.ScopeNetwork || c.Window < controlWindow {
		return nil, fmt.Errorf("rdma: control transport %s reaches scope %d with a window of %d frames, want %d and at least %d",
			control.Name(), c.Scope, c.Window, transport.ScopeNetwork, controlWindow)
	}
	t.caps = transport.Caps{Scope: transport.ScopeNetwork, Window: t.cfg.window, Device: true}
	return t, nil
}

// Name returns "rdma".
func (t *Transport) Name() string { return "rdma" }

// Caps returns the network scope, by copy, with a window of [Window] frames. What the device carries is not encrypted; who
// sends it is known, because the keys went over the control link.
func (t *Transport) Caps() transport.Caps { return t.caps }

// Reaches reports what the control transport does.
func (t *Transport) Reaches(self, peer transport.Peer) bool { return t.control.Reaches(self, peer) }

// NewBell returns a bell with which a device sends events only while its rank is about to sleep. With any other, it
// sends them whenever a look has found nothing.
func (t *Transport) NewBell() (transport.Bell, error) { return &bell{Bell: transport.NewBell()}, nil }

// Listen makes the endpoint of rank in group, as control does, with the errors of control. It does not fail when the
// device cannot be opened: then control carries all links, and the [Logger] is told why.
func (t *Transport) Listen(ctx context.Context, group string, rank int, b transport.Bell) (transport.Endpoint, error) {
	e, err := t.listen(ctx, group, rank, b)
	if err != nil {
		return nil, fmt.Errorf("rdma: listen: %w", err)
	}
	return e, nil
}

func (t *Transport) listen(ctx context.Context, group string, rank int, b transport.Bell) (*Endpoint, error) {
	if b == nil {
		return nil, errors.New("no bell")
	}
	e := newEndpoint(t, rank, b)
	// Another group, so that control may be in use by itself as well.
	control, err := t.control.Listen(ctx, group+"\x00rdma", rank, e.tee())
	if err != nil {
		return nil, err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.fabric == nil {
		if t.fabric, t.failed = t.cfg.open(&t.cfg); t.failed != nil {
			t.fabric = nil
			t.cfg.logger.Warn("no RDMA device: the control transport carries all links", "rank", rank, "control", t.control.Name(), "error", t.failed)
		} else {
			t.stop = t.fabric.watch(t.report)
		}
	}
	t.doors[e] = true
	e.start(control, t.fabric, t.failed)
	return e, nil
}

// report tells the endpoints what the device says of itself; nil that its port is active again.
func (t *Transport) report(err error) {
	if err != nil {
		t.cfg.logger.Warn("RDMA device failed", "error", err)
	}
	t.mu.Lock()
	doors := make([]*Endpoint, 0, len(t.doors))
	for e := range t.doors {
		doors = append(doors, e)
	}
	t.mu.Unlock()
	for _, e := range doors {
		e.deviceSays(err)
	}
}

// leave forgets an endpoint, and closes the device behind the last.
func (t *Transport) leave(e *Endpoint) {
	t.mu.Lock()
	delete(t.doors, e)
	var f fabric
	var stop func()
	if len(t.doors) == 0 {
		f, stop, t.fabric, t.stop = t.fabric, t.stop, nil, nil
	}
	t.mu.Unlock()
	if f != nil {
		stop() // it may be in report, which takes mu
		f.close()
	}
}
