package docs_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// testNames are the tests and fuzz targets of the whole repository.
func testNames(t *testing.T) map[string]bool {
	t.Helper()
	exists := map[string]bool{}
	declared := regexp.MustCompile(`(?m)^func ((?:Test|Fuzz)\w+)\(`)
	require.NoError(t, filepath.WalkDir("..", func(path string, _ fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, "_test.go") {
			return err
		}
		text, err := os.ReadFile(path)
		for _, m := range declared.FindAllStringSubmatch(string(text), -1) {
			exists[m[1]] = true
		}
		return err
	}))
	return exists
}

// Each test that a document names exists.
func TestDocumentsNameTests(t *testing.T) {
	exists := testNames(t)
	files, err := filepath.Glob("*.md")
	require.NoError(t, err)
	named := 0
	for _, file := range files {
		text, err := os.ReadFile(file)
		require.NoError(t, err)
		for _, m := range regexp.MustCompile("`(\\w+\\.)?((?:Test|Fuzz)[A-Z]\\w+)`").FindAllStringSubmatch(string(text), -1) {
			if m[1] == "nettest." {
				continue // of golang.org/x/net
			}
			require.True(t, exists[m[2]], "%s: there is no %s", file, m[2])
			named++
		}
	}
	require.Greater(t, named, 50)
}

// Each row of the list of reports about other stacks names tests that exist.
func TestTheListOfReportsNamesTests(t *testing.T) {
	exists := testNames(t)
	doc, err := os.ReadFile("../internal/e2e/reports/doc.go")
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
