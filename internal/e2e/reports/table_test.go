package reports

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// Each test that the list of doc.go names exists.
func TestTheListNamesTests(t *testing.T) {
	exists := map[string]bool{}
	declared := regexp.MustCompile(`(?m)^func (Test\w+)\(`)
	require.NoError(t, filepath.WalkDir("../../..", func(path string, d fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, "_test.go") {
			return err
		}
		text, err := os.ReadFile(path)
		for _, m := range declared.FindAllStringSubmatch(string(text), -1) {
			exists[m[1]] = true
		}
		return err
	}))
	doc, err := os.ReadFile("doc.go")
	require.NoError(t, err)
	rows := regexp.MustCompile(`(?m)^//\t *(\d+)  .*$`).FindAllString(string(doc), -1)
	require.Len(t, rows, 32)
	for _, row := range rows {
		tests := regexp.MustCompile(`\bTest\w+`).FindAllString(row, -1)
		require.NotEmpty(t, tests, row)
		for _, name := range tests {
			require.True(t, exists[name], "%s: there is no %s", row, name)
		}
	}
}
