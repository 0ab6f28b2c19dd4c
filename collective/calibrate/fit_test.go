package calibrate_test

import (
	"fmt"
	"math"
	"os"
	"testing"

	"github.com/ringtree/ringtree/collective/calibrate"
)

// published are tables of others; testdata/SOURCES.md says whose.
func published(t testing.TB) []*calibrate.Table {
	t.Helper()
	f, err := os.Open("testdata/published.csv")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	tables, err := calibrate.ParseTables(f)
	if err != nil {
		t.Fatal(err)
	}
	if len(tables) != 4 {
		t.Fatalf("%d tables, want 4", len(tables))
	}
	return tables
}

// TestPublished fits on half of the rows of each table, every other one, and predicts the other half, both ways.
func TestPublished(t *testing.T) {
	for _, table := range published(t) {
		for half := range 2 {
			t.Run(fmt.Sprint(table.Name, "/", half), func(t *testing.T) {
				t.Parallel()
				train, rest := table.Halves(half)
				m, err := calibrate.Fit(train)
				if err != nil {
					t.Fatal(err)
				}
				c := calibrate.Compare(m, rest)
				all := c.Bands[0]
				t.Logf("median %.1f %%, p90 %.1f %%, max %.1f %%, bias %+.1f %% of %d rows; %+v", all.Median*100, all.P90*100, all.Max*100, all.Bias*100, all.Rows, *m)
				if all.Median > 0.05 || all.P90 > 0.15 {
					t.Errorf("the other half is %.1f %% off at the median and %.1f %% at the 90th percentile, want 5 and 15 at most", all.Median*100, all.P90*100)
				}
				if math.Abs(all.Bias) > 0.05 {
					t.Errorf("the bias is %+.1f %%", all.Bias*100)
				}
			})
		}
	}
}
