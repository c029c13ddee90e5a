package release

import (
	"bytes"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// Each feature of package udp is used by a program of examples or by an Example function.
func TestExamplesUseEveryExportedName(t *testing.T) {
	used := map[string]bool{}
	require.NoError(t, filepath.WalkDir(root(t), func(file string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, err := filepath.Rel(root(t), file)
		require.NoError(t, err)
		name = filepath.ToSlash(name)
		if d.IsDir() {
			if name != "." && (d.Name()[0] == '.' || d.Name() == "testdata") {
				return filepath.SkipDir
			}
			return nil
		}
		program := strings.HasPrefix(name, "examples/") && !strings.HasSuffix(name, "_test.go")
		functions := strings.HasPrefix(d.Name(), "example") && strings.HasSuffix(name, "_test.go")
		if !strings.HasSuffix(name, ".go") || !program && !functions {
			return nil
		}
		f, err := parser.ParseFile(token.NewFileSet(), file, nil, 0)
		require.NoError(t, err)
		ast.Inspect(f, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.SelectorExpr:
				used[n.Sel.Name] = true
			case *ast.KeyValueExpr: // a field in a literal
				if id, ok := n.Key.(*ast.Ident); ok {
					used[id.Name] = true
				}
			case *ast.FuncDecl: // a method of a Handler, or the Example of a method
				used[n.Name.Name] = true
				for _, part := range strings.Split(n.Name.Name, "_") {
					used[part] = true
				}
			}
			return true
		})
		return nil
	}))
	list, err := os.ReadFile(filepath.Join("testdata", "api", "udp.txt"))
	require.NoError(t, err)
	shown := map[string]bool{} // types of constants
	for line := range bytes.Lines(list) {
		if m := constant.FindSubmatch(line); m != nil && used[string(m[1])] {
			shown[string(m[2])] = true
		}
	}
	for line := range bytes.Lines(list) {
		m := exported.FindStringSubmatch(string(line))
		if m == nil {
			continue // a type: its values are what is used
		}
		owner, name := m[1]+m[3], m[2]+m[4]+m[5]
		if c := constant.FindSubmatch(line); c != nil && shown[string(c[2])] {
			continue // another of its values is used
		}
		_, exempt := unshown[owner]
		if owner == "PacketConn" {
			_, exempt = reflect.TypeFor[*net.UDPConn]().MethodByName(name)
		}
		_, itself := unshown[name]
		assert.True(t, used[name] || exempt || itself, "no example uses %s", line)
	}
}

var (
	exported = regexp.MustCompile(`^(?:method \(\*?(\w+)\) (\w+)|type (\w+) (?:struct|interface), (\w+)|(?:const|func|var) (\w+))`)
	constant = regexp.MustCompile(`^const (\w+) (\w+) =`)
)

// unshown are types whose members, and names that, need no example of their own.
var unshown = map[string]string{
	"Stats":        "counters: docs/observability.md has each",
	"Drops":        "counters",
	"SendFailures": "counters",
	"QueueStats":   "counters",
	"WorkersStats": "counters",
	"GroupStats":   "counters",
	"Info":         "results: docs/platforms.md",
	"Network":      "package udptest implements it",
	"NewDatagram":  "for package udptest",
	"LogValue":     "package log/slog calls it",
	"ReadBatch":    "golang.org/x/net calls it",
	"WriteBatch":   "golang.org/x/net calls it",
	"Refusal":      "fields of an ICMP error",
}
