package probe

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"math"

	"github.com/ringtree/ringtree/topology"
)

// A Report is what a measurement found. Its JSON form is what [ParseReport] reads.
type Report struct {
	Tiers []TierCost // nearest level first, each once
	Paths []PathCost // between sites, both ways of each that was measured
}

// A TierCost is the cost of one level.
type TierCost struct {
	Level    topology.Level
	Link     topology.Link // of that level
	Pairs    int           // of ranks that were measured
	Probes   int           // round trips
	Residual float64       // root mean square of the relative errors of the fit, over all pairs: 0.1 is 10 %
}

// A PathCost is the cost from one site to another.
type PathCost struct {
	Path     topology.Path
	Probes   int
	Residual float64
}

// costText is the JSON of both kinds.
type costText struct {
	Level    string  `json:"level,omitempty"`
	From     string  `json:"from,omitempty"`
	To       string  `json:"to,omitempty"`
	Alpha    float64 `json:"alpha"` // s
	Beta     float64 `json:"beta"`  // s/byte
	Pairs    int     `json:"pairs,omitempty"`
	Probes   int     `json:"probes"`
	Residual float64 `json:"residual"`
}

type reportText struct {
	Tiers []costText `json:"tiers"`
	Paths []costText `json:"paths,omitempty"`
}

// MarshalJSON returns the text that [ParseReport] reads back to an equal report.
func (r *Report) MarshalJSON() ([]byte, error) {
	t := reportText{Tiers: []costText{}}
	for _, c := range r.Tiers {
		t.Tiers = append(t.Tiers, costText{
			Level: c.Level.String(), Alpha: c.Link.Alpha, Beta: c.Link.Beta, Pairs: c.Pairs, Probes: c.Probes, Residual: c.Residual,
		})
	}
	for _, c := range r.Paths {
		t.Paths = append(t.Paths, costText{
			From: c.Path.From, To: c.Path.To, Alpha: c.Path.Alpha, Beta: c.Path.Beta, Probes: c.Probes, Residual: c.Residual,
		})
	}
	return json.Marshal(t)
}

// UnmarshalJSON is [ParseReport].
func (r *Report) UnmarshalJSON(b []byte) error {
	p, err := ParseReport(b)
	if err != nil {
		return err
	}
	*r = *p
	return nil
}

// ParseReport reads a report, from a stranger if need be. It fails with a [*ReportError] when the text is not one, or
// a level or path stands twice, or a number is one that no measurement gives.
func ParseReport(b []byte) (*Report, error) {
	var t reportText
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(&t); err != nil {
		return nil, &ReportError{Reason: err.Error(), Err: err}
	}
	if _, err := d.Token(); err != io.EOF {
		return nil, &ReportError{Reason: "text after its end"}
	}
	r := new(Report)
	for _, c := range t.Tiers {
		level, err := topology.ParseLevel(c.Level)
		if err != nil || c.From != "" || c.To != "" {
			return nil, &ReportError{Reason: fmt.Sprintf("a tier of level %q", c.Level), Err: err}
		}
		r.Tiers = append(r.Tiers, TierCost{level, topology.Link{Level: level, Alpha: c.Alpha, Beta: c.Beta}, c.Pairs, c.Probes, c.Residual})
	}
	for _, c := range t.Paths {
		if c.Level != "" || c.Pairs != 0 {
			return nil, &ReportError{Reason: fmt.Sprintf("the path %q %q has a level or pairs", c.From, c.To)}
		}
		r.Paths = append(r.Paths, PathCost{topology.Path{From: c.From, To: c.To, Alpha: c.Alpha, Beta: c.Beta}, c.Probes, c.Residual})
	}
	if err := r.check(); err != nil {
		return nil, err
	}
	return r, nil
}

// check holds a report to what its fields say.
func (r *Report) check() error {
	bad := func(format string, args ...any) error {
		return &ReportError{Reason: fmt.Sprintf(format, args...)}
	}
	sane := func(values ...float64) bool {
		for _, v := range values {
			if !(v >= 0) || v > maxSeconds || math.Signbit(v) {
				return false
			}
		}
		return true
	}
	last := -1
	for _, c := range r.Tiers {
		switch {
		case int(c.Level) <= last || c.Level > topology.World || c.Link.Level != c.Level:
			return bad("tier %v stands twice, or in the wrong place", c.Level)
		case !sane(c.Link.Alpha, c.Link.Beta, c.Residual) || c.Pairs < 0 || c.Probes < 0:
			return bad("tier %v: alpha %g, beta %g, residual %g of %d probes of %d pairs", c.Level, c.Link.Alpha, c.Link.Beta, c.Residual, c.Probes, c.Pairs)
		}
		last = int(c.Level)
	}
	seen := make(map[[2]string]bool)
	for _, c := range r.Paths {
		ends := [2]string{c.Path.From, c.Path.To}
		switch {
		case seen[ends] || c.Path.From == "" || c.Path.To == "" || c.Path.From == c.Path.To:
			return bad("the path %q %q stands twice, or leads nowhere", c.Path.From, c.Path.To)
		case !sane(c.Path.Alpha, c.Path.Beta, c.Residual) || c.Probes < 0:
			return bad("the path %q %q: alpha %g, beta %g, residual %g of %d probes", c.Path.From, c.Path.To, c.Path.Alpha, c.Path.Beta, c.Residual, c.Probes)
		}
		seen[ends] = true
	}
	return nil
}

// Apply returns g with the costs of the report: the same ranks in the same places, the tiers and paths that were
// measured, and g's own for the rest. Paths between sites that g has not are left out. It fails with a [*ReportError]
// when the report is not one that [ParseReport] would read.
func (r *Report) Apply(g *topology.Graph) (*topology.Graph, error) {
	if err := r.check(); err != nil {
		return nil, err
	}
	spec := topology.Spec{Cores: g.Cores(), Reduce: g.Reduce()}
	for rank := range topology.Rank(g.Size()) {
		spec.Places = append(spec.Places, g.Place(rank))
	}
	measured := make(map[topology.Level]bool)
	for _, c := range r.Tiers {
		measured[c.Level] = true
		spec.Tiers = append(spec.Tiers, c.Link)
	}
	for l := topology.Device; l <= topology.World; l++ {
		if !measured[l] {
			spec.Tiers = append(spec.Tiers, g.Tier(l))
		}
	}
	sites := make(map[string]bool)
	for s := range g.Sites() {
		sites[g.SiteName(s)] = true
	}
	paths := make(map[[2]string]bool)
	for _, c := range r.Paths {
		if sites[c.Path.From] && sites[c.Path.To] {
			paths[[2]string{c.Path.From, c.Path.To}] = true
			spec.Paths = append(spec.Paths, c.Path)
		}
	}
	for p := range g.Paths() {
		if !paths[[2]string{p.From, p.To}] {
			spec.Paths = append(spec.Paths, p)
		}
	}
	return topology.New(spec)
}
