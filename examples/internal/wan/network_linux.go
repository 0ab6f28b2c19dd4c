package wan

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"sync"
	"syscall"
)

// A Network is the hosts and the switch between them.
type Network struct {
	hosts   []*Host
	devices []device
	fabric  *fabric
	pump    *pump
	close   sync.Once
	err     error
}

// A Host is a network namespace with an address, a line and loopback.
type Host struct {
	index   int
	addr    netip.Addr
	ns      *namespace
	port    *port
	mu      sync.Mutex // of closed: nothing is asked of a thread that is gone
	isEnded bool
}

// New makes a network. Errors: [*ConfigError], [*UnavailableError].
func New(c Config) (*Network, error) {
	c, err := c.withDefaults()
	if err != nil {
		return nil, err
	}
	n := &Network{fabric: newFabric(c)}
	for i := range c.Hosts {
		ns, err := newNamespace()
		if err != nil {
			return nil, errors.Join(err, n.Close())
		}
		h := &Host{index: i, addr: address(i), ns: ns, port: &n.fabric.ports[i]}
		n.hosts = append(n.hosts, h)
		var d device
		if err := ns.do(func() (err error) { d, err = plug(h.addr, c); return err }); err != nil {
			return nil, errors.Join(err, n.Close())
		}
		n.devices = append(n.devices, d)
		n.fabric.byMAC[d.mac] = i
	}
	if n.pump, err = newPump(n.fabric, n.devices, c.Tap); err != nil {
		return nil, errors.Join(err, n.Close())
	}
	return n, nil
}

// Hosts returns how many there are.
func (n *Network) Hosts() int { return len(n.hosts) }

// Host returns host i.
func (n *Network) Host(i int) *Host { return n.hosts[i] }

// Stats returns the sum over all hosts.
func (n *Network) Stats() Stats {
	var s Stats
	for _, h := range n.hosts {
		s = s.Add(h.Stats())
	}
	return s
}

// Close removes the network and kills the processes that were started in it. It may be called more than once.
func (n *Network) Close() error {
	n.close.Do(func() {
		for _, h := range n.hosts {
			h.end()
		}
		if n.pump != nil {
			n.err = n.pump.close()
		}
		for _, d := range n.devices {
			n.err = errors.Join(n.err, syscall.Close(d.fd))
		}
	})
	return n.err
}

// ErrClosed is the error of calls to a host of a network that is closed.
var ErrClosed = fmt.Errorf("wan: the network is closed: %w", net.ErrClosed)

// Addr returns the host's address.
func (h *Host) Addr() netip.Addr { return h.addr }

// Namespace returns a path of the host's network namespace, for nsenter --net=PATH. It is good while the network lives.
func (h *Host) Namespace() string { return fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), h.ns.file.Fd()) }

// Do runs f on a thread of the host: sockets that f opens, by net.Dial and net.Listen too, and processes that it starts are
// the host's. Other goroutines that f starts are not. One f runs at a time.
func (h *Host) Do(f func() error) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.isEnded {
		return ErrClosed
	}
	return h.ns.do(f)
}

// Start starts a command on the host. The kernel kills it when the network is closed.
func (h *Host) Start(cmd *exec.Cmd) error {
	return h.Do(func() error {
		attr := syscall.SysProcAttr{}
		if cmd.SysProcAttr != nil {
			attr = *cmd.SysProcAttr
		}
		attr.Pdeathsig = syscall.SIGKILL
		cmd.SysProcAttr = &attr
		return cmd.Start()
	})
}

// BlockUDP drops UDP from and to the host without a word, as many firewalls do, or lets it through again.
func (h *Host) BlockUDP(block bool) { h.port.noUDP.Store(block) }

// Cut drops everything from and to the host, or mends its line.
func (h *Host) Cut(cut bool) { h.port.cut.Store(cut) }

// Stats returns what has happened to the host's packets.
func (h *Host) Stats() Stats { return h.port.stats.read() }

func (h *Host) end() {
	h.mu.Lock()
	defer h.mu.Unlock()
	if !h.isEnded {
		h.isEnded = true
		h.ns.close()
	}
}
