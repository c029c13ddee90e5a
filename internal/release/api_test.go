package release

import (
	"bytes"
	"cmp"
	"flag"
	"fmt"
	"go/importer"
	"go/token"
	"go/types"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

var update = flag.Bool("update", false, "write the exported names of today to testdata/api")

// A change of what is exported shows in a file that is reviewed with it. After an
// intended one, write the files again, in the root of the repository:
//
//	go test -C internal/release -run TestExportedAPI -args -update
func TestExportedAPI(t *testing.T) {
	// What is exported on Linux is what is exported: names do not depend on the system.
	env := []string{"GOOS=linux", "GOARCH=amd64", "CGO_ENABLED=0", "GOWORK=off"}
	exports := make(map[string]string)
	var public []string
	for line := range strings.Lines(run(t, root(t), env, "go", "list", "-export", "-deps", "-f",
		"{{.ImportPath}}\t{{.Name}}\t{{.Export}}", "./...")) {
		f := strings.Split(strings.TrimSpace(line), "\t")
		if len(f) < 3 {
			continue // unsafe has no export data
		}
		exports[f[0]] = f[2]
		if f[1] != "main" && (f[0] == path || strings.HasPrefix(f[0], path+"/")) && !strings.Contains(f[0]+"/", "/internal/") {
			public = append(public, f[0])
		}
	}
	require.Contains(t, public, path)
	imports := importer.ForCompiler(token.NewFileSet(), "gc", func(path string) (io.ReadCloser, error) {
		return os.Open(exports[path])
	})
	dir := filepath.Join("testdata", "api")
	kept := make(map[string]bool)
	for _, name := range public {
		pkg, err := imports.Import(name)
		require.NoError(t, err)
		list := api(pkg)
		if list == "" {
			continue // only internal packages use it
		}
		file := strings.ReplaceAll(strings.TrimPrefix(name, "github.com/udpkit/"), "/", "-") + ".txt"
		kept[file] = true
		file = filepath.Join(dir, file)
		if *update {
			require.NoError(t, os.MkdirAll(dir, 0o755))
			require.NoError(t, os.WriteFile(file, []byte(list), 0o644))
			continue
		}
		want, err := os.ReadFile(file)
		if !os.IsNotExist(err) {
			require.NoError(t, err)
		}
		assert.Equal(t, string(bytes.ReplaceAll(want, []byte("\r"), nil)), list,
			"%s is not what %s exports; if the change is intended, see TestExportedAPI", file, name)
	}
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	for _, e := range entries {
		if !kept[e.Name()] {
			if *update {
				require.NoError(t, os.Remove(filepath.Join(dir, e.Name())))
				continue
			}
			assert.Fail(t, "no such package", e.Name())
		}
	}
}

// api lists what a package exports, a name on each line.
func api(pkg *types.Package) string {
	qualifier := func(p *types.Package) string {
		if p == pkg {
			return ""
		}
		return p.Name()
	}
	var lines []string
	add := func(format string, args ...any) { lines = append(lines, fmt.Sprintf(format, args...)) }
	for _, name := range pkg.Scope().Names() {
		o := pkg.Scope().Lookup(name)
		if !o.Exported() {
			continue
		}
		text := types.ObjectString(o, qualifier)
		t, ok := o.(*types.TypeName)
		if !ok {
			if c, ok := o.(*types.Const); ok {
				text = fmt.Sprintf("const %s %s = %s", name, types.TypeString(c.Type(), qualifier), c.Val())
			}
			add("%s", text)
			continue
		}
		switch u := t.Type().Underlying().(type) {
		case *types.Struct:
			add("type %s struct", name)
			for f := range u.Fields() {
				if f.Exported() {
					add("type %s struct, %s %s", name, f.Name(), types.TypeString(f.Type(), qualifier))
				}
			}
		case *types.Interface:
			add("type %s interface", name)
			for m := range u.Methods() {
				if m.Exported() {
					add("type %s interface, %s%s", name, m.Name(), strings.TrimPrefix(types.TypeString(m.Type(), qualifier), "func"))
				}
			}
			continue
		default:
			add("%s", text)
		}
		methods := types.NewMethodSet(types.NewPointer(t.Type()))
		for m := range methods.Methods() {
			if m.Obj().Exported() {
				receiver := "*" + name
				if types.NewMethodSet(t.Type()).Lookup(pkg, m.Obj().Name()) != nil {
					receiver = name
				}
				add("method (%s) %s%s", receiver, m.Obj().Name(), strings.TrimPrefix(types.TypeString(m.Type(), qualifier), "func"))
			}
		}
	}
	slices.SortStableFunc(lines, cmp.Compare)
	return strings.Join(append(lines, ""), "\n")
}
