package membership

import "fmt"

// Code is the kind of a refusal. Both sides of a refusal over a network have the same one.
type Code uint8

// The refusals. The zero value is a refusal that has only a reason in words.
const (
	WrongSecret   Code = iota + 1 // the secret of the invitation is another one
	WrongGroup                    // no group of that ID forms there
	WrongSize                     // the two sides expect different numbers of ranks
	WrongRank                     // the group has no such rank
	DuplicateRank                 // another member has that rank
	Stranger                      // the identity is not one of those that may join
	WrongVersion                  // the two sides speak different versions
	Complete                      // the group has formed without it
	GivenUp                       // the group has stopped forming
	Malformed                     // the other side does not keep to the protocol
)

func (c Code) String() string {
	names := [...]string{"refused", "wrong secret", "wrong group", "wrong size", "wrong rank", "duplicate rank", "stranger",
		"wrong version", "complete", "given up", "malformed"}
	if int(c) < len(names) {
		return names[c]
	}
	return fmt.Sprintf("code %d", uint8(c))
}
