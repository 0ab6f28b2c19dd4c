package wan

import (
	"fmt"
	"net/netip"
	"time"
)

// Config says what a network is like. The zero value of a field means what its comment says.
type Config struct {
	// Hosts is their number, 1 to 64.
	Hosts int
	// Rate is that of each host's line, each way, in bits a second. 0: 1e9.
	Rate float64
	// Delay is the time from the end of one line to the other's, one way.
	Delay time.Duration
	// Loss is the probability that a packet is lost, 0 to 1.
	Loss float64
	// Queue is what waits before a line at most, in bytes. 0: twice what is on its way in a round trip, and at least
	// 256,000.
	Queue int
	// Congestion is the congestion control of the hosts' TCP: bbr, reno, …. "": what this machine uses. Hosts may use
	// only what the machine allows to all (net.ipv4.tcp_allowed_congestion_control).
	Congestion string
	// NoOffload makes the hosts segment and checksum by themselves: a frame a packet, at several times the cost.
	NoOffload bool
	// Seed makes losses repeatable as far as the order of packets is. 0 is a seed like others.
	Seed uint64
	// Tap is shown every frame that a host sends, before anything is lost, without its copies; frame is valid during the
	// call, which must be short. nil: nobody looks.
	Tap func(from int, frame []byte)
}

// A ConfigError is a field of a [Config] that cannot be.
type ConfigError struct{ Field, Reason string }

func (e *ConfigError) Error() string { return "wan: " + e.Field + ": " + e.Reason }

// An UnavailableError is a machine or a user that cannot have such a network.
type UnavailableError struct{ Err error }

func (e *UnavailableError) Error() string { return "wan: not available here: " + e.Err.Error() }

// Unwrap returns the cause.
func (e *UnavailableError) Unwrap() error { return e.Err }

const (
	maxHosts   = 64
	leastQueue = 256_000
	mtu        = 1500
)

func (c Config) withDefaults() (Config, error) {
	if c.Rate == 0 {
		c.Rate = 1e9
	}
	bad := func(field, format string, args ...any) (Config, error) {
		return c, &ConfigError{field, fmt.Sprintf(format, args...)}
	}
	switch {
	case c.Hosts < 1 || c.Hosts > maxHosts:
		return bad("Hosts", "%d, want 1 to %d", c.Hosts, maxHosts)
	case !(c.Rate >= 1e3 && c.Rate <= 1e12):
		return bad("Rate", "%g bit/s, want 1e3 to 1e12", c.Rate)
	case c.Delay < 0 || c.Delay > time.Minute:
		return bad("Delay", "%v, want up to a minute", c.Delay)
	case !(c.Loss >= 0 && c.Loss <= 1):
		return bad("Loss", "%g, want 0 to 1", c.Loss)
	case c.Queue < 0 || c.Queue > 0 && c.Queue < 2*mtu:
		return bad("Queue", "%d bytes do not hold two packets", c.Queue)
	}
	if c.Queue == 0 {
		c.Queue = max(leastQueue, int(2*c.Rate/8*2*c.Delay.Seconds()))
	}
	return c, nil
}

// address returns the address of a host: 10.231.7.1 is host 0's.
func address(host int) netip.Addr { return netip.AddrFrom4([4]byte{10, 231, 7, byte(host + 1)}) }

// Stats counts what has happened to the packets of a host. Packets are IPv4's, as they would be on the wire.
type Stats struct {
	Frames    uint64 // that the host sent
	Packets   uint64 // in them
	Bytes     uint64 // that the host's line up carried, all headers and gaps included
	Delivered uint64 // packets that the host was given
	Lost      uint64 // of the packets sent: by chance
	Dropped   uint64 // because the host's own queue was full
	Refused   uint64 // packets to this host that found the queue before its line down full
	Blocked   uint64 // packets from or to this host that a block or a cut kept away; counted once, at the sender if it is blocked
	Strange   uint64 // frames that could not be read, or to nobody
	Overrun   uint64 // frames to this host that its kernel did not take
}

// Add returns the sum of both.
func (s Stats) Add(t Stats) Stats {
	s.Frames += t.Frames
	s.Packets += t.Packets
	s.Bytes += t.Bytes
	s.Delivered += t.Delivered
	s.Lost += t.Lost
	s.Dropped += t.Dropped
	s.Refused += t.Refused
	s.Blocked += t.Blocked
	s.Strange += t.Strange
	s.Overrun += t.Overrun
	return s
}

func (s Stats) String() string {
	return fmt.Sprintf("%d packets in %d frames, %d bytes on the wire, %d delivered, %d lost (%.3f %%), %d dropped, %d refused, %d blocked, %d strange, %d overrun",
		s.Packets, s.Frames, s.Bytes, s.Delivered, s.Lost, 100*float64(s.Lost)/float64(max(s.Packets, 1)), s.Dropped, s.Refused, s.Blocked, s.Strange, s.Overrun)
}
