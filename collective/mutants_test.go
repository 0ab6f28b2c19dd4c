package collective_test

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

var mutants = flag.Bool("mutants", false, "make mutants of the code that has devices store what comes, and see that the tests find each; takes minutes")

// TestMutants breaks a rule of how what comes is stored in its place, one at a time, and runs the tests that must find it.
func TestMutants(t *testing.T) {
	if !*mutants {
		t.Skip("give -mutants")
	}
	rdma := func(name, file, from, to, run string) mutant {
		return mutant{name, "transport/rdma", "transport/rdma/" + file, from, to, run}
	}
	engine := func(name, file, from, to, run string) mutant {
		return mutant{name, "collective", "collective/internal/engine/" + file, from, to, run}
	}
	stripe := func(name, file, from, to string) mutant {
		return mutant{name, "transport/internal/stripe", "transport/internal/stripe/" + file, from, to, "TestPlacedFrames$|TestPlaceLeft$"}
	}
	for _, m := range []mutant{
		stripe("a place is good for any operation", "link.go", "s.place.mem != nil && s.place.header == *h", "s.place.mem != nil"),
		stripe("a place stays a place when its frame has been released", "link.go", "\t\tl.wanted--\n", ""),
		stripe("the memory is the caller's again while a frame is read into it", "place.go", "if in.frame == l && !in.dropped {", "if in.frame != l && !in.dropped {"),
		stripe("what is read into its place goes behind it", "reader.go", "n += copy(in.rest, there[n:])", "n += copy(in.rest[:cap(in.rest)], there[n:])"),
		rdma("a frame is handed out before its payload has settled", "settle.go", "return frame < l.settled, err", "return true, err", "TestDirectReceive$"),
		rdma("a read counts for what comes after it", "settle.go", "l.settling = until", "l.settling = until + 1", "TestDirectReceive$"),
		rdma("a flush counts for what comes after it", "settle.go", "l.settled = until\n", "l.settled = until + 1\n", "TestDirectReceive$"),
		rdma("an offer is good for any frame", "offer.go", "mix(0, frame+1)", "mix(0, 1)", "TestStaleOffer"),
		rdma("an offer is good for any operation", "offer.go", "for i := 0; i < len(text); i += 8", "for i := len(text); i < len(text); i += 8", "TestStaleOffer"),
		rdma("an offer is for the frame behind the one that is meant", "offer.go", "putOffer(cell, frame, x.at, h)", "putOffer(cell, frame+1, x.at, h)", "TestWrongPlace"),
		rdma("a place stays a place when its frame has been released", "offer.go", "\t\tx.mem = nil\n", "", "TestConformance"),
		rdma("the memory is the caller's again while the peer may store there", "offer.go", "case wanted == 0 || !there:", "case wanted >= 0 || !there:", "TestConformance|TestQuiet"),
		rdma("a key is good after Forget", "memory.go", "\treturn c.region.release()\n}\n\n// alloc", "\treturn nil\n}\n\n// alloc", "TestForgotten"),
		rdma("places are given in memory after Forget", "memory.go", "\tdelete(m.cache, key)\n\tm.publish()\n", "\tdelete(m.cache, key)\n", "TestForgotten"),
		engine("a place of the landing is given again while the kernel reads it", "offload_steps.go", "\t\tp.lands = append(p.lands, landed)\n", "\t\te.landing.put(landed)\n", "TestLanding$"),
		engine("a place is given while the lane still uses the memory", "expect.go", "if int(x.over) > over {", "if int(x.over) > over+len(a.list) {", "TestDirect$|TestLanding$"),
		engine("places are given before the stream has come so far", "offload.go", "if m.Gate != nil {", "if m.Gate != nil && m.Gate == nil {", "TestDirectMutants"),
		engine("what is stored in its place is copied there from the host", "offload_steps.go", "case isThere(f, dst):", "case isThere(f, nil):", "TestDirect$"),
		{"a flush is left out where others read the memory", "cudabridge", "cudabridge/direct.go", "ordering >= orderedForOwner && alone", "ordering >= orderedForOwner", "TestStored"},
	} {
		t.Run(m.name, m.try)
	}
}

// A mutant is a change of one file that the tests of a package must find.
type mutant struct {
	name, pkg, file, from, to, run string
}

func (m mutant) try(t *testing.T) {
	path, err := filepath.Abs(filepath.Join("..", m.file))
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(string(text), m.from); n != 1 {
		t.Fatalf("%s has %d places like %q", m.file, n, m.from)
	}
	dir := t.TempDir()
	changed, overlay := filepath.Join(dir, "changed.go"), filepath.Join(dir, "overlay.json")
	replace, err := json.Marshal(map[string]any{"Replace": map[string]string{path: changed}})
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{changed: strings.Replace(string(text), m.from, m.to, 1), overlay: string(replace)} {
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.CommandContext(t.Context(), "go", "test", "-overlay", overlay, "-count=1", "-vet=off", "-timeout=3m", "-run", "^("+m.run+")", fmt.Sprint("../", m.pkg))
	out, err := cmd.CombinedOutput()
	// A test that fails, or one that hangs or breaks on it.
	found := strings.Contains(string(out), "--- FAIL") || strings.Contains(string(out), "panic: ") || strings.Contains(string(out), "fatal error: ")
	if err == nil || !found || strings.Contains(string(out), "[build failed]") {
		t.Errorf("not found by %s: %v\n%s", m.run, err, out)
	}
}
