package tcp

import (
	"crypto/tls"
	"net"
	"strings"

	"github.com/ringtree/ringtree/transport/internal/stripe"
)

// steadySuffix marks the protocol that those negotiate whose congestion control does not take losses by chance for congestion.
const steadySuffix = "+bbr"

// negotiate lets both sides of a connection learn whether the other one's congestion control is BBR, too.
func negotiate(c *net.TCPConn, cfg *tls.Config) *tls.Config {
	if strings.HasPrefix(congestionOf(c), "bbr") {
		cfg.NextProtos = []string{stripe.ALPN + steadySuffix, stripe.ALPN}
	}
	return cfg
}

// Path lets transport/network choose between TCP and another way.
func (c *conn) Path() stripe.Path {
	return stripe.Path{
		RTT:    roundTrip(c.TCPConn),
		Steady: c.protocol == stripe.ALPN+steadySuffix,
	}
}
