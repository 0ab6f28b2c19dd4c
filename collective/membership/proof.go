package membership

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
)

// nonceSize is the length of a challenge in bytes.
const nonceSize = 16

// side is who proves.
type side string

const (
	hostSide  side = "ringtree formation: who is asked"
	guestSide side = "ringtree formation: who asks"
)

// An encounter is what a proof is bound to: this group and version, these two identities, which the connection
// under it has proved, and a challenge of each. A proof is therefore of no use to a man in the middle, nor another
// time.
type encounter struct {
	group       [8]byte
	host, guest string // identities
	hostNonce   []byte
	guestNonce  []byte
}

// proof returns the proof that who knows the secret: HMAC-SHA256 (RFC 2104) over the encounter.
func (e *encounter) proof(secret [16]byte, who side) []byte {
	mac := hmac.New(sha256.New, secret[:])
	for _, part := range [][]byte{
		[]byte(who), binary.BigEndian.AppendUint64(nil, Version), e.group[:], []byte(e.host), []byte(e.guest), e.hostNonce, e.guestNonce,
	} {
		mac.Write(binary.BigEndian.AppendUint64(nil, uint64(len(part))))
		mac.Write(part)
	}
	return mac.Sum(nil)
}

// proves reports whether p is that proof, in constant time.
func (e *encounter) proves(secret [16]byte, who side, p []byte) bool {
	return hmac.Equal(p, e.proof(secret, who))
}
