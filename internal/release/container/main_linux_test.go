package main

import (
	"testing"

	"github.com/elastic/go-seccomp-bpf/arch"
	"github.com/opencontainers/runtime-spec/specs-go"
	"github.com/stretchr/testify/require"
	"golang.org/x/net/bpf"
)

// result runs the filter for one call, as the kernel does (seccomp(2), struct seccomp_data).
func result(t *testing.T, name string, args ...uint64) uint32 {
	f, err := filter()
	require.NoError(t, err)
	program, err := f.Policy.Assemble()
	require.NoError(t, err)
	vm, err := bpf.NewVM(program)
	require.NoError(t, err)
	calls, err := arch.GetInfo("")
	require.NoError(t, err)
	// The kernel's loads are of its own byte order, the ones of bpf.VM of the network's.
	data := make([]byte, 64)
	put := func(at int, v uint32) {
		data[at], data[at+1], data[at+2], data[at+3] = byte(v>>24), byte(v>>16), byte(v>>8), byte(v)
	}
	put(0, uint32(calls.SyscallNames[name]))
	put(4, uint32(calls.ID))
	for i, arg := range args {
		put(16+8*i, uint32(arg)) // the lower half comes first on little endian
		put(20+8*i, uint32(arg>>32))
	}
	n, err := vm.Run(data)
	require.NoError(t, err)
	return uint32(n)
}

func TestFilterIsDockers(t *testing.T) {
	const (
		allowed = 0x7fff0000
		eperm   = 0x00050000 | 1
		enosys  = 0x00050000 | 38
	)
	for _, call := range []struct {
		name string
		args []uint64
		want uint32
	}{
		{"recvmmsg", nil, allowed},
		{"setsockopt", nil, allowed},
		{"socket", []uint64{2, 2, 0}, allowed},  // AF_INET
		{"socket", []uint64{16, 3, 0}, allowed}, // AF_NETLINK
		{"socket", []uint64{38, 5, 0}, eperm},   // AF_ALG
		{"clone", []uint64{0x50f00}, allowed},   // a thread
		{"clone", []uint64{0x40000000}, eperm},  // CLONE_NEWNET
		{"clone3", nil, enosys},
		{"unshare", nil, eperm},
		{"setns", nil, eperm},
		{"bpf", nil, eperm},
		{"mount", nil, eperm},
	} {
		require.Equal(t, call.want, result(t, call.name, call.args...), "%+v", call)
	}
}

func TestUnknownRulesAreErrors(t *testing.T) {
	calls, err := arch.GetInfo("")
	require.NoError(t, err)
	_, err = translate(specs.LinuxSyscall{Action: specs.ActKill}, calls)
	require.Error(t, err)
	_, err = translate(specs.LinuxSyscall{Action: specs.ActAllow, Args: []specs.LinuxSeccompArg{{Op: "like"}}}, calls)
	require.Error(t, err)
}
