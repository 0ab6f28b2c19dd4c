package membership

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base32"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
)

// An Invitation is what a process needs to join a group that is forming: which group, the proof that it may, and where
// somebody is who knows the rest. Whoever has it can join, so it is handed on like a password.
//
// [Invitation.Text] is its one-line form, made for chat windows and command lines. All other ways to print an
// Invitation leave the secret out.
type Invitation struct {
	Group  [8]byte  // ID of the group
	Secret [16]byte // that members prove to know, and never send
	Size   int      // number of ranks
	Addrs  []string // addresses of members, each ending in /p2p/ and the identity; the first that answers is used
}

const (
	invitationPrefix = "rt1:"
	maxInvitation    = 16 << 10 // characters
	maxAddrs         = 64
	maxAddr          = 512 // bytes of one address
	// MaxSize is the largest group that forms over a network.
	MaxSize = 1 << 20
)

// An InvitationError is a text that is no invitation, or an Invitation that cannot be. It never quotes the text.
type InvitationError struct{ Reason string }

func (e *InvitationError) Error() string { return "membership: invitation " + e.Reason }

// Unwrap returns [ErrForming].
func (e *InvitationError) Unwrap() error { return ErrForming }

// Invite makes the invitation to a new group of size ranks in which host is the first to be asked. The group
// forms when some rank of this host has called [Over] with it, and size-1 others anywhere.
func Invite(host Host, size int) (*Invitation, error) {
	inv := &Invitation{Size: size, Addrs: host.Addrs()}
	_, _ = rand.Read(inv.Group[:]) // never fails
	_, _ = rand.Read(inv.Secret[:])
	if len(inv.Addrs) > maxAddrs {
		inv.Addrs = inv.Addrs[:maxAddrs]
	}
	if err := inv.check(); err != nil {
		return nil, err
	}
	d, err := doormanOf(host)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrForming, err)
	}
	d.expect(inv.Group)
	return inv, nil
}

// Through returns the same invitation with host as the first to be asked: how a member invites by its own address. The
// host must be, or become, a member of the group; it sends those who come to the right place.
func (inv *Invitation) Through(host Host) *Invitation {
	through := *inv
	through.Addrs = slices.Clone(host.Addrs())
	for _, a := range inv.Addrs {
		if !slices.Contains(through.Addrs, a) {
			through.Addrs = append(through.Addrs, a)
		}
	}
	if over := len(through.Addrs) - maxAddrs; over > 0 { // the last ones say who coordinates
		through.Addrs = slices.Delete(through.Addrs, maxAddrs/2, maxAddrs/2+over)
	}
	return &through
}

// Name returns the group's ID in hexadecimal: how errors and logs call it.
func (inv *Invitation) Name() string { return hex.EncodeToString(inv.Group[:]) }

// String describes the invitation without its secret. See [Invitation.Text].
func (inv *Invitation) String() string {
	return fmt.Sprintf("%s%s… (%d ranks, %d addresses, secret hidden)", invitationPrefix, inv.Name(), inv.Size, len(inv.Addrs))
}

// GoString is String: %#v hides the secret, too.
func (inv *Invitation) GoString() string { return inv.String() }

// Format writes String for every verb.
func (inv *Invitation) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(inv.String())) }

// check reports what cannot be.
func (inv *Invitation) check() error {
	switch {
	case inv.Size < 1 || inv.Size > MaxSize:
		return &InvitationError{fmt.Sprintf("for %d ranks: a group has 1 to %d", inv.Size, MaxSize)}
	case len(inv.Addrs) > maxAddrs:
		return &InvitationError{fmt.Sprintf("with %d addresses: at most %d are possible", len(inv.Addrs), maxAddrs)}
	}
	if len(inv.Addrs) == 0 {
		return &InvitationError{"without an address"}
	}
	for _, a := range inv.Addrs {
		if place, id := splitAddr(a); id == "" || len(a) > maxAddr || strings.ContainsAny(place+id, ", \n") {
			return &InvitationError{"with an address that does not end in /p2p/ and an identity"}
		}
	}
	return nil
}

// splitAddr cuts an address into place and identity.
func splitAddr(addr string) (place, id string) {
	i := strings.LastIndex(addr, "/p2p/")
	if i < 0 || strings.Contains(addr[i+5:], "/") {
		return addr, ""
	}
	return addr[:i], addr[i+5:]
}

var invitationEncoding = base32.NewEncoding("abcdefghijklmnopqrstuvwxyz234567").WithPadding(base32.NoPadding)

// Text returns the invitation as one line of letters and digits, the secret included, that [ParseInvitation] reads.
//
// The form is rt1: and, in base 32, group (8 bytes), secret (16), size (uvarint), then for each run of addresses of one
// identity: that identity, the number of its addresses, each address without the identity; texts with a uvarint length
// before them; and at the end the first 4 bytes of the SHA-256 sum of all that.
func (inv *Invitation) Text() (string, error) {
	if err := inv.check(); err != nil {
		return "", err
	}
	b := append(append([]byte(nil), inv.Group[:]...), inv.Secret[:]...)
	b = binary.AppendUvarint(b, uint64(inv.Size))
	for i := 0; i < len(inv.Addrs); {
		_, id := splitAddr(inv.Addrs[i])
		var places []string
		for ; i < len(inv.Addrs); i++ {
			place, next := splitAddr(inv.Addrs[i])
			if next != id {
				break
			}
			places = append(places, place)
		}
		b = appendText(b, id)
		b = binary.AppendUvarint(b, uint64(len(places)))
		for _, p := range places {
			b = appendText(b, p)
		}
	}
	sum := sha256.Sum256(b)
	text := invitationPrefix + invitationEncoding.EncodeToString(append(b, sum[:4]...))
	if len(text) > maxInvitation {
		return "", &InvitationError{fmt.Sprintf("of %d characters: at most %d are possible", len(text), maxInvitation)}
	}
	return text, nil
}

func appendText(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

// ParseInvitation reads what [Invitation.Text] returned. It does not mind what happens to a line on its way through a
// chat window: upper case, surrounding quotes or brackets, and breaks and blanks within. Errors are
// [*InvitationError].
func ParseInvitation(text string) (*Invitation, error) {
	if len(text) > 2*maxInvitation {
		return nil, &InvitationError{"is too long"}
	}
	text = strings.Map(func(r rune) rune {
		if strings.ContainsRune(" \t\r\n\u00a0\u200b`'\"<>*“”", r) {
			return -1
		}
		return r
	}, text)
	text = strings.ToLower(text)
	if !strings.HasPrefix(text, invitationPrefix) {
		return nil, &InvitationError{"does not begin with " + invitationPrefix}
	}
	b, err := invitationEncoding.DecodeString(text[len(invitationPrefix):])
	if err != nil {
		return nil, &InvitationError{"holds characters that do not belong there"}
	}
	const least = 8 + 16 + 4
	if len(b) < least {
		return nil, &InvitationError{"is cut off"}
	}
	b, sum := b[:len(b)-4], b[len(b)-4:]
	if want := sha256.Sum256(b); !bytes.Equal(sum, want[:4]) {
		return nil, &InvitationError{"is cut off or mistyped: its checksum is wrong"}
	}
	inv := &Invitation{}
	b = b[copy(inv.Group[:], b):]
	b = b[copy(inv.Secret[:], b):]
	d := decoder{b: b}
	inv.Size = d.number(MaxSize)
	for len(d.b) > 0 && !d.bad {
		id := d.text(maxAddr)
		for range d.number(maxAddrs) {
			inv.Addrs = append(inv.Addrs, d.text(maxAddr)+"/p2p/"+id)
		}
		d.bad = d.bad || len(inv.Addrs) > maxAddrs
	}
	if d.bad {
		return nil, &InvitationError{"holds something else than an invitation"}
	}
	if err := inv.check(); err != nil {
		return nil, err
	}
	return inv, nil
}

// decoder takes numbers and texts off bytes. After a mistake it is bad and returns zeros.
type decoder struct {
	b   []byte
	bad bool
}

func (d *decoder) number(limit uint64) int {
	v, n := binary.Uvarint(d.b)
	if d.bad || n <= 0 || v > limit {
		d.bad = true
		return 0
	}
	d.b = d.b[n:]
	return int(v)
}

func (d *decoder) text(limit uint64) string {
	n := d.number(limit)
	if d.bad || n > len(d.b) {
		d.bad = true
		return ""
	}
	s := string(d.b[:n])
	d.b = d.b[n:]
	return s
}
