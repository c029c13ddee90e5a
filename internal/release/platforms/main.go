// Command platforms writes what .ci/run has recorded in .ci/ran, which is what its steps
// have run on which system, into the tables of README.md and docs/platforms.md:
//
//	go run ./platforms
package main

import (
	"cmp"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

func main() {
	top := flag.String("top", "../..", "the top of the repository")
	flag.Parse()
	if err := update(*top); err != nil {
		fmt.Fprintln(os.Stderr, "platforms:", err)
		os.Exit(1)
	}
}

func update(top string) error {
	recorded, err := os.ReadFile(filepath.Join(top, ".ci", "ran"))
	if err != nil {
		return err
	}
	table, err := render(string(recorded))
	if err != nil {
		return err
	}
	for _, name := range []string{"README.md", "docs/platforms.md"} {
		name = filepath.Join(top, name)
		text, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		with, err := replace(string(text), table)
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		if err := os.WriteFile(name, []byte(with), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// The table is between these lines.
const (
	begin = "<!-- What .ci/run has recorded in .ci/ran; see internal/release/platforms. -->\n"
	end   = "<!-- end -->\n"
)

// replace returns a document with another table.
func replace(document, table string) (string, error) {
	before, rest, ok := strings.Cut(document, begin)
	_, after, closed := strings.Cut(rest, end)
	if !ok || !closed {
		return "", fmt.Errorf("no table between %q and %q", begin, end)
	}
	return before + begin + table + end + after, nil
}

// levels are what can be said of a platform, the best one first.
var levels = []string{"tested", "smoke-tested", "built"}

// names of systems and processors, where users know others than Go's.
var names = map[string]string{
	"aix": "AIX", "android": "Android", "darwin": "macOS", "dragonfly": "DragonFly BSD", "freebsd": "FreeBSD",
	"illumos": "illumos", "ios": "iOS", "js": "WebAssembly", "linux": "Linux", "netbsd": "NetBSD", "openbsd": "OpenBSD",
	"plan9": "Plan 9", "solaris": "Solaris", "wasip1": "WASI", "windows": "Windows",
}

// ran is a row of the table: what was run in the same way on one system.
type ran struct {
	level      int
	system     string
	processors []string
	how        string
}

// render makes a Markdown table of lines of LEVEL, GOOS/GOARCH and HOW, with tabs
// between. Systems of which nothing was run share a row.
func render(recorded string) (string, error) {
	var rows []ran
	var built []string
	executed := map[string]bool{}
	for line := range strings.Lines(recorded) {
		fields := strings.Split(strings.TrimSuffix(line, "\n"), "\t")
		if len(fields) != 3 {
			return "", fmt.Errorf("%q: not LEVEL, GOOS/GOARCH and HOW", line)
		}
		level := slices.Index(levels, fields[0])
		system, processor, ok := strings.Cut(fields[1], "/")
		if level < 0 || !ok || names[system] == "" {
			return "", fmt.Errorf("%q: an unknown level or system", line)
		}
		if levels[level] == "built" {
			built = append(built, system)
			continue
		}
		executed[system] = true
		i := slices.IndexFunc(rows, func(r ran) bool { return r.level == level && r.system == system && r.how == fields[2] })
		if i < 0 {
			i = len(rows)
			rows = append(rows, ran{level: level, system: system, how: fields[2]})
		}
		rows[i].processors = append(rows[i].processors, processor)
	}
	slices.SortFunc(rows, func(a, b ran) int {
		return cmp.Or(a.level-b.level, cmp.Compare(a.system, b.system), cmp.Compare(a.how, b.how))
	})
	var b strings.Builder
	b.WriteString("| Platform | | How |\n| --- | --- | --- |\n")
	for _, r := range rows {
		slices.Sort(r.processors)
		fmt.Fprintf(&b, "| %s, %s | %s | %s |\n", names[r.system], list(r.processors), levels[r.level], r.how)
	}
	var others []string
	for _, system := range built {
		if !executed[system] {
			others = append(others, names[system])
		}
	}
	slices.SortFunc(others, func(a, b string) int { return cmp.Compare(strings.ToLower(a), strings.ToLower(b)) })
	if others = slices.Compact(others); len(others) > 0 {
		fmt.Fprintf(&b, "| %s | built | |\n", list(others))
	}
	return b.String(), nil
}

// list joins names as a sentence does.
func list(names []string) string {
	last := len(names) - 1
	if last < 1 {
		return strings.Join(names, "")
	}
	return strings.Join(names[:last], ", ") + " and " + names[last]
}
