// Package release checks what users get: the module as the proxies hand it out,
// and the README.
package release

import (
	"archive/zip"
	"bytes"
	"encoding/json"
	"go/format"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/mod/module"
	modzip "golang.org/x/mod/zip"
)

const path = "github.com/udpkit/udp"

// root is the top of the repository.
func root(t *testing.T) string {
	t.Helper()
	dir, err := filepath.Abs("../..")
	require.NoError(t, err)
	return dir
}

// run runs a program in a directory and returns what it wrote to stdout. The
// test fails when it does.
func run(t *testing.T, dir string, env []string, name string, args ...string) string {
	t.Helper()
	var out, errs bytes.Buffer
	cmd := exec.CommandContext(t.Context(), name, args...)
	cmd.Dir, cmd.Env, cmd.Stdout, cmd.Stderr = dir, append(os.Environ(), env...), &out, &errs
	require.NoError(t, cmd.Run(), "%s %s:\n%s%s", name, strings.Join(args, " "), &out, &errs)
	return strings.TrimSpace(out.String())
}

// version is the one that proxy says it has.
const version = "v0.0.1-test"

// proxy makes a directory that GOPROXY can name, with one version of the module:
// the files as they are here. It returns the zip file, too.
func proxy(t *testing.T) (dir, file string) {
	t.Helper()
	dir = filepath.Join(t.TempDir(), "proxy")
	versions := filepath.Join(dir, filepath.FromSlash(path), "@v")
	require.NoError(t, os.MkdirAll(versions, 0o755))
	file = filepath.Join(versions, version+".zip")
	f, err := os.Create(file)
	require.NoError(t, err)
	defer f.Close()
	require.NoError(t, modzip.CreateFromDir(f, module.Version{Path: path, Version: version}, root(t)))

	info, err := json.Marshal(map[string]any{"Version": version, "Time": time.Now().UTC()})
	require.NoError(t, err)
	mod, err := os.ReadFile(filepath.Join(root(t), "go.mod"))
	require.NoError(t, err)
	for name, content := range map[string][]byte{
		"list":            []byte(version + "\n"),
		version + ".info": info,
		version + ".mod":  mod,
	} {
		require.NoError(t, os.WriteFile(filepath.Join(versions, name), content, 0o644))
	}
	return dir, file
}

// contents returns the files of the module by their names.
func contents(t *testing.T, file string) map[string]string {
	t.Helper()
	r, err := zip.OpenReader(file)
	require.NoError(t, err)
	defer r.Close()
	files := make(map[string]string)
	for _, f := range r.File {
		in, err := f.Open()
		require.NoError(t, err)
		var b bytes.Buffer
		_, err = b.ReadFrom(in)
		require.NoError(t, err)
		require.NoError(t, in.Close())
		name, ok := strings.CutPrefix(f.Name, path+"@"+version+"/")
		require.True(t, ok, f.Name)
		files[name] = b.String()
	}
	return files
}

func TestModuleHoldsTheLibraryAndNoNestedModule(t *testing.T) {
	_, file := proxy(t)
	files := contents(t, file)
	for _, name := range []string{"go.mod", "LICENSE", "README.md", "CHANGELOG.md", "doc.go", "udp.go", "examples/tour/main.go"} {
		require.Contains(t, files, name)
	}
	for name := range files {
		require.False(t, name != "go.mod" && filepath.Base(name) == "go.mod", name)
		require.False(t, strings.HasPrefix(name, "bench/"), name)
		require.False(t, strings.HasPrefix(name, "internal/release/"), name)
	}
}

// A module outside the tree can require this one, and builds with it: here the example of an
// echo server.
func TestAFreshModuleGetsThisOne(t *testing.T) {
	dir, file := proxy(t)
	fresh := t.TempDir()
	downloads := filepath.Join(run(t, ".", nil, "go", "env", "GOMODCACHE"), "cache", "download")
	env := []string{
		"GOPROXY=" + fileURL(dir) + "," + fileURL(downloads) + "," + run(t, ".", nil, "go", "env", "GOPROXY"),
		"GOMODCACHE=" + filepath.Join(fresh, "cache"), // nothing of this version stays behind
		"GONOSUMDB=" + path, "GOFLAGS=-modcacherw", "GOWORK=off",
	}
	program := filepath.Join(fresh, "program")
	require.NoError(t, os.Mkdir(program, 0o755))
	source := contents(t, file)["examples/echo/main.go"]
	require.NoError(t, os.WriteFile(filepath.Join(program, "main.go"), []byte(source), 0o644))
	run(t, program, env, "go", "mod", "init", "example.com/fresh")
	run(t, program, env, "go", "get", path)
	require.Equal(t, version, run(t, program, env, "go", "list", "-m", "-f", "{{.Version}}", path))
	run(t, program, env, "go", "vet", ".")
	run(t, program, env, "go", "build", "-o", "program"+suffix(), ".")
}

// snippet matches Go in the README.
var snippet = regexp.MustCompile("(?ms)^```go\n(.*?)^```$")

// The README has fragments, no programs: they are at least formatted Go.
func TestReadmeSnippetsAreFormatted(t *testing.T) {
	_, file := proxy(t)
	readme := contents(t, file)["README.md"]
	snippets := snippet.FindAllStringSubmatch(readme, -1)
	require.GreaterOrEqual(t, len(snippets), 2, "a server and a client")
	require.Equal(t, strings.Count(readme, "```go"), len(snippets))
	for _, s := range snippets {
		formatted, err := format.Source([]byte(s[1]))
		require.NoError(t, err, s[1])
		require.Equal(t, s[1], string(formatted), "gofmt")
	}
}

// long lists the examples that may have more than 150 lines, with the reason.
var long = map[string]string{
	"mdns": "a program: two RFCs",
	"ssdp": "a program: a chapter of UPnP",
	"tour": "what the README runs first; it shows every part",
}

// Each example compiles when its files are copied into another module: it imports nothing
// internal. The files are those of the working tree.
func TestExamplesBuildWhenCopied(t *testing.T) {
	examples, err := filepath.Glob(filepath.Join(root(t), "examples", "*", "main.go"))
	require.NoError(t, err)
	require.Greater(t, len(examples), 10)
	clients, err := filepath.Glob(filepath.Join(root(t), "examples", "clients", "*", "main.go"))
	require.NoError(t, err)
	require.NotEmpty(t, clients)
	examples = append(examples, clients...)
	sums, err := os.ReadFile(filepath.Join(root(t), "go.sum"))
	require.NoError(t, err)
	goVersion := run(t, root(t), nil, "go", "list", "-m", "-f", "{{.GoVersion}}")
	for _, main := range examples {
		from := filepath.Dir(main)
		name := filepath.Base(from)
		t.Run(name, func(t *testing.T) {
			fresh := t.TempDir()
			lines := 0
			files, err := filepath.Glob(filepath.Join(from, "*.go"))
			require.NoError(t, err)
			for _, file := range files {
				if strings.HasSuffix(file, "_test.go") {
					continue
				}
				source, err := os.ReadFile(file)
				require.NoError(t, err)
				require.NotContains(t, string(source), path+"/internal/")
				require.NotContains(t, string(source), path+"/examples/")
				lines += bytes.Count(source, []byte("\n"))
				require.NoError(t, os.WriteFile(filepath.Join(fresh, filepath.Base(file)), source, 0o644))
			}
			if long[name] == "" {
				require.LessOrEqual(t, lines, 150, "lines of an example")
			}
			mod := "module example.com/fresh\n\ngo " + goVersion + "\n\nrequire " + path + " v0.0.0\n\nreplace " +
				path + " => " + strconv.Quote(filepath.ToSlash(root(t))) + "\n"
			require.NoError(t, os.WriteFile(filepath.Join(fresh, "go.mod"), []byte(mod), 0o644))
			require.NoError(t, os.WriteFile(filepath.Join(fresh, "go.sum"), sums, 0o644))
			env := []string{"GOFLAGS=-mod=mod", "GOWORK=off"}
			run(t, fresh, env, "go", "build", "-o", "program"+suffix(), ".")
		})
	}
}

func fileURL(dir string) string { return "file://" + filepath.ToSlash(dir) }

func suffix() string {
	if runtime.GOOS == "windows" {
		return ".exe"
	}
	return ""
}

// link matches the target of a link in Markdown.
var link = regexp.MustCompile(`\]\(([^)#\s]+)[^)]*\)`)

func TestLinksInTheDocumentsLeadSomewhere(t *testing.T) {
	var documents []string
	require.NoError(t, filepath.WalkDir(root(t), func(name string, d fs.DirEntry, err error) error {
		if err == nil && filepath.Ext(name) == ".md" {
			documents = append(documents, name)
		}
		return err
	}))
	require.Contains(t, documents, filepath.Join(root(t), "README.md"))
	for _, document := range documents {
		text, err := os.ReadFile(document)
		require.NoError(t, err)
		for _, target := range link.FindAllStringSubmatch(string(text), -1) {
			if strings.Contains(target[1], "://") {
				continue
			}
			_, err := os.Stat(filepath.Join(filepath.Dir(document), target[1]))
			require.NoError(t, err, "%s: %s", document, target[0])
		}
	}
}
