// Patchkcp makes a copy of kcp-go with three more lines, by which it calls the ReadBatch and
// WriteBatch of a conn that has them, as quic-go does. It prints the name of a go.mod with that
// copy, for the -modfile flag of the go command. See BenchmarkKCP.
package main

import (
	"bytes"
	"errors"
	"fmt"
	"log"
	"os"
	"os/exec"
	"path/filepath"
)

const (
	module = "github.com/xtaci/kcp-go/v5"
	before = "func newBatchConn(conn net.PacketConn) batchConn {\n"
	more   = "\tif bc, ok := conn.(batchConn); ok {\n\t\treturn bc\n\t}\n"
)

func main() {
	log.SetFlags(0)
	modfile, err := patch()
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(modfile)
}

func patch() (modfile string, err error) {
	dir, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", module).Output()
	if err != nil {
		return "", err
	}
	temp, err := os.MkdirTemp("", "patchkcp")
	if err != nil {
		return "", err
	}
	library := filepath.Join(temp, "kcp-go")
	if err := os.CopyFS(library, os.DirFS(string(bytes.TrimSpace(dir)))); err != nil {
		return "", err
	}
	name := filepath.Join(library, "platform_linux.go")
	source, err := os.ReadFile(name)
	if err != nil {
		return "", err
	}
	if bytes.Count(source, []byte(before)) != 1 {
		return "", errors.New("kcp-go has changed")
	}
	if err := os.Remove(name); err != nil { // the copy is as read-only as the module cache
		return "", err
	}
	source = bytes.Replace(source, []byte(before), []byte(before+more), 1)
	if err := os.WriteFile(name, source, 0o644); err != nil {
		return "", err
	}
	return modfiles(temp, "\nreplace "+module+" => "+library+"\n")
}

// modfiles copies go.mod, with one more line, and go.sum.
func modfiles(dir, line string) (modfile string, err error) {
	modfile = filepath.Join(dir, "patched.mod")
	for from, to := range map[string]string{"go.mod": modfile, "go.sum": filepath.Join(dir, "patched.sum")} {
		b, err := os.ReadFile(from)
		if err != nil {
			return "", err
		}
		if from == "go.mod" {
			b = append(b, line...)
		}
		if err := os.WriteFile(to, b, 0o644); err != nil {
			return "", err
		}
	}
	return modfile, nil
}
