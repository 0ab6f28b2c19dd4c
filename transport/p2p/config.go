package p2p

import (
	"log/slog"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p"
	"github.com/libp2p/go-libp2p/core/connmgr"
	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/gologshim"
	"github.com/libp2p/go-libp2p/p2p/host/autorelay"
	rcmgr "github.com/libp2p/go-libp2p/p2p/host/resource-manager"
	"github.com/libp2p/go-libp2p/p2p/net/swarm"
	libp2ptls "github.com/libp2p/go-libp2p/p2p/security/tls"
	libp2pquic "github.com/libp2p/go-libp2p/p2p/transport/quic"
	"github.com/libp2p/go-libp2p/p2p/transport/tcp"
	"github.com/libp2p/go-libp2p/x/rate"
	"github.com/multiformats/go-multiaddr"
)

// Config says what a [Host] is. New copies it. The zero value is a host with an identity of its own that ends with it,
// which listens on every interface and only dials directly.
type Config struct {
	// IdentityFile is where the private key is kept: PEM, PKCS #8, Ed25519, mode 0600. It is made if it is missing.
	// "": a fresh identity that ends with the host.
	IdentityFile string
	// Listen are the multiaddrs to listen on. nil: TCP and QUIC on every interface, on ports that the system
	// chooses. An empty slice: none; the host dials only, or is reached through a relay.
	Listen []string
	// Bootstrap are addresses of peers that the host connects to and remembers. With Relay they are also the relays.
	Bootstrap []string
	// MDNS announces the host on the local network and finds others there, so that [Host.Open] needs no more of
	// them than /p2p/ and their identity.
	MDNS bool
	// Relay lets the host be reached, and reach others, through the Bootstrap peers, at which it keeps a place. It is for
	// hosts that others cannot reach directly.
	Relay bool
	// RelayService forwards connections for others, by libp2p's usual limits: small amounts of data for minutes. It is
	// for a host that everybody can reach.
	RelayService bool
	// HolePunch replaces a relayed connection by a direct one where the address translators on the way allow it. It
	// implies Relay.
	HolePunch bool
	// Logger gets what an operator may want to know. nil: nothing. libp2p itself knows one log for the whole
	// process: the Logger of the first host.
	Logger *slog.Logger
}

func (c *Config) withDefaults() {
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.Listen == nil {
		c.Listen = []string{"/ip4/0.0.0.0/tcp/0", "/ip6/::/tcp/0", "/ip4/0.0.0.0/udp/0/quic-v1", "/ip6/::/udp/0/quic-v1"}
	}
	c.Relay = c.Relay || c.HolePunch
}

// quietOnce takes libp2p's log away from the standard error stream, where it would go by itself.
var quietOnce sync.Once

// options translates a config with its defaults filled in.
func (c *Config) options(key crypto.PrivKey, g *gate, bootstrap []peer.AddrInfo) ([]libp2p.Option, error) {
	quietOnce.Do(func() { gologshim.SetDefaultHandler(c.Logger.Handler()) })
	resources, err := rcmgr.NewResourceManager(rcmgr.NewFixedLimiter(limits()), rcmgr.WithMetricsDisabled(),
		// Many members may share an address: the processes of a host, the hosts behind a translator.
		rcmgr.WithLimitPerSubnet(
			[]rcmgr.ConnLimitPerSubnet{{PrefixLength: 32, ConnCount: maxPerAddress}},
			[]rcmgr.ConnLimitPerSubnet{{PrefixLength: 56, ConnCount: maxPerAddress}}),
		rcmgr.WithConnRateLimiters(&rate.Limiter{}))
	if err != nil {
		return nil, err
	}
	opts := []libp2p.Option{
		libp2p.Identity(key),
		libp2p.UserAgent("ringtree"),
		libp2p.Transport(tcp.NewTCPTransport),
		libp2p.Transport(libp2pquic.NewTransport),
		libp2p.Security(libp2ptls.ID, libp2ptls.New),
		libp2p.ConnectionGater(g),
		libp2p.ConnectionManager(connmgr.NullConnMgr{}), // the default one hangs up on members when there are many
		libp2p.ResourceManager(resources),
		libp2p.SwarmOpts(swarm.WithDialRanker(rank)),
		libp2p.DisableMetrics(),
		libp2p.Ping(false),
	}
	if len(c.Listen) > 0 {
		opts = append(opts, libp2p.ListenAddrStrings(c.Listen...))
	} else {
		opts = append(opts, libp2p.NoListenAddrs)
	}
	switch {
	case c.Relay:
		opts = append(opts, libp2p.EnableRelay())
		if len(bootstrap) > 0 {
			// libp2p looks for relays only when it believes that the host cannot be reached. Finding that out takes
			// it minutes and more peers than a group may have, and who switches relays on has decided.
			if !c.RelayService {
				opts = append(opts, libp2p.ForceReachabilityPrivate())
			}
			opts = append(opts, libp2p.EnableAutoRelayWithStaticRelays(bootstrap, autorelay.WithBootDelay(0),
				autorelay.WithMinCandidates(1), autorelay.WithBackoff(5*time.Second)))
		}
	default:
		opts = append(opts, libp2p.DisableRelay())
	}
	if c.HolePunch {
		opts = append(opts, libp2p.EnableHolePunching())
	}
	if c.RelayService {
		opts = append(opts, libp2p.EnableRelayService(), libp2p.ForceReachabilityPublic())
	}
	return opts, nil
}

// maxUnproved is how many connections may at one time be before the proof of their identity: beyond it new ones are
// turned away, so that strangers cannot take memory without end.
const maxUnproved = 4096

// maxPerAddress is how many connections may come from one IPv4 address or IPv6 site.
const maxPerAddress = 8192

// limits returns what libp2p may use: as much as the members need, little for each peer.
func limits() rcmgr.ConcreteLimitConfig {
	return rcmgr.PartialLimitConfig{
		Transient: rcmgr.ResourceLimits{
			Conns: maxUnproved, ConnsInbound: maxUnproved, ConnsOutbound: maxUnproved, FD: rcmgr.Unlimited,
			Streams: 2 * maxUnproved, StreamsInbound: 2 * maxUnproved, StreamsOutbound: 2 * maxUnproved,
			Memory: 256 << 20,
		},
		PeerDefault: rcmgr.ResourceLimits{
			Conns: 16, ConnsInbound: 16, ConnsOutbound: 16, FD: rcmgr.Unlimited,
			Streams: 1024, StreamsInbound: 1024, StreamsOutbound: 1024, Memory: 64 << 20,
		},
	}.Build(rcmgr.InfiniteLimits)
}

// rank prefers TCP to QUIC: the kernel says at once when the process at the other end of a TCP connection has died,
// and control streams need no more speed than it has.
func rank(addrs []multiaddr.Multiaddr) []network.AddrDelay {
	ranked := swarm.DefaultDialRanker(addrs)
	anyTCP := false
	for i := range ranked {
		if isTCP(ranked[i].Addr.String()) {
			ranked[i].Delay, anyTCP = 0, true
		}
	}
	for i := range ranked {
		if anyTCP && !isTCP(ranked[i].Addr.String()) {
			ranked[i].Delay += swarm.PublicTCPDelay
		}
	}
	return ranked
}
