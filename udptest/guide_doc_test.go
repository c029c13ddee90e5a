package udptest_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestTheGuideShowsWhatIsCompiled makes sure that each snippet of
// docs/testing.md is in guide_test.go, in pcap's example or in guide_test.go of
// internal/ecosystem, and that each function of the first is shown.
func TestTheGuideShowsWhatIsCompiled(t *testing.T) {
	source, err := os.ReadFile("guide_test.go")
	require.NoError(t, err)
	capture, err := os.ReadFile("../pcap/example_test.go")
	require.NoError(t, err)
	ecosystem, err := os.ReadFile("../internal/ecosystem/guide_test.go")
	require.NoError(t, err)
	guide, err := os.ReadFile("../docs/testing.md")
	require.NoError(t, err)
	files := token.NewFileSet()
	f, err := parser.ParseFile(files, "guide_test.go", source, parser.ParseComments)
	require.NoError(t, err)
	shown := 0
	for _, block := range regexp.MustCompile("(?s)```go\n(.*?)```").FindAllStringSubmatch(string(guide), -1) {
		require.Contains(t, string(source)+string(capture)+string(ecosystem), strings.TrimRight(block[1], "\n")+"\n")
		_, err := parser.ParseFile(files, "", "package p\n"+block[1], 0)
		require.NoError(t, err, "a snippet is whole functions:\n%s", block[1])
		shown++
	}
	require.NotZero(t, shown)
	for _, d := range f.Decls {
		if fn, ok := d.(*ast.FuncDecl); ok {
			text := string(source[files.Position(fn.Pos()).Offset:files.Position(fn.End()).Offset])
			require.Contains(t, string(guide), text, "%s is shown nowhere", fn.Name.Name)
		}
	}
}
