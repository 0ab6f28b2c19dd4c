package topology

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
)

// A kind is the range of a parameter.
type kind uint8

const (
	count  kind = iota // integer, at least 1
	amount             // integer, 0 or a number of cores
	cost               // finite, not negative
	factor             // between 1e-6 and 1e6
)

// check returns the value of a text, or why it has none.
func (k kind) check(s string) (value float64, reason string) {
	switch k {
	case count, amount:
		lowest, highest := 0, maxCores
		if k == count {
			lowest, highest = 1, MaxRanks
		}
		n, ok := parseInt(s)
		if !ok || n < lowest || n > highest {
			return 0, fmt.Sprintf("%q is not an integer between %d and %d", s, lowest, highest)
		}
		return float64(n), ""
	case cost:
		v, err := strconv.ParseFloat(s, 64)
		if err != nil {
			return 0, fmt.Sprintf("%q is not a number", s)
		}
		if why := badCost(v); why != "" {
			return 0, fmt.Sprintf("cost %s is %s", s, why)
		}
		return v, ""
	default:
		v, err := strconv.ParseFloat(s, 64)
		if err != nil || math.IsNaN(v) || v < 1e-6 || v > 1e6 {
			return 0, fmt.Sprintf("%q is not a number between 1e-6 and 1e6", s)
		}
		return v, ""
	}
}

// A param is a parameter of a preset.
type param struct {
	name  string
	kind  kind
	value string // default; "" when it depends on the number of ranks
	about string
}

// values holds the parameters of one call, checked.
type values struct {
	preset string
	of     map[string]float64
}

func newValues(preset string, params []param, given map[string]string) (values, error) {
	v := values{preset, make(map[string]float64, len(params))}
	for _, name := range slices.Sorted(maps.Keys(given)) {
		if !slices.ContainsFunc(params, func(p param) bool { return p.name == name }) {
			return v, &PresetError{Preset: preset, Param: name, Reason: "the preset has no such parameter"}
		}
	}
	for _, p := range params {
		s, ok := given[p.name]
		if !ok {
			s = p.value
			if s == "" {
				continue
			}
		}
		value, reason := p.kind.check(s)
		if reason != "" {
			return v, &PresetError{Preset: preset, Param: p.name, Reason: reason}
		}
		v.of[p.name] = value
	}
	return v, nil
}

func (v values) float(name string) float64 { return v.of[name] }

func (v values) int(name string) int { return int(v.of[name]) }

// parts returns a parameter that says into how many parts n ranks are cut.
func (v values) parts(name string, n, fallback int) (int, error) {
	k, ok := v.of[name]
	if !ok {
		return fallback, nil
	}
	if int(k) > n {
		return 0, &PresetError{Preset: v.preset, Param: name, Reason: fmt.Sprintf("%d is more than the %d ranks", int(k), n)}
	}
	return int(k), nil
}

func formatFloat(f float64) string { return strconv.FormatFloat(f, 'g', -1, 64) }
