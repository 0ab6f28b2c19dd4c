package quic

import (
	"fmt"
	"log/slog"
	"net"
	"time"

	"github.com/ringtree/ringtree/transport/internal/stripe"
)

// DefaultSilentTimeout is how long a peer may be silent, if [SilentTimeout] does not say: as over TCP.
const DefaultSilentTimeout = 10 * time.Second

// DefaultPacketSize is the size of UDP payloads, if [PacketSize] does not say, in bytes.
const DefaultPacketSize = 1440

// An Option changes how [New] makes a transport.
type Option func(*config)

type config struct {
	stripe.Settings
	silent  time.Duration
	listen  string
	packet  int
	gro     bool
	poll    bool
	onePort bool
	repair  bool
	most    int // connections with time
	// wrap puts something between quic-go and the socket, which is then nobody else's.
	wrap func(net.PacketConn) net.PacketConn
	// tap sees what the sockets send, which are then nobody else's.
	tap func([]byte)
}

// Conns sets how many connections two ranks share, 1 to 32, once and for all. With more than one, the first
// carries small frames only. The default is 4, and up to 32 where they are too few: see [MostConns]. It must be equal in the whole group.
func Conns(n int) Option { return func(c *config) { c.Settings.Conns, c.most = n, n } }

// MostConns sets how many connections two ranks may come to share, up to 32, which is the default. There are 4 at first, or as many as a [Conns] before it
// says, of which one alone stays alone. While their congestion windows are all that limits what a rank sends, over a round trip of 2 ms or more on which nothing
// waits in a queue, it doubles them, and keeps those that make it quicker by a tenth: a window that a loss has halved grows by a packet in a
// round trip, which takes minutes on a long path, and the more windows there are, the less one loss costs. Losses that [LossRepair] repairs do
// not shrink a window, and do not count. It must be equal in the whole group.
func MostConns(n int) Option { return func(c *config) { c.most = n } }

// Window sets how many frames of a link may be on the way in each direction, 1 to 256; the default is 128. More
// are needed where bandwidth times delay is more than 12 MiB a link. It must be equal in the whole group.
func Window(frames int) Option { return func(c *config) { c.Settings.Window = frames } }

// DialTimeout sets how long a peer may take to answer before it counts as lost; the default is 20 seconds.
func DialTimeout(d time.Duration) Option { return func(c *config) { c.Settings.DialTimeout = d } }

// Logger sets where connections that are refused, and buffers smaller than they should be, are reported. The
// default is nowhere.
func Logger(l *slog.Logger) Option { return func(c *config) { c.Settings.Logger = l } }

// ListenOn sets the address at which ranks listen, as host:port. The default is ":0": all interfaces, and one
// port that the system chooses for the process.
func ListenOn(addr string) Option { return func(c *config) { c.listen = addr } }

// SilentTimeout sets after how long without a packet a peer counts as lost. The default is 10 seconds. Ranks that have nothing
// to tell each other say so four times a second, and a peer that is silent for half a second is asked for at its
// host: one whose process has ended counts as lost then, one that is stopped or starved does not. So this is for hosts that
// are gone or whose answer is blocked. It must be equal in the whole group.
func SilentTimeout(d time.Duration) Option { return func(c *config) { c.silent = d } }

// PacketSize sets the size of UDP payloads, 1200 to 1452 bytes; the default is 1440, which suits Ethernet. A path
// that does not carry it (through most tunnels, say) fails to connect: there, use less.
func PacketSize(bytes int) Option { return func(c *config) { c.packet = bytes } }

// Through puts what wrap returns between QUIC and the UDP socket, which then serves this endpoint alone: for tests and
// measurements of what a network does to packets.
func Through(wrap func(net.PacketConn) net.PacketConn) Option {
	return func(c *config) { c.wrap = wrap }
}

// OnePort makes a process also call from the port at which it listens, for firewalls that let nothing else through.
// By default every connection goes out by a port of its own, which is faster.
func OnePort() Option { return func(c *config) { c.onePort = true } }

// ReceiveOffload says whether the kernel may join packets for the receiver (UDP_GRO, Linux), which costs less processor
// time. The default is true. A kernel that cannot is reported to the [Logger] once.
func ReceiveOffload(on bool) Option { return func(c *config) { c.gro = on } }

// BusyPoll says whether a reader may poll its socket for up to 200 microseconds before it sleeps, while traffic flows
// and as long as that catches packets (Linux). It shortens round trips where waking a thread is slow. The default is
// true.
func BusyPoll(on bool) Option { return func(c *config) { c.poll = on } }

// LossRepair says whether losses on the way are repaired before QUIC sees them: behind every 32 packets come some of parity (Reed
// and Solomon), as many as the measured rate of random loss asks for. Without it a connection takes every loss for congestion, and
// one packet lost in a thousand leaves it a twentieth of a gigabit over 10 ms. It begins when a connection loses its first
// packet, or with it where a round trip takes 2 ms or more, ends where the path proves clean, leaves packets lost in a row, as by a full queue, to QUIC, and needs packets of up to
// 1440 bytes. The default is true, on Linux; both sides must want it. [Transport.Repair] counts what it does.
func LossRepair(on bool) Option { return func(c *config) { c.repair = on } }

func (c *config) check() error {
	if c.packet < 1200 || c.packet > 1452 {
		return fmt.Errorf("packets of %d bytes, want 1200 to 1452", c.packet)
	}
	if err := stripe.CheckSilent(c.silent); err != nil {
		return err
	}
	if err := c.Settings.Check(); err != nil {
		return err
	}
	if c.most < c.Settings.Conns || c.most > stripe.MaxConns {
		return fmt.Errorf("up to %d connections per peer, want %d to %d", c.most, c.Settings.Conns, stripe.MaxConns)
	}
	return nil
}
