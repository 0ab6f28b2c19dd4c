package collective_test

import (
	"bytes"
	"fmt"
	"go/ast"
	"go/format"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/fstest"
)

// topLevel is what the module's folder holds, besides names that begin with a dot.
var topLevel = []string{"CHANGELOG.md", "LICENSE", "README.md", "collective", "cudabridge", "examples", "go.mod", "go.sum", "topology", "transport"}

// machinePath matches a path that exists on somebody's machine only, and otherTree one that leaves the module.
var (
	machinePath = regexp.MustCompile(`(^|[^\w.~-])/(work|farm|root|home|Users)/[\w.]`)
	otherTree   = regexp.MustCompile(`\.\./shared`)
)

// unwanted are the functions that library code leaves to its callers: it does not exit, print, or look at the
// environment.
var unwanted = []string{
	"os.Exit", "os.Getenv", "os.LookupEnv", "os.Environ", "os.ExpandEnv", "os.Stdout", "os.Stderr", "syscall.Getenv",
	"fmt.Print", "fmt.Printf", "fmt.Println", "log.*", "slog.Default",
}

// housekeeping returns what is out of order in the files of a module, one line each, sorted.
func housekeeping(module fs.FS) ([]string, error) {
	var bad []string
	documented := make(map[string]bool) // by folder with Go code other than tests
	err := fs.WalkDir(module, ".", func(name string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && path.Base(name) == ".git":
			return fs.SkipDir
		case !d.Type().IsRegular(), name == ".git": // a file in a linked work tree
			return nil
		}
		text, err := fs.ReadFile(module, name)
		if err != nil {
			return err
		}
		if bytes.IndexByte(text[:min(len(text), 8000)], 0) < 0 && path.Base(name) != "go.sum" {
			for i, line := range strings.Split(string(text), "\n") {
				if machinePath.MatchString(line) || otherTree.MatchString(line) {
					bad = append(bad, fmt.Sprintf("%s:%d: a path outside the module: %s", name, i+1, strings.TrimSpace(line)))
				}
			}
		}
		if path.Ext(name) != ".go" || strings.Contains(name, "testdata/") {
			return nil
		}
		lines, hasDoc, err := housekeepFile(name, text)
		if err != nil {
			return err
		}
		bad = append(bad, lines...)
		if !strings.HasSuffix(name, "_test.go") {
			dir := path.Dir(name)
			documented[dir] = documented[dir] || hasDoc
		}
		return nil
	})
	for dir, ok := range documented {
		if !ok {
			bad = append(bad, dir+": no package comment")
		}
	}
	slices.Sort(bad)
	return bad, err
}

// housekeepFile looks at one Go file and reports whether it has the package comment.
func housekeepFile(name string, text []byte) (bad []string, hasDoc bool, err error) {
	if formatted, err := format.Source(text); err != nil || !bytes.Equal(formatted, text) {
		bad = append(bad, name+": not gofmt-ed")
	}
	files := token.NewFileSet()
	file, err := parser.ParseFile(files, name, text, parser.ParseComments|parser.SkipObjectResolution)
	if err != nil {
		return nil, false, err
	}
	imported := make(map[string]string) // path by the name in the file
	for _, spec := range file.Imports {
		p, err := strconv.Unquote(spec.Path.Value)
		if err != nil {
			return nil, false, err
		}
		local := path.Base(p)
		if spec.Name != nil {
			local = spec.Name.Name
		}
		imported[local] = p
	}
	forbidden := unwanted
	switch {
	case strings.HasSuffix(name, "_test.go"):
		forbidden = []string{"time.Sleep"}
	case file.Name.Name == "main" || strings.HasPrefix(name, "examples/"):
		forbidden = nil
	}
	ast.Inspect(file, func(n ast.Node) bool {
		used := ""
		switch n := n.(type) {
		case *ast.SelectorExpr:
			if x, ok := n.X.(*ast.Ident); ok && imported[x.Name] != "" {
				used = imported[x.Name] + "." + n.Sel.Name
			}
		case *ast.CallExpr:
			if f, ok := n.Fun.(*ast.Ident); ok && len(forbidden) > 1 && (f.Name == "print" || f.Name == "println") {
				bad = append(bad, fmt.Sprintf("%v: uses %s", files.Position(n.Pos()), f.Name))
			}
		}
		if base, _, _ := strings.Cut(used, "."); slices.Contains(forbidden, used) || used != "" && slices.Contains(forbidden, base+".*") {
			bad = append(bad, fmt.Sprintf("%v: uses %s", files.Position(n.Pos()), used))
		}
		return true
	})
	return bad, file.Doc.Text() != "", nil
}

func TestHousekeeping(t *testing.T) {
	module := os.DirFS(moduleRoot)
	bad, err := housekeeping(module)
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range bad {
		t.Error(line)
	}
	for _, line := range strayNames(topNames(t)) {
		t.Error(line)
	}
	for _, name := range []string{"CHANGELOG.md", "LICENSE", "README.md", "go.mod", "go.sum", "collective/DESIGN.md"} {
		if text, err := fs.ReadFile(module, name); err != nil || len(text) < 100 {
			t.Errorf("%s: got %d bytes, %v, want a file that says something", name, len(text), err)
		}
	}
}

// topNames returns what the top folder holds: what git tracks there, so that somebody's own files do not count, or
// everything where there is no git.
func topNames(t *testing.T) []string {
	t.Helper()
	if out, err := exec.Command("git", "-C", moduleRoot, "ls-files", "-z").Output(); err == nil && len(out) > 0 {
		seen := make(map[string]bool)
		for name := range strings.SplitSeq(string(out), "\x00") {
			top, _, _ := strings.Cut(name, "/")
			seen[top] = true
		}
		delete(seen, "")
		var names []string
		for name := range seen {
			names = append(names, name)
		}
		return names
	}
	entries, err := os.ReadDir(moduleRoot)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

// strayNames returns a line for each name that does not belong at the top.
func strayNames(names []string) []string {
	var bad []string
	for _, name := range names {
		if name[0] != '.' && !slices.Contains(topLevel, name) {
			bad = append(bad, name+": does not belong at the top")
		}
	}
	slices.Sort(bad)
	return bad
}

// TestHousekeepingChecker breaks every rule once.
func TestHousekeepingChecker(t *testing.T) {
	file := func(text string) *fstest.MapFile { return &fstest.MapFile{Data: []byte(text)} }
	elsewhere := "/wo" + "rk/x"
	bad, err := housekeeping(fstest.MapFS{
		"good/doc.go":         file("// Package good is good.\npackage good\n"),
		"good/a.go":           file("package good\n\nimport (\n\t\"fmt\"\n\t\"time\"\n)\n\nfunc f() { time.Sleep(1); fmt.Sprint() }\n"),
		"good/log_test.go":    file("package good\n\nimport \"os\"\n\nfunc init() { os.Exit(0) }\n"),
		"good/bin":            file("\x00" + elsewhere),
		"examples/x/main.go":  file("// X is an example.\npackage main\n\nimport \"os\"\n\nfunc main() { os.Exit(0) }\n"),
		"a/silent.go":         file("package a\n"),
		"a/ugly_test.go":      file("package a\nvar  x int\n"),
		"a/sleep_test.go":     file("package a\n\nimport zzz \"time\"\n\nvar x = func() { zzz.Sleep(1) }\n"),
		"b/exit.go":           file("// Package b exits.\npackage b\n\nimport \"os\"\n\nfunc f() { os.Exit(1) }\n"),
		"b/print.go":          file("package b\n\nfunc g() { println() }\n"),
		"b/log.go":            file("package b\n\nimport \"log\"\n\nfunc h() { log.Fatal() }\n"),
		"b/testdata/ugly.go":  file("package b\nvar  x int\n"),
		"notes.md":            file("see\n" + elsewhere + "\n"),
		"script":              file("cat ../sh" + "ared/x\n"),
		".git/description.md": file(elsewhere),
	})
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		"a/sleep_test.go:5:18: uses time.Sleep",
		"a/ugly_test.go: not gofmt-ed",
		"a: no package comment",
		"b/exit.go:6:12: uses os.Exit",
		"b/log.go:5:12: uses log.Fatal",
		"b/print.go:3:12: uses println",
		"notes.md:2: a path outside the module: " + elsewhere,
		"script:1: a path outside the module: cat ../sh" + "ared/x",
	}
	if !slices.Equal(bad, want) {
		t.Errorf("got  %q\nwant %q", bad, want)
	}
	if got, want := strayNames([]string{"go.mod", "utils", ".ci", "collective", "cmd"}), []string{"cmd: does not belong at the top", "utils: does not belong at the top"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}
