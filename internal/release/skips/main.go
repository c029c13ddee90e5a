// Command skips reads what go test -json writes and fails if a test was skipped that
// the list does not allow to skip in this configuration:
//
//	go test -json ./... | skips -list .ci/skips -in root
//
// It prints what go test prints without -v: the output of tests that failed, and a
// line for each package. It also fails when a test does.
//
// The list may also say that tests of a package do not apply in a configuration, so that
// they are not run at all. With -exclude it prints them, as the argument of go test -skip:
//
//	skips -list .ci/skips -in windows -exclude internal/sys
package main

import (
	"bufio"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"regexp"
	"slices"
	"strings"
)

func main() {
	list := flag.String("list", ".ci/skips", "the file that lists what may skip")
	in := flag.String("in", "root", "the configuration that the tests ran in")
	exclude := flag.String("exclude", "", "print which tests of the package in this `directory` do not apply")
	flag.Parse()
	f, err := os.Open(*list)
	if err != nil {
		fatal(err)
	}
	defer f.Close()
	allowed, err := parse(f, *in)
	if err != nil {
		fatal(err)
	}
	if *exclude != "" {
		fmt.Print(skipFlag(allowed, *exclude))
		return
	}
	ok, err := check(os.Stdin, os.Stdout, allowed)
	if err != nil {
		fatal(err)
	}
	if !ok {
		os.Exit(1)
	}
}

func fatal(err error) {
	fmt.Fprintln(os.Stderr, "skips:", err)
	os.Exit(2)
}

// rule allows tests to skip for a reason, or says why they do not apply.
type rule struct {
	test   *regexp.Regexp // of the package's directory, a colon and the test's name
	reason *regexp.Regexp // somewhere in the output of the skipped test
	not    string         // the source of test, if the tests do not apply
	used   int
	line   string
}

// parse returns the rules for one configuration. A line has the configurations,
// separated by commas; a regular expression for the whole name of the test; and a
// regular expression for the reason, which may contain spaces. An exclamation mark before
// the name says that the test does not apply; the reason is then for readers.
func parse(r io.Reader, configuration string) (rules []*rule, err error) {
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		line := strings.TrimSpace(lines.Text())
		if line == "" || line[0] == '#' {
			continue
		}
		where, rest, _ := strings.Cut(line, " ")
		test, reason, _ := strings.Cut(strings.TrimSpace(rest), " ")
		reason = strings.TrimSpace(reason)
		if reason == "" {
			return nil, fmt.Errorf("%q has no reason", line)
		}
		rule := &rule{line: line}
		if name, found := strings.CutPrefix(test, "!"); found {
			test, rule.not, reason = name, name, "$."
		}
		if rule.test, err = regexp.Compile("^(?:" + test + ")$"); err != nil {
			return nil, err
		}
		if rule.reason, err = regexp.Compile(reason); err != nil {
			return nil, err
		}
		if slices.Contains(strings.Split(where, ","), configuration) {
			rules = append(rules, rule)
		}
	}
	return rules, lines.Err()
}

// event is what go test -json writes: see go doc test2json.
type event struct{ Action, Package, Test, Output string }

// name is what rules match: the package relative to the module, and the test.
func (e event) name() string {
	dir := strings.TrimPrefix(strings.TrimPrefix(e.Package, "github.com/udpkit/udp"), "/")
	return "./" + dir + ":" + e.Test
}

// check reads events until the end, and reports whether all tests passed or were
// allowed to skip.
func check(r io.Reader, w io.Writer, rules []*rule) (ok bool, err error) {
	var (
		output  = map[event]*strings.Builder{} // of what has not ended yet
		results []string                       // of packages
		wrong   []string
		passed  int
		skipped int
	)
	ok = true
	in := bufio.NewReader(r)
	for {
		line, err := in.ReadString('\n')
		if err == io.EOF && line == "" {
			break
		}
		if err != nil && err != io.EOF {
			return false, err
		}
		var e event
		if json.Unmarshal([]byte(line), &e) != nil {
			fmt.Fprint(w, line)
			continue
		}
		of := event{Package: e.Package, Test: e.Test}
		if output[of] == nil {
			output[of] = new(strings.Builder)
		}
		text := output[of]
		switch e.Action {
		case "output":
			text.WriteString(e.Output)
		case "build-output":
			fmt.Fprint(w, e.Output)
		case "build-fail":
			ok = false
		case "fail":
			ok = false
			if e.Test == "" { // what was running when the package ended
				for k, unfinished := range output {
					if k.Package == e.Package && k.Test != "" {
						fmt.Fprint(w, unfinished)
						delete(output, k)
					}
				}
				results = append(results, text.String())
			} else {
				fmt.Fprint(w, text)
			}
			delete(output, of)
		case "pass":
			if e.Test == "" {
				results = append(results, lastLine(text.String())) // before it are PASS and the like
			} else {
				passed++
			}
			delete(output, of)
		case "skip":
			switch {
			case e.Test == "": // no test files
				results = append(results, text.String())
			case allow(rules, e.name(), text.String()):
				skipped++
			default:
				ok = false
				wrong = append(wrong, fmt.Sprintf("%s must not skip here:\n%s", e.name(), text))
			}
			delete(output, of)
		}
	}
	fmt.Fprintf(w, "%d tests passed, %d were allowed to skip\n", passed, skipped)
	for _, rule := range rules {
		switch {
		case rule.not != "":
			fmt.Fprintf(w, "does not apply: %s\n", rule.line)
		case rule.used == 0:
			fmt.Fprintf(w, "nothing skipped by the rule: %s\n", rule.line)
		}
	}
	for _, result := range results {
		fmt.Fprint(w, result)
	}
	for _, text := range wrong {
		fmt.Fprint(w, text)
	}
	if passed == 0 {
		fmt.Fprintln(w, "no test passed")
		ok = false
	}
	return ok, nil
}

func lastLine(text string) string {
	return text[strings.LastIndexByte(strings.TrimSuffix(text, "\n"), '\n')+1:]
}

// allow reports whether a rule lets a test skip for the reason in its output.
func allow(rules []*rule, name, output string) bool {
	for _, rule := range rules {
		if rule.test.MatchString(name) && rule.reason.MatchString(output) {
			rule.used++
			return true
		}
	}
	return false
}

// skipFlag returns what go test -skip takes for the package in a directory. Each part of
// a name between slashes is an expression of its own there.
func skipFlag(rules []*rule, dir string) string {
	var names []string
	for _, rule := range rules {
		in, name, _ := strings.Cut(rule.not, ":")
		if name == "" || !regexp.MustCompile("^(?:"+in+")$").MatchString("./"+strings.TrimPrefix(dir, ".")) {
			continue
		}
		parts := strings.Split(name, "/")
		for i, part := range parts {
			parts[i] = "^(?:" + part + ")$"
		}
		names = append(names, strings.Join(parts, "/"))
	}
	return strings.Join(names, "|")
}
