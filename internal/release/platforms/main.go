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

// record is a line of .ci/ran.
type record struct {
	level             int
	system, processor string
	how               string
}

// kind groups the records of one system and level that share a row: runs on the hardware,
// under an emulator, and in an environment such as a container or on another kernel.
func (r record) kind() int {
	switch word, _, _ := strings.Cut(r.how, " "); word {
	case "by":
		return 1
	case "in", "on":
		return 2
	}
	return 0
}

// target is GOOS/GOARCH.
func (r record) target() string { return r.system + "/" + r.processor }

func parse(line string) (record, error) {
	fields := strings.Split(strings.TrimSuffix(line, "\n"), "\t")
	if len(fields) != 3 {
		return record{}, fmt.Errorf("%q: not LEVEL, GOOS/GOARCH and HOW", line)
	}
	r := record{level: slices.Index(levels, fields[0]), how: fields[2]}
	var ok bool
	r.system, r.processor, ok = strings.Cut(fields[1], "/")
	if r.level < 0 || !ok || names[r.system] == "" {
		return record{}, fmt.Errorf("%q: an unknown level or system", line)
	}
	return r, nil
}

// render makes a Markdown table of lines of LEVEL, GOOS/GOARCH and HOW, with tabs
// between. Processors that a system was only built for have a row of its own, and systems on
// which nothing was run share one.
func render(recorded string) (string, error) {
	var ran, built []record
	executed := map[string]bool{} // systems and targets
	for line := range strings.Lines(recorded) {
		r, err := parse(line)
		switch {
		case err != nil:
			return "", err
		case levels[r.level] == "built":
			built = append(built, r)
		default:
			ran = append(ran, r)
			executed[r.system], executed[r.target()] = true, true
		}
	}
	var others []string // systems on which nothing was run
	for _, r := range built {
		switch {
		case !executed[r.system]:
			others = append(others, names[r.system])
		case !executed[r.target()]:
			ran = append(ran, r)
		}
	}
	order := func(a, b record) int {
		return cmp.Or(a.level-b.level, cmp.Compare(a.system, b.system), a.kind()-b.kind())
	}
	slices.SortFunc(ran, func(a, b record) int {
		return cmp.Or(order(a, b), cmp.Compare(a.processor, b.processor), cmp.Compare(a.how, b.how))
	})
	var b strings.Builder
	b.WriteString("| Platform | | How |\n| --- | --- | --- |\n")
	for len(ran) > 0 {
		n := 1
		for n < len(ran) && order(ran[0], ran[n]) == 0 {
			n++
		}
		processors, how := describe(ran[:n])
		if how != "" {
			how += " "
		}
		fmt.Fprintf(&b, "| %s, %s | %s | %s|\n", names[ran[0].system], processors, levels[ran[0].level], how)
		ran = ran[n:]
	}
	slices.SortFunc(others, func(a, b string) int { return cmp.Compare(strings.ToLower(a), strings.ToLower(b)) })
	if others = slices.Compact(others); len(others) > 0 {
		fmt.Fprintf(&b, "| %s | built | |\n", list(others))
	}
	return b.String(), nil
}

// describe returns the processors of a row, and how they were run: each on its own, if they
// differ.
func describe(rs []record) (processors, how string) {
	var all, each, same []string
	for len(rs) > 0 {
		processor := rs[0].processor
		var hows []string
		for len(rs) > 0 && rs[0].processor == processor {
			hows = append(hows, rs[0].how)
			rs = rs[1:]
		}
		same = append(same, strings.Join(hows, ", "))
		all = append(all, processor)
		each = append(each, processor+" "+strings.Join(hows, ", "))
	}
	if same = slices.Compact(same); len(same) == 1 {
		return list(all), same[0]
	}
	return list(all), strings.Join(each, "; ")
}

// list joins names as a sentence does.
func list(names []string) string {
	last := len(names) - 1
	if last < 1 {
		return strings.Join(names, "")
	}
	return strings.Join(names[:last], ", ") + " and " + names[last]
}
