package membership

import (
	"bytes"
	"compress/flate"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"sync"
)

// kind says what a message is.
type kind uint8

const (
	kindHello     kind = iota + 1 // guest to host: version, group, challenge
	kindChallenge                 // host to guest: challenge, proof
	kindJoin                      // guest to coordinator: proof, size, member
	kindAnnounce                  // coordinator to member: the round's table is so, get it there; your rank
	kindPull                      // child to parent: give me the round's table
	kindTable                     // parent to child
	kindHave                      // member to coordinator: I have the round's table
	kindCommit                    // coordinator or parent to member: all have it
	kindConfirm                   // the answer to it
	kindRedirect                  // any member to a guest: ask there
	kindRefuse                    // either to either; the last word
)

// A contact is where a member can be asked: host and, as several members may share one, which of its doors.
type contact struct {
	ID    string   `json:"id"`
	Addrs []string `json:"addrs,omitempty"`
	Door  uint64   `json:"door,omitempty"` // 0: the group's coordinator, or whoever knows it
}

// A message is all that members say to each other; each kind uses the fields that it needs. Version, Group and Code keep
// their names in all versions, so that versions can refuse each other in words.
type message struct {
	Kind    kind     `json:"kind"`
	Version int      `json:"version,omitempty"`
	Group   []byte   `json:"group,omitempty"`
	Door    uint64   `json:"door,omitempty"` // hello, pull: that is meant; join: the guest's own
	Nonce   []byte   `json:"nonce,omitempty"`
	Proof   []byte   `json:"proof,omitempty"`
	Size    int      `json:"size,omitempty"`
	Rank    int      `json:"rank,omitempty"` // announce
	Member  *Member  `json:"member,omitempty"`
	Round   int      `json:"round,omitempty"`
	Digest  []byte   `json:"digest,omitempty"`
	Ask     *contact `json:"ask,omitempty"` // announce, redirect
	Code    Code     `json:"code,omitempty"`
	Reason  string   `json:"reason,omitempty"`
	Missing []int    `json:"missing,omitempty"`

	table *table // travels behind the rest
}

const (
	maxControl = 64 << 10 // bytes of a message without its table
	maxMember  = 8 << 10  // bytes of a member's description
	maxDense   = 64 << 20 // bytes of a packed table
	maxShown   = 64       // missing ranks that a refusal lists
)

// perMember bounds an unpacked table: bytes a member.
const perMember = maxMember + 256

// A table is the group as it is handed on: packed, and known by its digest.
type table struct {
	group  *Group
	dense  []byte // JSON of the group under DEFLATE (RFC 1951)
	digest [sha256.Size]byte

	once sync.Once
	ids  map[string]bool
}

// sealTable packs a group.
func sealTable(g *Group) (*table, error) {
	var b bytes.Buffer
	z, err := flate.NewWriter(&b, flate.BestSpeed)
	if err != nil {
		return nil, err
	}
	if err := errors.Join(json.NewEncoder(z).Encode(g), z.Close()); err != nil {
		return nil, err
	}
	return &table{group: g, dense: b.Bytes(), digest: sha256.Sum256(b.Bytes())}, nil
}

// openTable unpacks the table of a group of size ranks and checks that it is one.
func openTable(dense []byte, size int) (*table, error) {
	t := &table{dense: dense, digest: sha256.Sum256(dense), group: new(Group)}
	limit := int64(size)*perMember + maxControl
	r := io.LimitReader(flate.NewReader(bytes.NewReader(dense)), limit)
	if err := json.NewDecoder(r).Decode(t.group); err != nil {
		return nil, fmt.Errorf("membership: table: %w", err)
	}
	if len(t.group.Members) != size {
		return nil, fmt.Errorf("membership: table of %d members, want %d", len(t.group.Members), size)
	}
	for i := range t.group.Members {
		if r := t.group.Members[i].Rank; r != i {
			return nil, fmt.Errorf("membership: table has rank %d in place %d", r, i)
		}
	}
	return t, nil
}

// lists reports whether an identity is a member's.
func (t *table) lists(id string) bool {
	t.once.Do(func() {
		t.ids = make(map[string]bool, len(t.group.Members))
		for i := range t.group.Members {
			t.ids[t.group.Members[i].ID] = true
		}
	})
	return t.ids[id]
}

// encode returns the message as it travels: the length of its JSON text and that of the packed table (uint32
// each, big endian), the text, the table.
func (m *message) encode() ([]byte, error) {
	text, err := json.Marshal(m)
	if err != nil {
		return nil, err
	}
	var dense []byte
	if m.table != nil {
		dense = m.table.dense
	}
	if len(text) > maxControl || len(dense) > maxDense {
		return nil, fmt.Errorf("membership: message of %d and %d bytes", len(text), len(dense))
	}
	b := make([]byte, 0, 8+len(text)+len(dense))
	b = binary.BigEndian.AppendUint32(b, uint32(len(text)))
	b = binary.BigEndian.AppendUint32(b, uint32(len(dense)))
	return append(append(b, text...), dense...), nil
}

// decodeMessage reads one message. A table is read only if tableSize returns the number of its members and not 0; it is asked
// when the message begins to arrive, for that may be long after the call, and nil stands for 0. Memory grows with what arrives,
// not with what is announced.
func decodeMessage(r io.Reader, tableSize func() int) (*message, error) {
	var head [8]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return nil, err
	}
	text, dense := binary.BigEndian.Uint32(head[:]), binary.BigEndian.Uint32(head[4:])
	members := 0
	if dense > 0 && tableSize != nil {
		members = tableSize()
	}
	if text > maxControl || dense > maxDense || dense > 0 && members == 0 {
		return nil, fmt.Errorf("membership: message of %d and %d bytes", text, dense)
	}
	b, err := readExactly(r, int(text))
	if err != nil {
		return nil, err
	}
	m := new(message)
	if err := json.Unmarshal(b, m); err != nil {
		return nil, fmt.Errorf("membership: message: %w", err)
	}
	if (m.Kind == kindTable) != (dense > 0) {
		return nil, fmt.Errorf("membership: message of kind %d with a table of %d bytes", m.Kind, dense)
	}
	if dense > 0 {
		if b, err = readExactly(r, int(dense)); err != nil {
			return nil, err
		}
		if m.table, err = openTable(b, members); err != nil {
			return nil, err
		}
	}
	return m, nil
}

func readExactly(r io.Reader, n int) ([]byte, error) {
	var b bytes.Buffer
	_, err := io.CopyN(&b, r, int64(n))
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return b.Bytes(), err
}
