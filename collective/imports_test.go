package collective_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"go/parser"
	"go/token"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/fstest"
)

const modulePath = "github.com/ringtree/ringtree"

// policy says who may import whom; DESIGN.md, section 3, has the picture. Names are folders of this module, or import
// paths of others; "x/..." is x and everything below it.
//
//	a, b < c     c may import a and b, and whatever they may import
//	planned a    a is named in the layers and not written yet
//	never a -> b: why       neither a nor anything of this module that a reaches imports b. Tests are held to it, too,
//	                        where b is of this module
//	only a -> b: why        nothing but a imports b; a may be "tests"
//	allow a: why            a package from outside that is neither standard nor under an only
//
// Tests may otherwise import any layer.
const policy = `
topology < collective/schedule < collective/plan, collective/sim
topology, transport < topology/probe
transport < transport/internal/stripe < transport/quic, transport/tcp
transport/internal/stripe < transport/network
transport/internal/aesgcm < transport/tcp
transport < transport/mem, transport/shm, transport/rdma, transport/simnet, transport/p2p
transport < transport/transporttest
transport/internal/stripe, transport/transporttest < transport/internal/stripe/stripetest
transport/mem, transport/shm, transport/quic, transport/tcp, transport/simnet, transport/network, transport/p2p < transport/all
collective/schedule, collective/buffer, transport < collective/internal/engine
collective/internal/engine, collective/plan, collective/membership, transport/all, topology/probe < collective < collective/bucket
collective/buffer < cudabridge
collective/calibrate < examples/...
collective/schedule < collective/interop
topology < topology/nccl
cudabridge/nvml < examples/...
cudabridge/internal/kernels < cudabridge
cudabridge/internal/ptx < cudabridge/internal/gen, cudabridge/cudatest
everything < examples/...

never collective/schedule -> time: a schedule is a pure function, and the simulator gives it its clock
never collective/schedule -> net/...: a schedule moves nothing
never collective/schedule -> sync/...: the machine belongs to whoever drives it
never collective/sim -> transport/...: what is simulated must not depend on what moves bytes
never transport/... -> collective/...: a transport carries frames and does not know what for
never topology -> transport/...: a description of machines needs no machine

only examples/... -> examples/...: examples are mains, not a library
only transport/p2p -> github.com/libp2p/...: peer identities reach the rest as values
only transport/p2p -> github.com/multiformats/...: addresses of libp2p, text to the rest
only transport/quic -> github.com/klauspost/reedsolomon/...: packets are repaired under QUIC and nowhere else
only transport/tcp -> golang.org/x/crypto/...: one of the ciphers of TLS 1.3 is not in the standard library
only transport/quic -> golang.org/x/net/...: quic-go names its messages by a type of x/net
only transport/quic, transport/p2p -> github.com/quic-go/...: the TLS identity reaches transport/quic as a value
only cudabridge, cudabridge/cudatest, cudabridge/nvml, transport/rdma -> C: the default build is pure Go
only tests -> cudabridge/cudatest: it stands in for a driver, and nothing but a test may meet it
only examples/... -> gonum.org/v1/plot/...: drawing is no part of the library
only topology, topology/probe, collective/plan, collective/sim, collective/calibrate, examples/... -> gonum.org/v1/gonum/...: the data path has kernels of its own
only tests -> github.com/google/go-cmp/...: it panics on purpose, and is made for tests
only tests -> google.golang.org/protobuf/...: the one format that needs it is written by hand and read back by it

allow golang.org/x/sys/...: system calls and processor features
`

// An edge is an import of one file.
type edge struct {
	file string
	from string // folder of this module
	test bool   // the file is a _test.go
	to   string // folder of this module, or import path
}

type rule struct {
	verb string
	from []string
	to   string
	why  string
}

type rules struct {
	below   map[string]map[string]bool // what a name may import
	planned map[string]bool
	list    []rule
}

// parsePolicy reads text in the language of policy.
func parsePolicy(text string) (*rules, error) {
	p := &rules{below: make(map[string]map[string]bool), planned: make(map[string]bool)}
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		verb, rest, _ := strings.Cut(line, " ")
		switch {
		case line == "" || strings.HasPrefix(line, "#"):
		case verb == "planned":
			for _, name := range names(rest) {
				p.planned[name] = true
			}
		case verb == "never" || verb == "only" || verb == "allow":
			what, why, ok := strings.Cut(rest, ": ")
			r := rule{verb: verb, to: what, why: why}
			if from, to, arrow := strings.Cut(what, " -> "); arrow {
				r.from, r.to = names(from), to
			}
			if !ok || (r.from == nil) != (verb == "allow") {
				return nil, fmt.Errorf("policy: %q: want %s with a reason", line, verb)
			}
			p.list = append(p.list, r)
		case strings.Contains(line, " < "):
			var lower []string
			for _, group := range strings.Split(line, " < ") {
				for _, name := range names(group) {
					if p.below[name] == nil {
						p.below[name] = make(map[string]bool)
					}
					for _, l := range lower {
						p.below[name][l] = true
					}
				}
				lower = names(group)
			}
		default:
			return nil, fmt.Errorf("policy: cannot read %q", line)
		}
	}
	for again := true; again; { // the transitive closure
		again = false
		for name, set := range p.below {
			for l := range set {
				for ll := range p.below[l] {
					if ll == name {
						return nil, fmt.Errorf("policy: %s is below itself", name)
					}
					again = again || !set[ll]
					set[ll] = true
				}
			}
		}
	}
	return p, nil
}

func names(list string) []string {
	out := strings.Split(list, ",")
	for i := range out {
		out[i] = strings.TrimSpace(out[i])
	}
	return out
}

// matches reports whether a name or a pattern of the policy stands for a package.
func matches(pattern, pkg string) bool {
	base, tree := strings.CutSuffix(pattern, "/...")
	return pkg == base || tree && strings.HasPrefix(pkg, base+"/")
}

func matchesAny(patterns []string, pkg string) bool {
	return slices.ContainsFunc(patterns, func(p string) bool { return matches(p, pkg) })
}

// check returns what breaks the rules in a graph of the module's packages, sorted, one line each.
func (p *rules) check(packages []string, edges []edge) []string {
	var bad []string
	own := make(map[string]bool)
	for _, pkg := range packages {
		own[pkg] = true
	}
	layer := func(pkg string) string { // the policy's name for pkg
		if p.below[pkg] != nil {
			return pkg
		}
		for name := range p.below {
			if matches(name, pkg) {
				return name
			}
		}
		return ""
	}
	for _, pkg := range packages {
		if layer(pkg) == "" {
			bad = append(bad, fmt.Sprintf("%s: in no layer of the policy", pkg))
		}
		if p.planned[pkg] {
			bad = append(bad, fmt.Sprintf("%s: exists, so it is not planned any more", pkg))
		}
	}
	for name := range p.below {
		if name != "everything" && !p.planned[name] && !slices.ContainsFunc(packages, func(pkg string) bool { return matches(name, pkg) }) {
			bad = append(bad, fmt.Sprintf("%s: the policy has it, the module has not", name))
		}
	}
	for _, e := range edges {
		if own[e.to] && !e.test {
			if below := p.below[layer(e.from)]; !below["everything"] && !below[layer(e.to)] {
				bad = append(bad, fmt.Sprintf("%s: %s imports %s, which is not below it", e.file, e.from, e.to))
			}
		}
		listed := own[e.to] || standard(e.to)
		for _, r := range p.list {
			if r.verb == "never" || !matches(r.to, e.to) {
				continue
			}
			listed = true
			if r.verb == "only" && !matchesAny(r.from, e.from) && !(e.test && slices.Contains(r.from, "tests")) {
				bad = append(bad, fmt.Sprintf("%s: only %s may import %s: %s", e.file, strings.Join(r.from, ", "), e.to, r.why))
			}
		}
		if !listed {
			bad = append(bad, fmt.Sprintf("%s: %s is not in the policy", e.file, e.to))
		}
	}
	for _, r := range p.list {
		if r.verb != "never" {
			continue
		}
		for _, start := range packages {
			if !matchesAny(r.from, start) {
				continue
			}
			for _, e := range edges {
				if !matches(r.to, e.to) {
					continue
				}
				if e.test && e.from == start && own[e.to] || !e.test && reaches(edges, own, start, e.from) {
					bad = append(bad, fmt.Sprintf("%s: %s must not reach %s: %s", e.file, start, e.to, r.why))
				}
			}
		}
	}
	slices.Sort(bad)
	return slices.Compact(bad)
}

// reaches reports whether from is to or imports it, if only by way of others of this module.
func reaches(edges []edge, own map[string]bool, from, to string) bool {
	seen := map[string]bool{from: true}
	for queue := []string{from}; len(queue) > 0; queue = queue[1:] {
		if queue[0] == to {
			return true
		}
		for _, e := range edges {
			if e.from == queue[0] && !e.test && own[e.to] && !seen[e.to] {
				seen[e.to] = true
				queue = append(queue, e.to)
			}
		}
	}
	return false
}

// standard reports whether an import path is of the standard library.
func standard(p string) bool {
	first, _, _ := strings.Cut(p, "/")
	return p != "C" && !strings.Contains(first, ".")
}

// readImports reads the imports of all Go files of a module, whatever system they are for. Folders that are modules of
// their own are left out.
func readImports(module fs.FS) (packages []string, edges []edge, err error) {
	seen := make(map[string]bool)
	err = fs.WalkDir(module, ".", func(name string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir():
			if name == "." {
				return nil
			}
			if base := path.Base(name); base == "testdata" || base[0] == '.' || base[0] == '_' {
				return fs.SkipDir
			}
			if _, err := fs.Stat(module, name+"/go.mod"); err == nil {
				return fs.SkipDir
			}
			return nil
		case path.Ext(name) != ".go":
			return nil
		}
		text, err := fs.ReadFile(module, name)
		if err != nil {
			return err
		}
		file, err := parser.ParseFile(token.NewFileSet(), name, text, parser.ImportsOnly)
		if err != nil {
			return err
		}
		pkg, test := path.Dir(name), strings.HasSuffix(name, "_test.go")
		seen[pkg] = true
		for _, spec := range file.Imports {
			to, err := strconv.Unquote(spec.Path.Value)
			if err != nil {
				return err
			}
			if to == modulePath {
				to = "."
			} else {
				to = strings.TrimPrefix(to, modulePath+"/")
			}
			edges = append(edges, edge{file: name, from: pkg, test: test, to: to})
		}
		return nil
	})
	for pkg := range seen {
		packages = append(packages, pkg)
	}
	slices.Sort(packages)
	return packages, edges, err
}

// moduleRoot is the folder of go.mod as seen from this package.
const moduleRoot = ".."

func TestImports(t *testing.T) {
	p, err := parsePolicy(policy)
	if err != nil {
		t.Fatal(err)
	}
	packages, edges, err := readImports(os.DirFS(moduleRoot))
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Contains(packages, "collective") || len(edges) < 100 {
		t.Fatalf("got %d imports in %v: not the module", len(edges), packages)
	}
	for _, line := range p.check(packages, edges) {
		t.Error(line)
	}
}

// TestImportsChecker breaks every rule once.
func TestImportsChecker(t *testing.T) {
	p, err := parsePolicy(`
		low < middle < high, late
		everything < mains/...
		planned late, done
		never middle -> time: no clock
		never low -> high: upside down
		only mains/... -> mains/...: no library
		only high -> C: pure
		only tests -> example.org/compare/...: for tests
		allow example.org/sys/...: needed
	`)
	if err != nil {
		t.Fatal(err)
	}
	source := func(imports ...string) *fstest.MapFile {
		text := "package p\n"
		for _, i := range imports {
			text += fmt.Sprintf("import %q\n", strings.ReplaceAll(i, "~", modulePath))
		}
		return &fstest.MapFile{Data: []byte(text)}
	}
	good := fstest.MapFS{
		"low/a.go":             source("fmt", "example.org/sys/unix"),
		"low/a_test.go":        source("~/middle", "example.org/compare", "time"),
		"middle/a.go":          source("~/low"),
		"middle/other/go.mod":  source(),
		"middle/other/a.go":    source("example.org/another/module"),
		"middle/testdata/a.go": source("example.org/never/built"),
		"high/a_windows.go":    source("~/middle", "~/low", "C"),
		"mains/one/a.go":       source("~/high", "~/mains/two", "time"),
		"mains/two/a.go":       source("net"),
	}
	for _, tt := range []struct {
		name, file string
		imports    []string
		want       string // "": nothing wrong
	}{
		{"nothing", "low/b.go", []string{"os"}, ""},
		{"upwards", "middle/b.go", []string{"~/high"}, "middle/b.go: middle imports ~/high, which is not below it"},
		{"upwards in a test", "middle/b_test.go", []string{"~/high"}, ""},
		{"sideways", "high/b_plan9.go", []string{"~/high"}, "high/b_plan9.go: high imports ~/high, which is not below it"},
		{"banned", "middle/b.go", []string{"time"}, "middle/b.go: middle must not reach time: no clock"},
		{"banned below", "low/b.go", []string{"time"}, "low/b.go: middle must not reach time: no clock"},
		{"banned in a test", "low/b_test.go", []string{"~/high"}, "low/b_test.go: low must not reach ~/high: upside down"},
		{"main as a library", "low/b_test.go", []string{"~/mains/two"}, "low/b_test.go: only mains/... may import ~/mains/two: no library"},
		{"cgo", "middle/b.go", []string{"C"}, "middle/b.go: only high may import C: pure"},
		{"tests only", "high/b.go", []string{"example.org/compare/deep"}, "high/b.go: only tests may import example.org/compare/deep: for tests"},
		{"unknown module", "mains/one/b.go", []string{"example.org/systems"}, "mains/one/b.go: example.org/systems is not in the policy"},
		{"unknown package", "new/b.go", nil, "new: in no layer of the policy"},
		{"planned package", "late/b.go", []string{"~/low"}, "late: exists, so it is not planned any more"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tree := fstest.MapFS{tt.file: source(tt.imports...)}
			for name, f := range good {
				tree[name] = f
			}
			packages, edges, err := readImports(tree)
			if err != nil {
				t.Fatal(err)
			}
			got := strings.Join(p.check(packages, edges), "\n")
			if want := strings.ReplaceAll(tt.want, "~/", ""); got != want {
				t.Errorf("got %q, want %q", got, want)
			}
		})
	}
	t.Run("missing package", func(t *testing.T) {
		got := p.check([]string{"low", "middle", "mains/one"}, nil)
		if want := []string{"high: the policy has it, the module has not"}; !slices.Equal(got, want) {
			t.Errorf("got %q, want %q", got, want)
		}
	})
	for _, text := range []string{"a < b\nb < a", "never a -> b", "only a: why", "allow a -> b: why", "a is below b"} {
		if _, err := parsePolicy(text); err == nil {
			t.Errorf("parsePolicy(%q): got no error", text)
		}
	}
}

// TestDefaultBuild follows the library's imports through other modules, as this machine builds them: no cgo outside the
// standard library, and no module that the policy does not have.
func TestDefaultBuild(t *testing.T) {
	p, err := parsePolicy(policy)
	if err != nil {
		t.Fatal(err)
	}
	tool, err := exec.LookPath("go")
	if err != nil {
		t.Skipf("no go tool: %v", err)
	}
	list := exec.Command(tool, "list", "-deps", "-json=ImportPath,Standard,CgoFiles", "./collective/...", "./transport/...", "./topology/...")
	list.Dir = moduleRoot
	list.Env = append(os.Environ(), "GOFLAGS=-mod=readonly", "GOPROXY=off")
	var complaint bytes.Buffer
	list.Stderr = &complaint
	out, err := list.Output()
	if err != nil {
		if strings.Contains(complaint.String(), "GOPROXY=off") {
			t.Skipf("the module cache lacks something that was not needed to build this test: %s", &complaint)
		}
		t.Fatalf("go list: %v: %s", err, &complaint)
	}
	type listed struct {
		ImportPath string
		Standard   bool
		CgoFiles   []string
	}
	seen := 0
	for d := json.NewDecoder(bytes.NewReader(out)); ; seen++ {
		var pkg listed
		if err := d.Decode(&pkg); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		if line := p.checkBuilt(pkg.ImportPath, pkg.Standard, len(pkg.CgoFiles) > 0); line != "" {
			t.Error(line)
		}
	}
	if seen < 20 {
		t.Errorf("go list knows %d packages: not the whole library", seen)
	}
	for _, tt := range []struct {
		path          string
		standard, cgo bool
		bad           bool
	}{
		{"net", true, true, false},
		{modulePath + "/transport", false, false, false},
		{modulePath + "/transport", false, true, true},
		{modulePath + "/transport/rdma", false, true, false},
		{"golang.org/x/sys/unix", false, false, false},
		{"example.org/database", false, true, true},
	} {
		if line := p.checkBuilt(tt.path, tt.standard, tt.cgo); (line != "") != tt.bad {
			t.Errorf("%s, standard %v, cgo %v: got %q, want an error: %v", tt.path, tt.standard, tt.cgo, line, tt.bad)
		}
	}
}

// checkBuilt returns what is wrong with a package that the library is built from, or "". What modules the library's own
// imports bring with them is their business, but for cgo.
func (p *rules) checkBuilt(importPath string, standard, cgo bool) string {
	own, isOwn := strings.CutPrefix(importPath, modulePath+"/")
	for _, r := range p.list {
		if cgo && !standard && r.verb == "only" && r.to == "C" && !(isOwn && matchesAny(r.from, own)) {
			return fmt.Sprintf("%s has cgo files: %s", importPath, r.why)
		}
	}
	return ""
}
