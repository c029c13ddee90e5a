// Command container runs a statically linked program as a container engine would run it in
// an image that holds nothing else: in an empty root, as an ordinary user without any
// capability, and with the filter of system calls that Docker sets by default.
//
//	container -root directory [-in directory] program argument...
//
// The first directory becomes the root; the other one and program are paths in it.
package main

import (
	"flag"
	"fmt"
	"os"
	"syscall"

	"github.com/elastic/go-seccomp-bpf"
	"github.com/elastic/go-seccomp-bpf/arch"
	docker "github.com/moby/profiles/seccomp"
	"github.com/opencontainers/runtime-spec/specs-go"
)

func main() {
	root := flag.String("root", "", "the `directory` that becomes the root")
	in := flag.String("in", "/", "the `directory` to start in")
	user := flag.Int("user", 65534, "user and group")
	flag.Parse()
	if *root == "" || flag.NArg() == 0 {
		flag.Usage()
		os.Exit(2)
	}
	fmt.Fprintln(os.Stderr, "container:", run(*root, *in, *user, flag.Args()))
	os.Exit(1)
}

// run returns only if the program can't be started.
func run(root, in string, user int, command []string) error {
	filter, err := filter()
	if err != nil {
		return err
	}
	for _, step := range []func() error{
		func() error { return syscall.Chroot(root) },
		func() error { return syscall.Chdir(in) },
		func() error { return syscall.Setgroups(nil) },
		func() error { return syscall.Setgid(user) },
		func() error { return syscall.Setuid(user) },
		func() error { return seccomp.LoadFilter(filter) },
	} {
		if err := step(); err != nil {
			return err
		}
	}
	return syscall.Exec(command[0], command, []string{"HOME=/", "TMPDIR=/tmp", "PATH=/"})
}

// filter translates Docker's profile for a process without capabilities.
func filter() (seccomp.Filter, error) {
	profile, err := docker.GetDefaultProfile(&specs.Spec{Process: &specs.Process{Capabilities: &specs.LinuxCapabilities{}}})
	if err != nil {
		return seccomp.Filter{}, err
	}
	calls, err := arch.GetInfo("")
	if err != nil {
		return seccomp.Filter{}, err
	}
	if profile.DefaultAction != specs.ActErrno {
		return seccomp.Filter{}, fmt.Errorf("the default action is %s", profile.DefaultAction)
	}
	policy := seccomp.Policy{DefaultAction: seccomp.ActionErrno} // with EPERM, as Docker's
	// They come last and together: the library compares what it has loaded of an argument
	// with the numbers of the calls that follow.
	conditional := seccomp.SyscallGroup{Action: seccomp.ActionAllow}
	for _, rule := range profile.Syscalls {
		group, err := translate(rule, calls)
		if err != nil {
			return seccomp.Filter{}, err
		}
		if len(group.NamesWithCondtions) > 0 {
			conditional.NamesWithCondtions = append(conditional.NamesWithCondtions, group.NamesWithCondtions...)
			if group.Action != conditional.Action {
				return seccomp.Filter{}, fmt.Errorf("conditions of an action other than to allow: %v", rule.Names)
			}
		} else if len(group.Names) > 0 {
			policy.Syscalls = append(policy.Syscalls, group)
		}
	}
	policy.Syscalls = append(policy.Syscalls, conditional)
	return seccomp.Filter{NoNewPrivs: true, Flag: seccomp.FilterFlagTSync, Policy: policy}, nil
}

// translate makes a group of one rule, of the calls that this processor has.
func translate(rule specs.LinuxSyscall, calls *arch.Info) (group seccomp.SyscallGroup, err error) {
	switch rule.Action {
	case specs.ActAllow:
		group.Action = seccomp.ActionAllow
	case specs.ActErrno:
		group.Action = seccomp.ActionErrno
		if rule.ErrnoRet != nil {
			group.Action = group.Action&^0xffff | seccomp.Action(*rule.ErrnoRet)
		}
	default:
		return group, fmt.Errorf("unknown action %s", rule.Action)
	}
	var conditions seccomp.ArgumentConditions
	for _, arg := range rule.Args {
		c := seccomp.Condition{Argument: uint32(arg.Index), Value: arg.Value}
		switch {
		case arg.Op == specs.OpEqualTo:
			c.Operation = seccomp.Equal
		case arg.Op == specs.OpNotEqual:
			c.Operation = seccomp.NotEqual
		case arg.Op == specs.OpMaskedEqual && arg.ValueTwo == 0:
			c.Operation = seccomp.BitsNotSet
		case arg.Op == specs.OpLessThan:
			c.Operation = seccomp.LessThan
		case arg.Op == specs.OpLessEqual:
			c.Operation = seccomp.LessOrEqual
		case arg.Op == specs.OpGreaterThan:
			c.Operation = seccomp.GreaterThan
		case arg.Op == specs.OpGreaterEqual:
			c.Operation = seccomp.GreaterOrEqual
		default:
			return group, fmt.Errorf("unknown comparison %s", arg.Op)
		}
		conditions = append(conditions, c)
	}
	for _, name := range rule.Names {
		if _, ok := calls.SyscallNames[name]; !ok {
			continue
		}
		if len(conditions) == 0 {
			group.Names = append(group.Names, name)
		} else {
			group.NamesWithCondtions = append(group.NamesWithCondtions, seccomp.NameWithConditions{Name: name, Conditions: conditions})
		}
	}
	return group, nil
}
