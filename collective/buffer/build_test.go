package buffer

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestGenerated runs the generator of the assembly and compares its output with the files here.
func TestGenerated(t *testing.T) {
	if testing.Short() {
		t.Skip("compiles the generator")
	}
	dir := t.TempDir()
	gen := exec.Command(goTool(t), "-C", filepath.Join("internal", "gen"), "run", ".", "-pkg", "buffer",
		"-out", filepath.Join(dir, "avx2_amd64.s"), "-stubs", filepath.Join(dir, "avx2_amd64.go"))
	gen.Env = append(os.Environ(), "GOOS=", "GOARCH=", "GOFLAGS=-mod=readonly", "GOWORK=off", "GOPROXY=off")
	if out, err := gen.CombinedOutput(); err != nil {
		// Without the network the generator's dependency may be missing, which is no fault of the files.
		if bytes.Contains(out, []byte("module lookup disabled by GOPROXY=off")) {
			t.Skipf("the module cache lacks the generator's dependency: %s", out)
		}
		t.Fatalf("%v: %s", err, out)
	}
	for _, name := range []string{"avx2_amd64.s", "avx2_amd64.go"} {
		want, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		got, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(afterFirstLine(got), afterFirstLine(want)) {
			t.Errorf("%s is not what the generator writes: run go generate", name)
		}
	}
}

// afterFirstLine drops the line that names the command, in which the directories differ.
func afterFirstLine(text []byte) []byte {
	_, rest, _ := bytes.Cut(text, []byte("\n"))
	return rest
}

// legacy matches an instruction with an XMM register that is not a VEX-encoded one. One of those between AVX
// instructions costs a hundred nanoseconds.
var legacy = regexp.MustCompile(`^\t[A-UW-Z]\w*\s.*\b[XY]\d`)

// TestAssemblyIsPureAVX reads the assembly for legacy SSE and for returns that leave the upper halves of the
// registers in use.
func TestAssemblyIsPureAVX(t *testing.T) {
	text, err := os.ReadFile("avx2_amd64.s")
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(string(text), "\n")
	returns := 0
	for i, line := range lines {
		if legacy.MatchString(line) {
			t.Errorf("line %d mixes legacy SSE with AVX: %s", i+1, line)
		}
		if strings.TrimSpace(line) == "RET" {
			returns++
			if i == 0 || strings.TrimSpace(lines[i-1]) != "VZEROUPPER" {
				t.Errorf("line %d: RET without VZEROUPPER", i+1)
			}
		}
	}
	if functions := strings.Count(string(text), "\nTEXT "); returns == 0 || returns != functions {
		t.Errorf("got %d returns in %d functions, want one in each", returns, functions)
	}
}

// TestInlining asks the compiler whether the functions that loops call are inlined, and whether operands may
// stay on the caller's stack.
func TestInlining(t *testing.T) {
	if testing.Short() {
		t.Skip("compiles the package")
	}
	build := exec.Command(goTool(t), "build", "-gcflags=-m", ".")
	out, err := build.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	for _, function := range []string{"TypeOf[go.shape.float32]", "F16.Float32", "BF16.Float32", "ToBF16", "DType.Size", "DType.Valid", "Op.Valid", "Block.Count"} {
		if !bytes.Contains(out, []byte("can inline "+function+"\n")) {
			t.Errorf("the compiler does not inline %s", function)
		}
	}
	for line := range strings.Lines(string(out)) {
		if strings.HasPrefix(line, "./kernel.go") && regexp.MustCompile(`leaking param( content)?: (dst|srcs?|data)\b`).MatchString(line) {
			t.Errorf("operands escape to the heap: %s", line)
		}
	}
}

func goTool(t *testing.T) string {
	t.Helper()
	path, err := exec.LookPath("go")
	if err != nil {
		t.Skipf("no go tool: %v", err)
	}
	return path
}
