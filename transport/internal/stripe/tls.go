package stripe

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"strings"

	"github.com/ringtree/ringtree/transport"
)

// ALPN is the protocol that connections negotiate. A carrier may add "+" and a name for what else it can do.
const ALPN = "ringtree/1"

// ClientTLS returns the configuration for dialling the identity want. Its handshake fails with a
// [*transport.IdentityError] when somebody else answers.
func ClientTLS(id transport.Identity, want string) *tls.Config {
	cfg := ServerTLS(id, want)
	got := func(certs []*x509.Certificate) string {
		name, err := id.PeerID(tls.ConnectionState{PeerCertificates: certs})
		if err != nil {
			return ""
		}
		return name
	}
	if verify := cfg.VerifyPeerCertificate; verify != nil {
		cfg.VerifyPeerCertificate = func(raw [][]byte, chains [][]*x509.Certificate) error {
			if err := verify(raw, chains); err != nil {
				var certs []*x509.Certificate
				for _, der := range raw {
					if cert, err := x509.ParseCertificate(der); err == nil {
						certs = append(certs, cert)
					}
				}
				return &transport.IdentityError{Want: want, Got: got(certs), Cause: err}
			}
			return nil
		}
	}
	if verify := cfg.VerifyConnection; verify != nil {
		cfg.VerifyConnection = func(state tls.ConnectionState) error {
			if err := verify(state); err != nil {
				return &transport.IdentityError{Want: want, Got: got(state.PeerCertificates), Cause: err}
			}
			return nil
		}
	}
	return cfg
}

// ServerTLS returns the configuration for accepting the identity want, "" any.
func ServerTLS(id transport.Identity, want string) *tls.Config {
	cfg := id.TLS(want)
	cfg.NextProtos = []string{ALPN}
	cfg.MinVersion = tls.VersionTLS13
	// A resumed session would save one signature a connection and cost a state that outlives it.
	cfg.SessionTicketsDisabled = true
	// Records grow slowly by default, for the sake of browsers.
	cfg.DynamicRecordSizingDisabled = true
	return cfg
}

// Proved returns the identity that the other side has proved in a finished handshake, which must be want unless
// that is "".
func Proved(id transport.Identity, state tls.ConnectionState, want string) (string, error) {
	if state.Version != tls.VersionTLS13 {
		return "", fmt.Errorf("%s, want TLS 1.3", tls.VersionName(state.Version))
	}
	if p := state.NegotiatedProtocol; p != ALPN && !strings.HasPrefix(p, ALPN+"+") {
		return "", fmt.Errorf("protocol %q, want %q", p, ALPN)
	}
	got, err := id.PeerID(state)
	if err == nil && got == "" {
		err = errors.New("no identity")
	}
	if err != nil || want != "" && got != want {
		return "", &transport.IdentityError{Want: want, Got: got, Cause: err}
	}
	return got, nil
}
