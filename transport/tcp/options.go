package tcp

import (
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/ringtree/ringtree/transport/internal/stripe"
)

// DefaultSilentTimeout is how long a peer's host may be silent, if [SilentTimeout] does not say.
const DefaultSilentTimeout = 10 * time.Second

// DefaultCongestion is the congestion control, if [Congestion] does not say: it follows the rate at which a path
// delivers, so packets that are lost by chance cost it little (Cardwell and others, ACM Queue 2016).
const DefaultCongestion = "bbr"

// An Option changes how [New] makes a transport.
type Option func(*config)

type config struct {
	stripe.Settings
	plain      bool
	clear      bool
	standard   bool
	wrap       func(stripe.Conn) stripe.Conn // of tests; nil: nothing
	listen     string
	silent     time.Duration
	congestion string
}

// Conns sets how many connections two ranks share, 1 to 32; the default is 4. With more than one, the first
// carries small frames only. It must be equal in the whole group.
func Conns(n int) Option { return func(c *config) { c.Settings.Conns = n } }

// Window sets how many frames of a link may be on the way in each direction, 1 to 256; the default is 128. More
// are needed where bandwidth times delay is more than 12 MiB a link. It must be equal in the whole group.
func Window(frames int) Option { return func(c *config) { c.Settings.Window = frames } }

// DialTimeout sets how long a peer may take to answer before it counts as lost; the default is 20 seconds.
func DialTimeout(d time.Duration) Option { return func(c *config) { c.Settings.DialTimeout = d } }

// Logger sets where connections that are refused are reported. The default is nowhere.
func Logger(l *slog.Logger) Option { return func(c *config) { c.Settings.Logger = l } }

// ListenOn sets the address at which ranks listen, as host:port. The default is ":0": all interfaces, and a
// port that the system chooses for each rank.
func ListenOn(addr string) Option { return func(c *config) { c.listen = addr } }

// SilentTimeout sets after how long without any sign from its host a peer counts as lost. The default is 10
// seconds; Linux keeps to it also while data is on the way (TCP_USER_TIMEOUT).
func SilentTimeout(d time.Duration) Option { return func(c *config) { c.silent = d } }

// Congestion sets the congestion control of the connections to other hosts where the system offers a choice (Linux), as in
// "bbr". The default is [DefaultCongestion] where the system has it. Connections within a host then have "reno", which does not space packets
// out. "" leaves all of them to the system. Another name that the system does not have is reported to the [Logger] once, and changes nothing.
func Congestion(name string) Option { return func(c *config) { c.congestion = name } }

// Plain turns encryption and authentication off. What that gives up: everybody on the path can read and change
// what is sent, and whoever reaches the port and guesses the group's name and the address of an endpoint, which
// is 64 random bits, passes for any rank. It is for networks that nobody else can reach, and for measurements.
// It must be equal in the whole group, and takes the place of the identity, which must then be empty.
func Plain() Option { return func(c *config) { c.plain = true } }

// PlainData sends the data in clear: the payloads of more than 4 KiB, which have connections of their own. Identities are proved on every
// connection, by the handshake of TLS, and whatever else is said stays encrypted: small payloads and control, and what is sent before the connections for data are there. What that gives up:
// everybody on the path can read the data, and who can put packets into the connections can change it. It saves the encryption where
// the network belongs to its users, as RDMA does. It needs two connections at least, and must be equal in the whole group: a rank that
// does otherwise is refused ([transport.RefusedSettings]).
func PlainData() Option { return func(c *config) { c.clear = true } }

// StandardCipher encrypts by the AES-GCM of the standard library. Otherwise, where the processor has AES instructions of 256 bits (see
// transport/internal/aesgcm), AES-GCM is code of this module, which takes half the time and was audited by nobody else. In FIPS 140 mode, and with
// the build tag purego, the standard library's is taken anyway. Peers need not agree: the bytes on the wire are the same.
func StandardCipher() Option { return func(c *config) { c.standard = true } }

func (c *config) check(identity bool) error {
	switch {
	case c.plain && identity:
		return errors.New("an identity and Plain exclude each other")
	case c.plain && c.clear:
		return errors.New("Plain and PlainData exclude each other")
	case c.clear && c.Settings.Conns == 1:
		return errors.New("PlainData needs a connection for data beside that for control")
	case c.silent < 100*time.Millisecond:
		return fmt.Errorf("silent timeout of %v, want at least 100 ms", c.silent)
	}
	return c.Settings.Check()
}
