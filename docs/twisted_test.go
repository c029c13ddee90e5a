package docs_test

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const (
	twistedPage      = "from-twisted.md"
	twistedChecklist = "testdata/twisted.md"
)

// checklist has how many rows of each letter Twisted's behaviours have.
var checklist = []struct {
	letter string
	rows   int
}{{"L", 8}, {"P", 9}, {"S", 5}, {"W", 8}, {"C", 8}, {"R", 4}, {"M", 8}, {"B", 2}, {"A", 3}, {"N", 3}, {"V", 3}}

// twistedTests are Twisted's test cases of UDP, by file and class.
var twistedTests = map[string]string{
	"UDPTests.":                        "test_oldAddress test_startStop test_rebind test_bindError test_sendPackets test_connectionRefused test_serverReadFailure test_badConnect test_datagramReceivedError test_NoWarningOnBroadcast",
	"ReactorShutdownInteractionTests.": "testShutdownFromDatagramReceived",
	"MulticastTests.":                  "testTTL test_loopback test_interface test_joinLeave test_joinFailure test_multicast test_multiListen",
	"DatagramTransportTestsMixin.":     "test_startedListeningLogMessage test_connectionLostLogMessage test_stopProtocolScheduling",
	"UDPPortTestsMixin.":               "test_interface test_getHost test_getHostIPv6 test_invalidInterface test_logPrefix test_writeSequence test_str test_repr test_writeToIPv6Interface test_connectedWriteToIPv6Interface test_writingToHostnameRaisesInvalidAddressError test_writingToIPv6OnIPv4RaisesInvalidAddressError test_writingToIPv4OnIPv6RaisesInvalidAddressError test_connectingToHostnameRaisesInvalidAddressError test_allowBroadcast",
	"test_udp_internals.":              "test_socketReadNormal test_readImmediateError test_connectedReadImmediateError test_readUnknownError",
	"AdoptDatagramPortErrors.":         "test_invalidDescriptor test_invalidAddressFamily test_stopOnlyCloses",
	"test_resolver: ":                  "resolveOneHost resolveOneIPv6Host gaierror resolveOnlyIPv4 resolveOnlyIPv6 resolveBoth transportSemanticsToSocketType socketTypeToAddressType success failure error simplifier portNumber installingOldStyleResolver defaultToGAIResolver logErrorsInThreads",
}

// Every behaviour and every test of Twisted's is in the checklist, once, with tests
// that exist or with the reason why it has none.
func TestTwistedPage(t *testing.T) {
	page, err := os.ReadFile(twistedChecklist)
	require.NoError(t, err)
	known := map[string][]string{}
	testsIn(t, "..", "", known)
	testsIn(t, "../internal/e2e/*", "", known)
	testsIn(t, "../internal/send", "", known)
	testsIn(t, "../udptest", "udptest.", known)

	want := map[string]bool{}
	for _, c := range checklist {
		for n := range c.rows {
			want[fmt.Sprint(c.letter, n+1)] = true
		}
	}
	for class, names := range twistedTests {
		for _, name := range strings.Fields(names) {
			want[class+name] = true
		}
	}

	proofs := regexp.MustCompile("`((?:udptest\\.)?Test[A-Za-z]+)`")
	row := regexp.MustCompile(`^\| (?:([A-Z][0-9]) \||((?:[A-Za-z_]+\.|test_resolver: )[^|]+) \| )`)
	for line := range strings.Lines(string(page)) {
		m := row.FindStringSubmatch(line)
		if m == nil {
			continue
		}
		names := []string{m[1]}
		if m[1] == "" {
			class, list, _ := strings.Cut(m[2], ".")
			sep := "."
			if strings.HasPrefix(m[2], "test_resolver: ") {
				class, list, sep = "test_resolver", strings.TrimPrefix(m[2], "test_resolver: "), ": "
			}
			names = nil
			for name := range strings.SplitSeq(list, ", ") {
				names = append(names, class+sep+name)
			}
		}
		for _, name := range names {
			require.True(t, want[name], "%s is no row of Twisted's, or is there twice", name)
			delete(want, name)
		}
		tests := proofs.FindAllStringSubmatch(line, -1)
		if len(tests) == 0 {
			require.Regexp(t, `(no meaning: |no name of its own: )[^|]+\|$`, strings.TrimSpace(line), "no test and no reason")
		}
		for _, test := range tests {
			for _, name := range names {
				require.Contains(t, known[test[1]], strings.ReplaceAll(name, " ", ""),
					"%s proves %s, but there is no such test, or its comment does not say so", test[1], name)
			}
		}
	}
	require.Empty(t, want, "rows that the checklist does not have")
}

// testsIn finds the tests of a package, and the rows that they prove: those at the
// end of a test's comment, after "Twisted:".
func testsIn(t *testing.T, dir, prefix string, known map[string][]string) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*_test.go"))
	require.NoError(t, err)
	for _, file := range files {
		f, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.SkipObjectResolution|parser.ParseComments)
		require.NoError(t, err)
		for _, d := range f.Decls {
			if fn, ok := d.(*ast.FuncDecl); ok && fn.Recv == nil && strings.HasPrefix(fn.Name.Name, "Test") {
				_, rows, _ := strings.Cut(fn.Doc.Text(), "Twisted: ")
				known[prefix+fn.Name.Name] = strings.Fields(rows)
			}
		}
	}
}

// The programs on the page compile, and pass vet.
func TestTwistedProgramsCompile(t *testing.T) {
	if testing.Short() {
		t.Skip("runs the go command")
	}
	goCommand, err := exec.LookPath("go")
	if err != nil {
		t.Skip(err)
	}
	page, err := os.ReadFile(twistedPage)
	require.NoError(t, err)
	programs := regexp.MustCompile("(?s)## ([^\n]*)\n\n```go\n(.*?)```").FindAllStringSubmatch(string(page), -1)
	require.Len(t, programs, strings.Count(string(page), "```go"))
	require.Len(t, programs, 2)
	for _, p := range programs {
		t.Run(p[1], func(t *testing.T) {
			require.Contains(t, p[2], "package main")
			file := filepath.Join(t.TempDir(), "main.go")
			require.NoError(t, os.WriteFile(file, []byte(p[2]), 0o600))
			out, err := exec.CommandContext(t.Context(), goCommand, "vet", file).CombinedOutput()
			require.NoError(t, err, "%s", out)
			gofmt, err := exec.CommandContext(t.Context(), goCommand, "fmt", "-n", file).CombinedOutput()
			require.NoError(t, err, "%s", gofmt)
		})
	}
}
