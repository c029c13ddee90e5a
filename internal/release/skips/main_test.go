package main

import (
	"bytes"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const list = `
# A comment.
root,user  ./internal/sys:TestOne/.*  no IPv6
user       ./:TestTwo                 not permitted
wine       !./:Test(A|B)/udp[46]      Wine has none
wine,user  !./internal/sys:TestC      Wine has none
`

func TestOnlyListedTestsMaySkip(t *testing.T) {
	const (
		one = `{"Action":"output","Package":"github.com/udpkit/udp/internal/sys","Test":"TestOne/udp6","Output":"no IPv6 here\n"}
{"Action":"skip","Package":"github.com/udpkit/udp/internal/sys","Test":"TestOne/udp6"}
`
		two = `{"Action":"output","Package":"github.com/udpkit/udp","Test":"TestTwo","Output":"bpf: operation not permitted\n"}
{"Action":"skip","Package":"github.com/udpkit/udp","Test":"TestTwo"}
`
		pass = `{"Action":"pass","Package":"github.com/udpkit/udp","Test":"TestThree"}
{"Action":"output","Package":"github.com/udpkit/udp","Output":"PASS\n"}
{"Action":"output","Package":"github.com/udpkit/udp","Output":"ok  \tgithub.com/udpkit/udp\t1.000s\n"}
{"Action":"pass","Package":"github.com/udpkit/udp"}
`
		fail = `{"Action":"output","Package":"github.com/udpkit/udp","Test":"TestFour","Output":"want 1, got 2\n"}
{"Action":"fail","Package":"github.com/udpkit/udp","Test":"TestFour"}
`
		broken = `{"Action":"build-output","ImportPath":"github.com/udpkit/udp","Output":"undefined: x\n"}
{"Action":"build-fail","ImportPath":"github.com/udpkit/udp"}
`
		hang = `{"Action":"output","Package":"github.com/udpkit/udp","Test":"TestFive","Output":"panic: test timed out\n"}
{"Action":"output","Package":"github.com/udpkit/udp","Output":"FAIL\tgithub.com/udpkit/udp\t9.000s\n"}
{"Action":"fail","Package":"github.com/udpkit/udp"}
`
	)
	for _, test := range []struct {
		name, configuration, events string
		ok                          bool
		output                      string
	}{
		{"listed", "root", one + pass, true, "1 were allowed to skip"},
		{"go test's own line comes last", "root", pass, true, "ok  \tgithub.com/udpkit/udp\t1.000s\n"},
		{"listed for another configuration", "root", two + pass, false, "./:TestTwo must not skip here:\nbpf: operation not permitted"},
		{"listed for this one", "user", one + two + pass, true, "2 were allowed to skip"},
		{"for another reason", "root", strings.Replace(one, "no IPv6", "no memory", 1) + pass, false, "must not skip"},
		{"a test fails", "root", fail + pass, false, "want 1, got 2"},
		{"a package does not build", "root", broken + pass, false, "undefined: x"},
		{"a test does not end", "root", pass + hang, false, "panic: test timed out"},
		{"nothing ran", "root", "", false, "no test passed"},
	} {
		t.Run(test.name, func(t *testing.T) {
			rules, err := parse(strings.NewReader(list), test.configuration)
			require.NoError(t, err)
			var out strings.Builder
			ok, err := check(strings.NewReader(test.events), &out, rules)
			require.NoError(t, err)
			require.Equal(t, test.ok, ok, out.String())
			require.Contains(t, out.String(), test.output)
		})
	}
}

func TestRulesNeedAReason(t *testing.T) {
	_, err := parse(strings.NewReader("root ./:TestOne"), "root")
	require.ErrorContains(t, err, "no reason")
}

func TestWhatDoesNotApplyIsNotRun(t *testing.T) {
	for _, test := range []struct{ configuration, dir, want string }{
		{"wine", ".", "^(?:Test(A|B))$/^(?:udp[46])$"},
		{"wine", "internal/sys", "^(?:TestC)$"},
		{"wine", "session", ""},
		{"user", "internal/sys", "^(?:TestC)$"},
		{"user", ".", ""},
	} {
		rules, err := parse(strings.NewReader(list), test.configuration)
		require.NoError(t, err)
		require.Equal(t, test.want, skipFlag(rules, test.dir), test)
	}
	rules, err := parse(strings.NewReader(list), "wine")
	require.NoError(t, err)
	require.False(t, allow(rules, "./:TestA/udp4", "Wine has none"), "it ran, so it must not skip")
}

// A test that was renamed or removed must leave the list of those that do not apply.
func TestWhatDoesNotApplyExists(t *testing.T) {
	top := filepath.Join("..", "..", "..")
	list, err := os.ReadFile(filepath.Join(top, ".ci", "skips"))
	require.NoError(t, err)
	for line := range strings.Lines(string(list)) {
		fields := strings.Fields(line)
		if len(fields) < 2 || fields[1][0] != '!' || fields[0] == "#" {
			continue
		}
		dir, name, ok := strings.Cut(fields[1][1:], ":")
		require.True(t, ok, line)
		name, _, _ = strings.Cut(name, "/")
		in, function := regexp.MustCompile("^(?:"+dir+")$"), regexp.MustCompile("(?m)^func (?:"+name+`)\(`)
		found := false
		require.NoError(t, filepath.WalkDir(top, func(path string, d os.DirEntry, err error) error {
			if err != nil || !strings.HasSuffix(path, "_test.go") || found {
				return err
			}
			rel, err := filepath.Rel(top, filepath.Dir(path))
			if err != nil || !in.MatchString("./"+strings.TrimPrefix(filepath.ToSlash(rel), ".")) {
				return err
			}
			source, err := os.ReadFile(path)
			found = function.Match(bytes.ReplaceAll(source, []byte("\r"), nil))
			return err
		}))
		require.True(t, found, "no such test: %s", line)
	}
}
