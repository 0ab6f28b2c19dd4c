package transporttest

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"math/big"
	"time"

	"github.com/ringtree/ringtree/transport"
)

// Identity makes a new identity from an Ed25519 key with a self-signed certificate. Its ID is the hash of the
// public key, as with libp2p's, so that any other such identity can be checked without an authority.
func Identity() (transport.Identity, error) {
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return transport.Identity{}, err
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: time.Unix(0, 0), NotAfter: time.Unix(1<<33, 0)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, public, private)
	if err != nil {
		return transport.Identity{}, err
	}
	cert := tls.Certificate{Certificate: [][]byte{der}, PrivateKey: private}
	return transport.Identity{
		ID: keyID(public),
		TLS: func(peer string) *tls.Config {
			return &tls.Config{
				MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{cert}, ClientAuth: tls.RequireAnyClientCert,
				InsecureSkipVerify: true, SessionTicketsDisabled: true,
				VerifyPeerCertificate: func(raw [][]byte, _ [][]*x509.Certificate) error {
					certs, err := x509.ParseCertificates(bytesOf(raw))
					if err != nil {
						return err
					}
					switch got, err := peerID(tls.ConnectionState{PeerCertificates: certs}); {
					case err != nil:
						return err
					case peer != "" && got != peer:
						return fmt.Errorf("certificate of %s, want %s", got, peer)
					}
					return nil
				},
			}
		},
		PeerID: peerID,
	}, nil
}

func bytesOf(raw [][]byte) []byte {
	var all []byte
	for _, b := range raw {
		all = append(all, b...)
	}
	return all
}

func peerID(state tls.ConnectionState) (string, error) {
	if len(state.PeerCertificates) != 1 {
		return "", fmt.Errorf("%d certificates, want one", len(state.PeerCertificates))
	}
	cert := state.PeerCertificates[0]
	key, ok := cert.PublicKey.(ed25519.PublicKey)
	if !ok {
		return "", errors.New("not an Ed25519 key")
	}
	if err := cert.CheckSignature(cert.SignatureAlgorithm, cert.RawTBSCertificate, cert.Signature); err != nil {
		return "", err
	}
	return keyID(key), nil
}

func keyID(key ed25519.PublicKey) string {
	sum := sha256.Sum256(key)
	return "test-" + hex.EncodeToString(sum[:12])
}
