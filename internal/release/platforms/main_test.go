package main

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestRowsAreWhatWasRecorded(t *testing.T) {
	table, err := render("built\tlinux/mips\t\nbuilt\tlinux/arm\t\nbuilt\tlinux/s390x\t\nbuilt\topenbsd/386\t\nbuilt\tfreebsd/amd64\t\nbuilt\tdarwin/arm64\t\n" +
		"smoke-tested\tlinux/s390x\tby QEMU\nsmoke-tested\tlinux/riscv64\tby QEMU\ntested\tlinux/arm64\tby QEMU\n" +
		"smoke-tested\twindows/amd64\tunder Wine\nsmoke-tested\tlinux/amd64\ton Linux 6.1\n" +
		"smoke-tested\tlinux/amd64\tin gVisor\ntested\tlinux/amd64\tas root and as a user\ntested\tlinux/386\tas root\n")
	require.NoError(t, err)
	require.Equal(t, `| Platform | | How |
| --- | --- | --- |
| Linux, 386 and amd64 | tested | 386 as root; amd64 as root and as a user |
| Linux, arm64 | tested | by QEMU |
| Linux, riscv64 and s390x | smoke-tested | by QEMU |
| Linux, amd64 | smoke-tested | in gVisor, on Linux 6.1 |
| Windows, amd64 | smoke-tested | under Wine |
| Linux, arm and mips | built | |
| FreeBSD, macOS and OpenBSD | built | |
`, table)
}

func TestRecordsAreChecked(t *testing.T) {
	for _, record := range []string{"tested linux/amd64", "guessed\tlinux/amd64\t\n", "tested\tlinux\t\n", "tested\tmultics/amd64\t\n"} {
		_, err := render(record)
		require.Error(t, err, record)
	}
}

// What the documents say of platforms is what .ci/run has recorded.
func TestDocumentsSayWhatRan(t *testing.T) {
	recorded, err := os.ReadFile("../../../.ci/ran")
	require.NoError(t, err)
	table, err := render(string(recorded))
	require.NoError(t, err)
	for _, name := range []string{"README.md", "docs/platforms.md"} {
		text, err := os.ReadFile(filepath.Join("../../..", name))
		require.NoError(t, err)
		with, err := replace(string(text), table)
		require.NoError(t, err, name)
		require.Equal(t, with, string(text), "run this in internal/release: go run ./platforms")
	}
}
