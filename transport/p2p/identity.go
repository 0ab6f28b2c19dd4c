package p2p

import (
	"crypto/tls"
	"crypto/x509"
	"errors"

	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/peer"
	libp2ptls "github.com/libp2p/go-libp2p/p2p/security/tls"

	"github.com/ringtree/ringtree/transport"
)

// tlsIdentity makes the value that other transports authenticate with: a self-signed certificate whose extension
// binds it to the key, as the libp2p TLS specification has it (libp2p/specs, tls/tls.md).
func tlsIdentity(key crypto.PrivKey) (transport.Identity, error) {
	id, err := peer.IDFromPrivateKey(key)
	if err != nil {
		return transport.Identity{}, err
	}
	identity, err := libp2ptls.NewIdentity(key)
	if err != nil {
		return transport.Identity{}, err
	}
	return transport.Identity{
		ID: id.String(),
		TLS: func(want string) *tls.Config {
			conf, _ := identity.ConfigForPeer("")
			// The check of libp2p's own can be used for one connection only.
			conf.VerifyPeerCertificate = func(raw [][]byte, _ [][]*x509.Certificate) error {
				return checkPeer(raw, want)
			}
			return conf
		},
		PeerID: func(cs tls.ConnectionState) (string, error) { return certPeer(cs.PeerCertificates) },
	}, nil
}

// checkPeer holds the certificates of a handshake against the identity that is wanted; "" is any.
func checkPeer(raw [][]byte, want string) error {
	chain := make([]*x509.Certificate, len(raw))
	for i := range raw {
		cert, err := x509.ParseCertificate(raw[i])
		if err != nil {
			return &transport.IdentityError{Want: want, Cause: err}
		}
		chain[i] = cert
	}
	got, err := certPeer(chain)
	if err != nil {
		return &transport.IdentityError{Want: want, Cause: err}
	}
	if want != "" && got != want {
		return &transport.IdentityError{Want: want, Got: got}
	}
	return nil
}

// certPeer returns whose certificate it is, having checked the binding.
func certPeer(chain []*x509.Certificate) (string, error) {
	if len(chain) == 0 {
		return "", errors.New("p2p: no certificate")
	}
	key, err := libp2ptls.PubKeyFromCertChain(chain)
	if err != nil {
		return "", err
	}
	id, err := peer.IDFromPublicKey(key)
	if err != nil {
		return "", err
	}
	return id.String(), nil
}
