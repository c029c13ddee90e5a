package release

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// layers are the packages of the main module, from the bottom up. A package may
// import those of layers below its own, and nothing else of this module. A name
// with "/..." stands for all packages in that directory, which may import each
// other.
var layers = [][]string{
	{"internal/bounded", "internal/buffer", "internal/cmsg", "internal/events", "internal/life", "internal/netns"},
	{"internal/socket"},
	{"internal/gso", "internal/resolve", "internal/stats", "internal/sys", "internal/tap"},
	{"internal/guard", "internal/ifmon"},
	{"internal/mcast"},
	{"internal/send"},
	{"internal/packetconn", "internal/peer"},
	{"."},
	{"session", "exchange", "limit", "udpdebug"},
	{"metrics"},
	{"udptest", "internal/conformance", "internal/sockettest"},
	{"udptest/gossip", "internal/e2e/...", "examples/..."},
}

// modules are those of other people that code outside tests may import, and the
// packages that may do so.
var modules = map[string][]string{
	"golang.org/x/sys":                {"internal/cmsg", "internal/conformance", "internal/netns", "internal/sockettest", "internal/sys"}, // system calls
	"golang.org/x/net/ipv4":           {".", "internal/packetconn", "internal/sys"},
	"golang.org/x/net/ipv6":           {".", "internal/sys"},
	"golang.org/x/net/dns/dnsmessage": {"examples/..."},
	"golang.org/x/time/rate":          {"exchange", "limit"},
	"github.com/stretchr/testify":     {"examples/internal/program", "internal/conformance", "internal/sockettest", "internal/e2e/..."},
	"go.uber.org/goleak":              {"examples/internal/program"},
}

const maxLines = 400

// file is a Go file of the main module that is no test.
type file struct {
	name, dir string // relative to the root, with slashes
	text      string
	set       *token.FileSet
	*ast.File
}

// sources parses the files of the main module that are no tests, whatever
// systems they are for.
func sources(t *testing.T) (files []file) {
	t.Helper()
	top := root(t)
	require.NoError(t, filepath.WalkDir(top, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, err := filepath.Rel(top, path)
		require.NoError(t, err)
		name = filepath.ToSlash(name)
		if d.IsDir() {
			_, err := os.Stat(filepath.Join(path, "go.mod"))
			if base := d.Name(); name != "." && (err == nil || base[0] == '.' || base[0] == '_' || base == "testdata") {
				return filepath.SkipDir
			}
			return nil
		}
		assert.NotEqual(t, ".s", filepath.Ext(name), "assembly: %s", name)
		if !strings.HasSuffix(name, ".go") || strings.HasSuffix(name, "_test.go") {
			return nil
		}
		text, err := os.ReadFile(path)
		require.NoError(t, err)
		set := token.NewFileSet()
		f, err := parser.ParseFile(set, name, text, parser.ParseComments)
		require.NoError(t, err)
		files = append(files, file{name, filepath.ToSlash(filepath.Dir(name)), string(text), set, f})
		return nil
	}))
	require.NotEmpty(t, files)
	return files
}

// covers reports whether a pattern of layers or modules means that package.
func covers(pattern, dir string) bool {
	parent, all := strings.CutSuffix(pattern, "/...")
	return dir == pattern || all && strings.HasPrefix(dir, parent+"/")
}

// layer returns the number of the layer of a package and the pattern that it is listed by.
func layer(t *testing.T, dir string) (int, string) {
	t.Helper()
	for i, packages := range layers {
		for _, pattern := range packages {
			if covers(pattern, dir) {
				return i, pattern
			}
		}
	}
	require.Fail(t, "a new package needs a layer", "%s: see layers in layout_test.go", dir)
	return 0, ""
}

func TestImportsPointDownwards(t *testing.T) {
	for _, f := range sources(t) {
		own, pattern := layer(t, f.dir)
		for _, spec := range f.Imports {
			imported, err := strconv.Unquote(spec.Path.Value)
			require.NoError(t, err)
			if imported == path || strings.HasPrefix(imported, path+"/") {
				dir := "."
				if imported != path {
					dir = strings.TrimPrefix(imported, path+"/")
				}
				other, its := layer(t, dir)
				assert.True(t, other < own || pattern == its && strings.HasSuffix(its, "/..."),
					"%s imports %s, which is not in a lower layer", f.name, imported)
				continue
			}
			if first, _, _ := strings.Cut(imported, "/"); !strings.Contains(first, ".") {
				continue // the standard library
			}
			allowed := false
			for module, by := range modules {
				if imported == module || strings.HasPrefix(imported, module+"/") {
					allowed = allowed || slices.ContainsFunc(by, func(p string) bool { return covers(p, f.dir) })
				}
			}
			assert.True(t, allowed, "%s imports %s: see modules in layout_test.go", f.name, imported)
		}
	}
}

// There is one path through the code: nothing runs before main, nothing reaches
// into the runtime, and what depends on the system is in files of that system.
func TestCodeHasNoBackDoors(t *testing.T) {
	for _, f := range sources(t) {
		for _, group := range f.Comments {
			for _, c := range group.List {
				assert.False(t, strings.HasPrefix(c.Text, "//go:linkname"), "%s: go:linkname", f.name)
			}
		}
		for _, d := range f.Decls {
			if d, ok := d.(*ast.FuncDecl); ok && d.Recv == nil {
				assert.NotEqual(t, "init", d.Name.Name, "%s has an init function", f.name)
			}
		}
		ast.Inspect(f.File, func(n ast.Node) bool {
			if s, ok := n.(*ast.SelectorExpr); ok {
				if x, ok := s.X.(*ast.Ident); ok {
					assert.False(t, x.Name == "runtime" && s.Sel.Name == "GOOS", "%s checks runtime.GOOS", f.name)
				}
			}
			return true
		})
	}
}

func TestFilesAreShort(t *testing.T) {
	for _, f := range sources(t) {
		assert.LessOrEqual(t, strings.Count(f.text, "\n"), maxLines, f.name)
	}
}

// helpers are the first words of the names of root test files that belong to no source file.
var helpers = []string{"alloc", "bench", "conformance", "example", "export", "main", "norace", "race"}

// source returns the file that a root test file is about by its name, such as send.go for
// send_batch_test.go and send_linux_test.go; "" if there is none.
func source(test string, exists func(name string) bool) string {
	name := strings.TrimSuffix(test, "_test.go")
	for {
		if exists(name + ".go") {
			return name + ".go"
		}
		last := strings.LastIndexByte(name, '_')
		if last < 0 {
			return ""
		}
		name = name[:last]
	}
}

// Whoever looks for the tests of a file of the root finds them by its name.
func TestRootTestsAreNamedAfterWhatTheyTest(t *testing.T) {
	names, err := filepath.Glob(filepath.Join(root(t), "*_test.go"))
	require.NoError(t, err)
	require.NotEmpty(t, names)
	exists := func(name string) bool {
		_, err := os.Stat(filepath.Join(root(t), name))
		return err == nil
	}
	for _, name := range names {
		name = filepath.Base(name)
		first, _, _ := strings.Cut(strings.TrimSuffix(name, "_test.go"), "_")
		assert.True(t, slices.Contains(helpers, first) || source(name, exists) != "",
			"%s starts with the name of no source file", name)
	}
	only := func(name string) bool { return name == "send.go" }
	assert.Equal(t, "send.go", source("send_test.go", only))
	assert.Equal(t, "send.go", source("send_batch_linux_test.go", only))
	assert.Empty(t, source("sending_test.go", only))
	assert.Empty(t, source("batch_send_test.go", only))
}

// What a socket keeps is in structs that each have their owner, not in fields of Conn.
func TestConnHasFewFields(t *testing.T) {
	const most = 15
	for _, f := range sources(t) {
		if f.dir != "." || f.Scope.Lookup("Conn") == nil {
			continue
		}
		n := 0
		for _, field := range fields(f.Scope.Lookup("Conn").Decl.(*ast.TypeSpec).Type) {
			n += max(len(field.Names), 1)
		}
		assert.LessOrEqual(t, n, most)
		assert.NotZero(t, n)
		return
	}
	assert.Fail(t, "no Conn")
}

// Every exported name of a package that others can import has a doc comment: its
// own, that of its group, or, for a field, a comment on its line. Fields on
// successive lines may share one.
func TestExportedNamesHaveComments(t *testing.T) {
	for _, f := range sources(t) {
		if strings.Contains("/"+f.dir+"/", "/internal/") || f.Name.Name == "main" {
			continue
		}
		missing := func(n ast.Node, name string) {
			assert.Fail(t, "no doc comment", "%v: %s", f.set.Position(n.Pos()), name)
		}
		for _, d := range f.Decls {
			switch d := d.(type) {
			case *ast.FuncDecl:
				if d.Name.IsExported() && d.Doc == nil && (d.Recv == nil || exportedType(d.Recv.List[0].Type)) {
					missing(d, d.Name.Name)
				}
			case *ast.GenDecl:
				documented := d.Doc != nil
				for _, s := range d.Specs {
					switch s := s.(type) {
					case *ast.TypeSpec:
						if !s.Name.IsExported() {
							continue
						}
						if !documented && s.Doc == nil {
							missing(s, s.Name.Name)
						}
						described, last := false, 0
						for _, field := range fields(s.Type) {
							line := f.set.Position(field.Pos()).Line
							described = field.Doc != nil || described && line == last+1
							last = f.set.Position(field.End()).Line
							if described || field.Comment != nil {
								continue
							}
							for _, name := range field.Names {
								if name.IsExported() {
									missing(name, s.Name.Name+"."+name.Name)
								}
							}
						}
					case *ast.ValueSpec:
						for _, name := range s.Names {
							if name.IsExported() && !documented && s.Doc == nil && s.Comment == nil {
								missing(name, name.Name)
							}
						}
					}
				}
			}
		}
	}
}

// exportedType reports whether the type of a receiver is exported.
func exportedType(x ast.Expr) bool {
	for {
		switch t := x.(type) {
		case *ast.StarExpr:
			x = t.X
		case *ast.IndexExpr:
			x = t.X
		case *ast.IndexListExpr:
			x = t.X
		case *ast.Ident:
			return t.IsExported()
		default:
			return false
		}
	}
}

// fields are those of a struct or the methods of an interface.
func fields(x ast.Expr) []*ast.Field {
	switch x := x.(type) {
	case *ast.StructType:
		return x.Fields.List
	case *ast.InterfaceType:
		return x.Methods.List
	}
	return nil
}
