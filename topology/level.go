package topology

import "fmt"

// A Rank is the index of a participant, 0 to Size-1.
type Rank int32

// A Level is a tier of the machine: the nearest one that two ranks share. Lower levels are nearer.
type Level uint8

// The levels, nearest first.
const (
	Device Level = iota // the same device or process, or the same rank
	Host                // the same host
	Rack                // the same rack, or one switch by another name
	Site                // the same site
	World               // different sites
)

const levels = int(World) + 1

var levelNames = [levels]string{"device", "host", "rack", "site", "world"}

// String returns the level's word in the text form, such as "rack".
func (l Level) String() string {
	if int(l) < levels {
		return levelNames[l]
	}
	return fmt.Sprintf("Level(%d)", uint8(l))
}

// ParseLevel is the inverse of [Level.String]. It fails with a [*SpecError] when s is no level.
func ParseLevel(s string) (Level, error) {
	for l, name := range levelNames {
		if s == name {
			return Level(l), nil
		}
	}
	return 0, &SpecError{Rank: NoRank, Field: "level", Reason: fmt.Sprintf("%q is not a level", s)}
}

// A Link is the directed cost between two ranks, or of a whole tier.
type Link struct {
	Level Level
	Alpha float64 // seconds for an empty message
	Beta  float64 // seconds a byte
}

// Time returns the seconds that a message of the given number of bytes takes on an idle link. The result is
// the same on every architecture.
func (l Link) Time(bytes int64) float64 {
	// The conversion keeps the compiler from fusing the two operations where the machine could.
	return l.Alpha + float64(l.Beta*float64(bytes))
}

// A Path is the cost from one site to another, by name. The way back is another path.
type Path struct {
	From, To string
	Alpha    float64 // seconds
	Beta     float64 // seconds a byte
}
