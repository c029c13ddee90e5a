package release

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// FailNow, and what calls it, ends the goroutine that it is called on, so only that of the
// test may call it (https://pkg.go.dev/testing#T.FailNow). go vet finds calls of FailNow
// itself, but not those of package require. Functions started with go, those given to
// WaitGroup.Go and time.AfterFunc, and those that a socket calls are other goroutines'.
func TestOnlyTheGoroutineOfATestEndsIt(t *testing.T) {
	files := 0
	require.NoError(t, filepath.WalkDir(root(t), func(name string, d fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(name, "_test.go") {
			return err
		}
		files++
		set := token.NewFileSet()
		f, err := parser.ParseFile(set, name, nil, parser.SkipObjectResolution)
		require.NoError(t, err)
		ast.Inspect(f, func(n ast.Node) bool {
			for _, body := range others(n) {
				ast.Inspect(body, func(n ast.Node) bool {
					call, ok := n.(*ast.CallExpr)
					if !ok {
						return true
					}
					if isTest(call) {
						return false
					}
					assert.False(t, ends(call), "%v: this may end another goroutine than the test's: use assert", set.Position(call.Pos()))
					return true
				})
			}
			return true
		})
		return nil
	}))
	require.Greater(t, files, 100)
}

// others returns the functions of a statement that run on goroutines of their own.
func others(n ast.Node) (bodies []ast.Node) {
	switch n := n.(type) {
	case *ast.GoStmt:
		return []ast.Node{n.Call}
	case *ast.CallExpr:
		switch called(n) {
		case "Go", "AfterFunc", "HandlerFunc":
			for _, arg := range n.Args {
				if f, ok := arg.(*ast.FuncLit); ok {
					bodies = append(bodies, f.Body)
				}
			}
		}
	}
	return bodies
}

// isTest reports whether a call runs a function as a test, with a goroutine of its own.
func isTest(call *ast.CallExpr) bool {
	s, ok := call.Fun.(*ast.SelectorExpr)
	if !ok {
		return false
	}
	x, _ := s.X.(*ast.Ident)
	return x != nil && (s.Sel.Name == "Run" && (x.Name == "t" || x.Name == "b") || s.Sel.Name == "Test" && x.Name == "synctest")
}

// ends reports whether a call may end the goroutine that it is called on.
func ends(call *ast.CallExpr) bool {
	s, ok := call.Fun.(*ast.SelectorExpr)
	if !ok {
		return false
	}
	x, _ := s.X.(*ast.Ident)
	if x == nil {
		return false
	}
	switch x.Name {
	case "require":
		return s.Sel.Name != "New"
	case "sockettest":
		return strings.HasPrefix(s.Sel.Name, "Require") || s.Sel.Name == "Next"
	case "t", "b", "f":
		switch s.Sel.Name {
		case "Fatal", "Fatalf", "FailNow", "Skip", "Skipf", "SkipNow":
			return true
		}
	}
	return false
}

// called returns the name of the function or method that is called.
func called(call *ast.CallExpr) string {
	switch f := call.Fun.(type) {
	case *ast.SelectorExpr:
		return f.Sel.Name
	case *ast.Ident:
		return f.Name
	}
	return ""
}
