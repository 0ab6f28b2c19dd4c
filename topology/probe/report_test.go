package probe

import (
	"encoding/json"
	"errors"
	"math"
	"reflect"
	"strings"
	"testing"

	"github.com/ringtree/ringtree/topology"
)

func sampleReport() *Report {
	return &Report{
		Tiers: []TierCost{
			{topology.Host, topology.Link{Level: topology.Host, Alpha: 1.0 / 3, Beta: 1e-10}, 2, 200, 0.03},
			{topology.World, topology.Link{Level: topology.World, Alpha: 0.05, Beta: 8e-9}, 1, 7, 0},
		},
		Paths: []PathCost{
			{topology.Path{From: "s0", To: "s1", Alpha: 0.04, Beta: 1e-9}, 7, 0.01},
			{topology.Path{From: "s1", To: "s0", Alpha: 0.04, Beta: 2e-9}, 7, 0.01},
		},
	}
}

func TestReportRoundTrip(t *testing.T) {
	for _, want := range []*Report{{}, sampleReport()} {
		text, err := json.Marshal(want)
		if err != nil {
			t.Fatal(err)
		}
		var got Report
		if err := json.Unmarshal(text, &got); err != nil || !reflect.DeepEqual(&got, want) {
			t.Errorf("got %+v, %v, want %+v", got, err, want)
		}
	}
	var r Report
	var re *ReportError
	if err := json.Unmarshal([]byte(`{"tiers":[{"level":"shelf"}]}`), &r); !errors.As(err, &re) {
		t.Errorf("got %v, want a ReportError", err)
	}
}

func TestReportErrors(t *testing.T) {
	for _, text := range []string{
		``, `{`, `[]`, `{"tiers":[]} x`, `{"tears":[]}`, `{"tiers":[{"level":"host","alpha":-1,"beta":0,"probes":1,"residual":0}]}`,
		`{"tiers":[{"level":"host","alpha":1e9}]}`, `{"tiers":[{"level":"host","residual":-0.5}]}`, `{"tiers":[{"level":"host","probes":-1}]}`,
		`{"tiers":[{"level":"host"},{"level":"host"}]}`, `{"tiers":[{"level":"rack"},{"level":"host"}]}`, `{"tiers":[{"level":"shelf"}]}`,
		`{"tiers":[{"level":"host","from":"a"}]}`, `{"paths":[{"from":"a","to":"a"}]}`, `{"paths":[{"from":"","to":"a"}]}`,
		`{"paths":[{"from":"a","to":"b"},{"from":"a","to":"b"}]}`, `{"paths":[{"from":"a","to":"b","level":"host"}]}`,
		`{"paths":[{"from":"a","to":"b","beta":-0.0}]}`, `{"tiers":[{"level":"host","alpha":-0}]}`,
	} {
		var re *ReportError
		if _, err := ParseReport([]byte(text)); !errors.As(err, &re) {
			t.Errorf("%s: got %v, want a ReportError", text, err)
		}
	}
	r := &Report{Tiers: []TierCost{{Level: topology.Host, Link: topology.Link{Level: topology.Host, Alpha: math.NaN()}}}}
	var re *ReportError
	if _, err := r.Apply(topology.Local(2)); !errors.As(err, &re) {
		t.Errorf("NaN: got %v, want a ReportError", err)
	}
}

func TestApply(t *testing.T) {
	g := parseGraph(t, `cores 3
reduce 2e-10
tier host 1 1
tier rack 2 2
tier world 5 5
path s1 s0 6 6
path s0 s2 7 7
ranks 0-3 host h0/2 device d0/1 rack a site s0
ranks 4-5 host h2 rack b site s1
ranks 6 host h3 rack c site s2
`)
	r := sampleReport()
	r.Paths = append(r.Paths, PathCost{topology.Path{From: "s0", To: "elsewhere"}, 1, 0})
	got, err := r.Apply(g)
	if err != nil {
		t.Fatal(err)
	}
	for _, link := range []struct {
		a, b topology.Rank
		want topology.Link
	}{
		{0, 1, r.Tiers[0].Link}, {0, 2, topology.Link{Level: topology.Rack, Alpha: 2, Beta: 2}}, {4, 6, r.Tiers[1].Link},
		{0, 4, topology.Link{Level: topology.World, Alpha: 0.04, Beta: 1e-9}}, {4, 0, topology.Link{Level: topology.World, Alpha: 0.04, Beta: 2e-9}},
		{0, 6, topology.Link{Level: topology.World, Alpha: 7, Beta: 7}},
	} {
		if l := got.Link(link.a, link.b); l != link.want {
			t.Errorf("%d to %d: got %+v, want %+v", link.a, link.b, l, link.want)
		}
	}
	if got.Cores() != 3 || got.Reduce() != 2e-10 || got.Size() != 7 || got.Place(1) != g.Place(1) || got.Place(6) != g.Place(6) {
		t.Errorf("got\n%v\nwant the places, cores and reduce of\n%v", got, g)
	}
	same, err := (&Report{}).Apply(g)
	if err != nil || !same.Equal(g) {
		t.Errorf("an empty report: got %v and\n%v\nwant\n%v", err, same, g)
	}
}

func FuzzParseReport(f *testing.F) {
	text, err := json.Marshal(sampleReport())
	if err != nil {
		f.Fatal(err)
	}
	f.Add(text)
	f.Add([]byte(`{"tiers":[{"level":"device","alpha":5e-324}]}`))
	f.Add([]byte(strings.Repeat("[", 20000)))
	g := topology.Local(3)
	f.Fuzz(func(t *testing.T, text []byte) {
		r, err := ParseReport(text)
		if err != nil {
			var re *ReportError
			if !errors.As(err, &re) {
				t.Fatalf("got %v, want a ReportError", err)
			}
			return
		}
		again, err := r.MarshalJSON()
		if err != nil {
			t.Fatal(err)
		}
		if back, err := ParseReport(again); err != nil || !reflect.DeepEqual(back, r) {
			t.Errorf("%s: got %+v, %v, want %+v", again, back, err, r)
		}
		if _, err := r.Apply(g); err != nil {
			t.Errorf("%s: %v", text, err)
		}
	})
}
