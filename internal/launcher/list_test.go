//go:build linux

package launcher

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// differing has the numbers in lists that differ between architectures.
var differing = strings.NewReplacer("SIGSET", fmt.Sprint(sigsetSize()),
	"NOFILE", fmt.Sprint(unix.RLIMIT_NOFILE))

func TestListString(t *testing.T) {
	tests := []struct {
		name  string
		build func(l *List)
		want  string
	}{
		{"empty", func(*List) {}, ""},
		{"join", func(l *List) {
			l.Prctl(unix.PR_SET_DUMPABLE, 0)
			l.JoinSessionKeyring().Tolerate(unix.ENOSYS, unix.EPERM)
			all := l.Setns(FirstFileFD, unix.CLONE_NEWUSER|unix.CLONE_NEWNET).Tolerate(unix.EINVAL)
			l.Setns(FirstFileFD+1, unix.CLONE_NEWUSER).When(all)
			l.Setgroups().Tolerate(unix.EPERM)
			l.Setresgid(0)
			l.Setresuid(0)
			l.CloseRange(ControlFD, unix.CLOSE_RANGE_CLOEXEC)
			l.Execveat(FirstFileFD + 2).Tolerate(unix.ENOENT)
			l.Execve("/proc/self/fd/8")
		}, `0 prctl(PR_SET_DUMPABLE, 0) = 0
1 keyctl(KEYCTL_JOIN_SESSION_KEYRING, NULL) >= 0 or ENOSYS or EPERM
2 setns(6, CLONE_NEWNET|CLONE_NEWUSER) = 0 or EINVAL
3 if #2: setns(7, CLONE_NEWUSER) = 0
4 setgroups(0, NULL) = 0 or EPERM
5 setresgid(0, 0, 0) = 0
6 setresuid(0, 0, 0) = 0
7 close_range(3, ~0, CLOSE_RANGE_CLOEXEC) = 0
8 execveat(8, "", argv, envp, AT_EMPTY_PATH) or ENOENT
9 execve("/proc/self/fd/8", argv, envp)
`},
		{"make", func(l *List) {
			l.IgnoreSignal(unix.SIGCHLD)
			l.Unshare(unix.CLONE_NEWUSER | unix.CLONE_NEWPID)
			l.Sync()
			l.Wait()
			child := l.Clone(unix.CLONE_PARENT | int(unix.SIGCHLD))
			l.Send(child).When(child)
			l.ExitGroup(0).When(child)
			l.RaiseCaps(1)
		}, `0 rt_sigaction(SIGCHLD, SIG_IGN, NULL, SIGSET) = 0
1 unshare(CLONE_NEWPID|CLONE_NEWUSER) = 0
2 write(status, reached, record) = record
3 read(control, scratch, 1) = 1
4 clone(CLONE_PARENT|SIGCHLD, NULL, NULL, NULL, NULL) >= 0
5 if #4: writev(status, [reached, #4], 2) = record
6 if #4: exit_group(0)
7 capset(self, {0x3, 0x3, 0x3}) = 0
8 prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, 0) = 0 or EINVAL
9 prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, 1) = 0 or EINVAL
`},
		{"files", func(l *List) {
			l.MoveStatus(10)
			f := l.Openat(FD(unix.AT_FDCWD), "/proc/self/setgroups", unix.O_WRONLY|unix.O_CLOEXEC)
			l.Write(f, "deny\n")
			l.Close(f)
			l.Openat(f, "new", unix.O_CREAT|unix.O_EXCL)
			l.Dup3(f, FD(20), unix.O_CLOEXEC)
			l.Dup3(FD(20), f, 0)
			l.Cloexec(FD(20))
			l.SendFiles(7, 20, 21)
			l.Mount("", "/", "", unix.MS_REC|unix.MS_SLAVE, "")
			l.Mount("proc", "/proc", "proc", unix.MS_NOSUID, "hidepid=2")
			l.Chdir("/tmp")
			l.Chroot(".")
			l.Prlimit(unix.RLIMIT_NOFILE, 64, 128)
			l.Unshare(1<<30 | 4)
		}, `0 fcntl(4, F_DUPFD_CLOEXEC, 10) = status
1 openat(AT_FDCWD, "/proc/self/setgroups", O_WRONLY|O_CLOEXEC) >= 0
2 write(#1, "deny\n", 5) = 5
3 close(#1) = 0
4 openat(#1, "new", O_CREAT|O_EXCL, 0600) >= 0
5 dup3(#1, 20, O_CLOEXEC) = 20
6 dup3(20, #1, 0) >= 0
7 fcntl(20, F_SETFD, FD_CLOEXEC) = 0
8 sendmsg(7, SCM_RIGHTS [20, 21], MSG_NOSIGNAL) = 1
9 mount(NULL, "/", NULL, MS_REC|MS_SLAVE, NULL) = 0
10 mount("proc", "/proc", "proc", MS_NOSUID, "hidepid=2") = 0
11 chdir("/tmp") = 0
12 chroot(".") = 0
13 prlimit64(0, NOFILE, {64, 128}, NULL) = 0
14 unshare(CLONE_NEWNET|0x4) = 0
`},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			var l List
			test.build(&l)
			want := differing.Replace(test.want)
			if got := l.String(); got != want {
				t.Errorf("got\n%swant\n%s", got, want)
			}
			if got := strings.Count(test.want, "\n"); l.Len() != got {
				t.Errorf("Len %d, want %d", l.Len(), got)
			}
			if _, err := l.Encode(); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestEncode(t *testing.T) {
	var l List
	fd := l.Openat(FD(unix.AT_FDCWD), "abc", unix.O_WRONLY).Tolerate(unix.ENOENT, unix.EACCES)
	l.Close(fd).When(fd)
	l.Execveat(fd)
	list, err := l.Encode()
	if err != nil {
		t.Fatal(err)
	}
	const header, size = 8 * wordSize, 13 * wordSize // what layout.go says, in numbers
	word := func(addr uintptr) uintptr {
		if addr < dataBase || addr+wordSize > dataBase+uintptr(len(list)) {
			t.Fatalf("address %#x outside the list", addr)
		}
		return getWord(list[addr-dataBase:])
	}
	if got := word(dataBase); got != dataBase+uintptr(len(list)) {
		t.Errorf("end %#x, list has %#x bytes", got, len(list))
	}
	if got := word(dataBase + wordSize); got != dataBase+header+3*size {
		t.Errorf("end of steps %#x", got)
	}
	if got := word(dataBase + 4*wordSize); got != 4 {
		t.Errorf("status descriptor %d", got)
	}
	field := func(step, i uintptr) uintptr { return word(dataBase + header + step*size + wordSize*i) }
	open, closing, exec := uintptr(0), uintptr(1), uintptr(2)
	const when, nr, args, low, span, tolerate, out = 0, 1, 2, 8, 9, 10, 12

	if got := word(field(open, when)); got != 1 {
		t.Errorf("unconditional step depends on %d", got)
	}
	if got := field(open, nr); got != unix.SYS_OPENAT {
		t.Errorf("call %d", got)
	}
	if got := int(word(field(open, args))); got != unix.AT_FDCWD {
		t.Errorf("first argument %d", got)
	}
	path := word(field(open, args+1)) - dataBase
	if got := string(list[path : path+4]); got != "abc\x00" {
		t.Errorf("path %q", got)
	}
	if got := [...]uintptr{field(open, low), field(open, span)}; got != [...]uintptr{0, ^uintptr(4095)} {
		t.Errorf("expects %#x", got)
	}
	if got := [...]int{int(field(open, tolerate)), int(field(open, tolerate+1))}; got != [...]int{-2, -13} {
		t.Errorf("tolerates %d", got)
	}
	result := field(open, out)
	if got := word(result); got != 0 {
		t.Errorf("result is %d beforehand", got)
	}
	for i, got := range []uintptr{field(closing, when), field(closing, args), field(exec, args)} {
		if got != result {
			t.Errorf("reference %d: %#x, want %#x", i, got, result)
		}
	}
	if got := [...]uintptr{field(closing, low), field(closing, span), field(closing, tolerate), field(closing, tolerate+1)}; got != ([4]uintptr{}) {
		t.Errorf("close expects %#x", got)
	}
	if field(exec, args+2) != dataBase+2*wordSize || field(exec, args+3) != dataBase+3*wordSize {
		t.Error("execveat does not get argv and envp")
	}
	if got := word(field(exec, args+4)); got != unix.AT_EMPTY_PATH {
		t.Errorf("execveat flags %#x", got)
	}
	if got := field(exec, out); got != dataBase+7*wordSize {
		t.Errorf("result that nobody refers to goes to %#x", got)
	}
}

func TestEncodeErrors(t *testing.T) {
	var other List
	foreign := other.Clone(0)
	tests := []struct {
		name  string
		build func(l *List)
		want  string
	}{
		{"NUL", func(l *List) { l.Chdir("a\x00b") }, "NUL"},
		{"NUL in option", func(l *List) { l.Mount("", "/", "", 0, "a\x00b") }, "NUL"},
		{"foreign step", func(l *List) { l.Chdir("/"); l.Close(foreign) }, "step 1 close(#0) = 0: refers"},
		{"itself", func(l *List) { s := l.Chdir("/"); s.When(s) }, "refers"},
		{"later", func(l *List) { s := l.Chdir("/"); s.When(l.Chdir("/")) }, "refers"},
		{"later, in data", func(l *List) { l.Send(foreign) }, "refers"},
		{"tolerant", func(l *List) { l.Chdir("/").Tolerate(1, 2, 3) }, "tolerates 3 errors, more than 2"},
		{"long", func(l *List) { l.Chdir(strings.Repeat("x", maxList)) }, "more than 1048576"},
		{"many", func(l *List) {
			for range 20000 {
				l.Chdir("/")
			}
		}, "20000 steps"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			var l List
			test.build(&l)
			_, err := l.Encode()
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Fatalf("got %v, want %q", err, test.want)
			}
			if _, err := Start(&Cmd{List: &l}); err == nil {
				t.Error("started")
			}
		})
	}
	if _, err := Start(&Cmd{}); err == nil {
		t.Error("started without a list")
	}
}

func TestRecords(t *testing.T) {
	var l List
	l.Setns(FirstFileFD, unix.CLONE_NEWNET)
	l.Sync()
	l.Wait()
	tests := []struct {
		addr uintptr
		word int
		want string // "" if it is a value
	}{
		{stepAddr(0), -1, "launcher: step 0 setns(6, CLONE_NEWNET) = 0: EPERM (operation not permitted)"},
		{stepAddr(2), 0, "launcher: step 2 read(control, scratch, 1) = 1: result 0"},
		{dataBase, -14, "launcher: step -1 read(control, list): EFAULT (bad address)"},
		{stepAddr(1) | 1, 42, ""},
		{stepAddr(0) | 1, 0, "makes no sense"},
		{stepAddr(1) | 2, 0, "makes no sense"},
		{stepAddr(3), 0, "makes no sense"},
		{dataBase + wordSize, 0, "makes no sense"},
		{0, 0, "makes no sense"},
		{^uintptr(0), -1, "makes no sense"},
	}
	for _, test := range tests {
		var record [recordSize]byte
		putWord(record[:], test.addr)
		putWord(record[wordSize:], uintptr(test.word))
		v, err := l.decode(record)
		if test.want == "" {
			if err != nil || v != int64(test.word) {
				t.Errorf("%#x: %d, %v", test.addr, v, err)
			}
			continue
		}
		if err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%#x: got %v, want %q", test.addr, err, test.want)
		}
		if _, ok := errors.AsType[*StepError](err); ok == (test.want == "makes no sense") {
			t.Errorf("%#x: %T", test.addr, err)
		}
	}
	if err := newStepError(0, "", "", -1); !errors.Is(err, unix.EPERM) {
		t.Error("does not match its errno")
	}
}

func FuzzRecord(f *testing.F) {
	var l List
	l.Setns(FirstFileFD, unix.CLONE_NEWNET)
	l.Sync()
	f.Add(uint64(stepAddr(0)), uint64(1))
	f.Add(uint64(stepAddr(1)|reached), uint64(1))
	f.Add(uint64(dataBase), uint64(1))
	f.Fuzz(func(t *testing.T, addr, value uint64) {
		var record [recordSize]byte
		putWord(record[:], uintptr(addr))
		putWord(record[wordSize:], uintptr(value))
		_, err := l.decode(record)
		if (err == nil) != (uintptr(addr) == stepAddr(1)|reached) {
			t.Errorf("%#x: %v", addr, err)
		}
	})
}
