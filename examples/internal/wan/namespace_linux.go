package wan

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"
)

// A namespace is a thread that lives in a network namespace of its own and does there what it is asked to. The namespace
// ends with it, once no process is left in it.
type namespace struct {
	ask  chan func()
	gone chan struct{}
	file *os.File // of the namespace itself
}

func newNamespace() (*namespace, error) {
	ns := &namespace{ask: make(chan func()), gone: make(chan struct{})}
	started := make(chan error)
	go ns.run(started)
	if err := <-started; err != nil {
		return nil, err
	}
	return ns, nil
}

func (ns *namespace) run(started chan<- error) {
	runtime.LockOSThread() // for good: the runtime ends a thread whose goroutine ends locked
	if unix.Gettid() == unix.Getpid() {
		// The runtime never ends the first thread, and the files in /proc of the process are that thread's.
		other := make(chan error)
		go ns.run(other) // on another thread, as this one is taken
		started <- <-other
		runtime.UnlockOSThread()
		return
	}
	defer close(ns.gone)
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		started <- &UnavailableError{fmt.Errorf("a network namespace: %w", err)}
		return
	}
	f, err := os.Open("/proc/thread-self/ns/net")
	if err != nil {
		started <- &UnavailableError{err}
		return
	}
	defer f.Close()
	ns.file = f
	started <- nil
	for f := range ns.ask {
		f()
	}
}

// do runs f on the thread.
func (ns *namespace) do(f func() error) error {
	done := make(chan error, 1)
	ns.ask <- func() { done <- f() }
	return <-done
}

func (ns *namespace) close() {
	close(ns.ask)
	<-ns.gone
}

// A device is a TAP device and the descriptor that reads what its host sends.
type device struct {
	fd  int
	mac [6]byte
}

// plug makes the device of a host and configures the host, on the host's thread.
func plug(addr netip.Addr, c Config) (device, error) {
	const name = "wan0"
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return device{}, &UnavailableError{fmt.Errorf("/dev/net/tun: %w", err)}
	}
	d := device{fd: fd}
	if err := d.configure(name, addr, c); err != nil {
		unix.Close(fd)
		return device{}, err
	}
	return d, nil
}

func (d *device) configure(name string, addr netip.Addr, c Config) error {
	ifr, err := unix.NewIfreq(name)
	if err != nil {
		return err
	}
	ifr.SetUint16(unix.IFF_TAP | unix.IFF_NO_PI | unix.IFF_VNET_HDR)
	if err := unix.IoctlIfreq(d.fd, unix.TUNSETIFF, ifr); err != nil {
		return &UnavailableError{fmt.Errorf("a TAP device: %w", err)}
	}
	if !c.NoOffload {
		// Kernels before 6.2 segment UDP by themselves.
		const least = unix.TUN_F_CSUM | unix.TUN_F_TSO4
		if unix.IoctlSetInt(d.fd, unix.TUNSETOFFLOAD, least|unix.TUN_F_USO4|unix.TUN_F_USO6) != nil {
			if err := unix.IoctlSetInt(d.fd, unix.TUNSETOFFLOAD, least); err != nil {
				return fmt.Errorf("wan: offloads of a TAP device: %w", err)
			}
		}
	}
	_ = os.WriteFile("/proc/sys/net/ipv6/conf/all/disable_ipv6", []byte("1"), 0) // there may be none
	if c.Congestion != "" {
		if err := os.WriteFile("/proc/sys/net/ipv4/tcp_congestion_control", []byte(c.Congestion), 0); err != nil {
			allowed, _ := os.ReadFile("/proc/sys/net/ipv4/tcp_allowed_congestion_control")
			return &ConfigError{"Congestion", fmt.Sprintf("%q: %v; this machine allows %s", c.Congestion, err, strings.TrimSpace(string(allowed)))}
		}
	}
	for _, setting := range [][2]string{{"tcp_wmem", "4096 65536 33554432"}, {"tcp_rmem", "4096 131072 33554432"}} {
		if err := os.WriteFile("/proc/sys/net/ipv4/"+setting[0], []byte(setting[1]), 0); err != nil {
			return fmt.Errorf("wan: %w", err)
		}
	}
	s, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("wan: %w", err)
	}
	defer unix.Close(s)
	if err := setUp(s, "lo"); err != nil {
		return err
	}
	ip := addr.As4()
	ask := func(request uint, set func(*unix.Ifreq) error) {
		if err != nil {
			return
		}
		var ifr *unix.Ifreq
		if ifr, err = unix.NewIfreq(name); err == nil {
			if err = set(ifr); err == nil {
				err = unix.IoctlIfreq(s, request, ifr)
			}
		}
	}
	ask(unix.SIOCSIFTXQLEN, func(r *unix.Ifreq) error { r.SetUint32(10_000); return nil })
	ask(unix.SIOCSIFMTU, func(r *unix.Ifreq) error { r.SetUint32(mtu); return nil })
	ask(unix.SIOCSIFADDR, func(r *unix.Ifreq) error { return r.SetInet4Addr(ip[:]) })
	ask(unix.SIOCSIFNETMASK, func(r *unix.Ifreq) error { return r.SetInet4Addr([]byte{255, 255, 255, 0}) })
	if err != nil {
		return fmt.Errorf("wan: device of %v: %w", addr, err)
	}
	if err := setUp(s, name); err != nil {
		return err
	}
	i, err := net.InterfaceByName(name)
	if err != nil {
		return fmt.Errorf("wan: device of %v: %w", addr, err)
	}
	d.mac = asMAC(i.HardwareAddr)
	return nil
}

func setUp(socket int, name string) error {
	ifr, err := unix.NewIfreq(name)
	if err != nil {
		return err
	}
	if err := unix.IoctlIfreq(socket, unix.SIOCGIFFLAGS, ifr); err != nil {
		return fmt.Errorf("wan: flags of %s: %w", name, err)
	}
	ifr.SetUint16(ifr.Uint16() | unix.IFF_UP)
	if err := unix.IoctlIfreq(socket, unix.SIOCSIFFLAGS, ifr); err != nil {
		return fmt.Errorf("wan: switching on %s: %w", name, err)
	}
	return nil
}
