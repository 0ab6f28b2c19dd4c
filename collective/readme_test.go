package collective_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"go/ast"
	"go/format"
	"go/parser"
	"go/token"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"
)

// readmeBlocks returns the Go code blocks of README.md.
func readmeBlocks(t *testing.T) []string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(moduleRoot, "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	return codeBlocks(string(text))
}

func codeBlocks(markdown string) []string {
	var blocks []string
	for _, m := range regexp.MustCompile("(?ms)^```go\n(.*?)^```$").FindAllStringSubmatch(markdown, -1) {
		blocks = append(blocks, m[1])
	}
	return blocks
}

// sources returns the bodies of a file's examples, without the comments that state their output, and the whole of its
// other functions, by name.
func sources(t *testing.T, file string) map[string]string {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	files := token.NewFileSet()
	parsed, err := parser.ParseFile(files, file, text, 0)
	if err != nil {
		t.Fatal(err)
	}
	out := make(map[string]string)
	for _, d := range parsed.Decls {
		f, ok := d.(*ast.FuncDecl)
		if !ok {
			continue
		}
		from, to := files.Position(f.Pos()).Offset, files.Position(f.End()).Offset
		if strings.HasPrefix(f.Name.Name, "Example") {
			from, to = files.Position(f.Body.Lbrace).Offset+1, files.Position(f.Body.Rbrace).Offset
		}
		code := string(text[from:to])
		if strings.HasPrefix(f.Name.Name, "Example") {
			code, _, _ = strings.Cut(code, "\t// Output:")
			code = strings.ReplaceAll(code, "\n\t", "\n")
		}
		out[f.Name.Name] = strings.TrimSpace(code) + "\n"
	}
	return out
}

// TestReadmeCode holds every Go block of the README to a copy that is compiled and run: the body of an Example, a function
// that an Example calls, or a program, which TestReadmeProgram builds.
func TestReadmeCode(t *testing.T) {
	have := sources(t, "example_quickstart_test.go")
	want := []string{"Example_quickStart", "program", "train", "network"}
	var got []string
	for i, block := range readmeBlocks(t) {
		name := "program"
		if !strings.HasPrefix(block, "package main\n") {
			name = ""
			for n, code := range have {
				if code == block {
					name = n
				}
			}
		}
		if name == "" {
			t.Errorf("Go block %d of the README is neither a program nor in example_quickstart_test.go:\n%s", i+1, block)
		}
		got = append(got, name)
	}
	if !slices.Equal(got, want) {
		t.Errorf("got blocks %q, want %q", got, want)
	}
	if body := have["Example_quickStart"]; strings.Count(body, "\n") > 25 {
		t.Errorf("the quick start has %d lines: not quick", strings.Count(body, "\n"))
	}
}

// TestReadmeProgram builds the README's program and runs it as three processes.
func TestReadmeProgram(t *testing.T) {
	switch {
	case testing.Short():
		t.Skip("builds a program")
	case runtime.GOOS != "linux":
		t.Skip("processes meet on Linux only")
	}
	tool, err := exec.LookPath("go")
	if err != nil {
		t.Skipf("no go tool: %v", err)
	}
	i := slices.IndexFunc(readmeBlocks(t), func(block string) bool { return strings.HasPrefix(block, "package main\n") })
	if i < 0 {
		t.Fatal("the README has no program")
	}
	program := readmeBlocks(t)[i]
	if formatted, err := format.Source([]byte(program)); err != nil || string(formatted) != program {
		t.Errorf("the README's program is not gofmt-ed: %v", err)
	}

	// An overlay gives the program a folder in this module without writing to it.
	dir := t.TempDir()
	root, err := filepath.Abs(moduleRoot)
	if err != nil {
		t.Fatal(err)
	}
	source, overlay, binary := filepath.Join(dir, "main.go"), filepath.Join(dir, "overlay.json"), filepath.Join(dir, "demo")
	if err := os.WriteFile(source, []byte(program), 0o600); err != nil {
		t.Fatal(err)
	}
	places, err := json.Marshal(map[string]any{"Replace": map[string]string{filepath.Join(root, "examples", "readme", "main.go"): source}})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(overlay, places, 0o600); err != nil {
		t.Fatal(err)
	}
	build := exec.CommandContext(t.Context(), tool, "build", "-buildvcs=false", "-overlay", overlay, "-o", binary, "./examples/readme")
	build.Dir = root
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build: %v: %s", err, out)
	}

	const size = 3
	var ranks [size]*exec.Cmd
	var output [size]bytes.Buffer
	for r := range ranks {
		cmd := exec.CommandContext(t.Context(), binary, "-rank", fmt.Sprint(r), "-size", fmt.Sprint(size), "-group", fmt.Sprint("readme-", os.Getpid()))
		cmd.Stdout, cmd.Stderr = &output[r], &output[r]
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		ranks[r] = cmd
	}
	for r, cmd := range ranks {
		err := cmd.Wait()
		if got, want := output[r].String(), fmt.Sprintf("rank %d has 1\n", r); err != nil || got != want {
			t.Errorf("rank %d: got %q, %v, want %q", r, got, err, want)
		}
	}
}

// TestReadmeRefers looks for what the README refers to: the folders of its commands, the files of its links, and the
// two commands in the script that runs all checks.
func TestReadmeRefers(t *testing.T) {
	readme, err := os.ReadFile(filepath.Join(moduleRoot, "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	script, err := os.ReadFile(filepath.Join(moduleRoot, ".ci", "run"))
	if err != nil {
		t.Fatal(err)
	}
	for _, command := range []string{"go run ./examples/perf -np 4", "go test ./..."} {
		if !bytes.Contains(readme, []byte("\n    "+command+"\n")) || !bytes.Contains(script, []byte(command)) {
			t.Errorf("%q is not in both README.md and .ci/run", command)
		}
	}
	found := 0
	for _, m := range regexp.MustCompile(`go run \./(\S+)|\]\(([^#)\s][^)\s]*)\)|`+"`"+`((?:collective|examples|transport|topology|\.ci)/[\w./-]*)`+"`").FindAllSubmatch(readme, -1) {
		found++
		name := string(m[1]) + string(m[2]) + string(m[3])
		if _, err := os.Stat(filepath.Join(moduleRoot, filepath.FromSlash(name))); err != nil {
			t.Errorf("the README refers to %s: %v", name, err)
		}
	}
	if found < 10 {
		t.Errorf("got %d references in the README, which has more", found)
	}
}
