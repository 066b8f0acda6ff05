package reexec

import (
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestComposeProgram(t *testing.T) {
	const mnt, net, user, pid = unix.CLONE_NEWNS, unix.CLONE_NEWNET, unix.CLONE_NEWUSER, unix.CLONE_NEWPID
	f := os.Stdin
	for name, tt := range map[string]struct {
		g    Program
		want string
	}{
		"nothing": {Program{Paths: []string{"/bin/true"}}, `
			fcntl(4, F_DUPFD_CLOEXEC, 6) = status
			close(3) = 0 or EBADF
			close(4) = 0 or EBADF
			close(5) = 0 or EBADF
			write(status, reached, record) = record
			execve("/bin/true", argv, envp) = ENOTDIR or EACCES or ENOENT or ELOOP
			writev(status, [reached, #6], 2) = record
			exit_group(127)
`},
		"more files than a soft limit may allow": {Program{Paths: []string{"/bin/true"}, Files: make([]*os.File, 2), manyFiles: 4096}, `
			fcntl(4, F_DUPFD_CLOEXEC, 8) = status
			close(3) = 0 or EBADF
			close(4) = 0 or EBADF
			close(5) = 0 or EBADF
			close(6) = 0 or EBADF
			close(7) = 0 or EBADF
			prlimit64(0, 7, kept, NULL) = 0
			write(status, reached, record) = record
			execve("/bin/true", argv, envp) = ENOTDIR or EACCES or ENOENT or ELOOP
			writev(status, [reached, #11], 2) = record
			exit_group(127)
`},
		"several places": {Program{Join: []Join{{Type: net}, {Type: mnt}}, Protect: true, Dir: "d", Paths: []string{"/a/x", "/b/x"}}, hides + "\n\t\tsetsid() >= 0" + dropsAll + `
			setns(6, CLONE_NEWNET) = 0
			setns(7, CLONE_NEWNS) = 0
			openat2(AT_FDCWD, "d", {O_PATH|O_DIRECTORY|O_CLOEXEC, RESOLVE_NO_MAGICLINKS}, 24) >= 0
			fchdir(#12) = 0
			close(#12) = 0
			fcntl(4, F_DUPFD_CLOEXEC, 8) = status
			close(3) = 0 or EBADF
			close(4) = 0 or EBADF
			close(5) = 0 or EBADF
			close(6) = 0 or EBADF
			close(7) = 0 or EBADF
			write(status, reached, record) = record
			execve("/a/x", argv, envp) = ENOTDIR or EACCES or ENOENT or ELOOP
			writev(status, [reached, #22], 2) = record
			execve("/b/x", argv, envp) = ENOTDIR or EACCES or ENOENT or ELOOP
			writev(status, [reached, #24], 2) = record
			exit_group(127)
`},
		"by name outside": {Program{Join: []Join{{Type: user}}, Protect: true, KeepIDs: true, Search: true, Paths: []string{"/a/x", "/b/x"}}, hides + "\n\t\tsetsid() >= 0" + dropsCaps + `
			setgroups(0, NULL) = 0 or EPERM
			setns(6, CLONE_NEWUSER) = 0
			if #9: setgroups(0, NULL) = 0 or EPERM
			fcntl(4, F_DUPFD_CLOEXEC, 7) = status
			close(3) = 0 or EBADF
			close(4) = 0 or EBADF
			close(5) = 0 or EBADF
			close(6) = 0 or EBADF
			write(status, reached, record) = record
			openat(AT_FDCWD, "/a/x", O_CLOEXEC|O_PATH) >= 0 or ENOTDIR or EACCES or ENOENT or ELOOP
			writev(status, [reached, #18], 2) = record
			execveat(#18, "", argv, envp, AT_EMPTY_PATH) = EACCES or EBADF
			writev(status, [reached, #20], 2) = record
			openat(AT_FDCWD, "/b/x", O_CLOEXEC|O_PATH) >= 0 or ENOTDIR or EACCES or ENOENT or ELOOP
			writev(status, [reached, #22], 2) = record
			execveat(#22, "", argv, envp, AT_EMPTY_PATH) = EACCES or EBADF
			writev(status, [reached, #24], 2) = record
			exit_group(127)
`},
		"somebody else's, by descriptor": {Program{Join: []Join{{Type: net}}, Protect: true, Exe: f, Name: "exe"}, hides + "\n\t\tsetsid() >= 0" + dropsAll + `
			setns(6, CLONE_NEWNET) = 0
			fcntl(4, F_DUPFD_CLOEXEC, 8) = status
			close(3) = 0 or EBADF
			close(4) = 0 or EBADF
			close(5) = 0 or EBADF
			close(6) = 0 or EBADF
			fcntl(7, F_SETFD, FD_CLOEXEC) = 0
			write(status, reached, record) = record
			execveat(7, "", argv, envp, AT_EMPTY_PATH)
`},
		"by descriptor, with files": {Program{Join: []Join{{Type: net}}, Exe: f, Name: "exe", Files: []*os.File{f, nil, f, f, f}}, `
			setns(6, CLONE_NEWNET) = 0
			fcntl(4, F_DUPFD_CLOEXEC, 13) = status
			dup3(7, 3, 0) = 3
			close(4) = 0 or EBADF
			dup3(9, 5, 0) = 5
			dup3(10, 6, 0) = 6
			dup3(11, 7, 0) = 7
			close(8) = 0 or EBADF
			close(9) = 0 or EBADF
			close(10) = 0 or EBADF
			close(11) = 0 or EBADF
			fcntl(12, F_SETFD, FD_CLOEXEC) = 0
			write(status, reached, record) = record
			execveat(12, "", argv, envp, AT_EMPTY_PATH) or ENOENT
			execve("/proc/self/fd/12", argv, envp)
`},
		"everything": {Program{
			Join: []Join{{Type: user}, {Type: pid}}, KeepIDs: true, Paths: []string{"x"}, Chroot: "/r", Setsid: true, Setpgid: true,
			Setctty: true, Ctty: 1, Credential: &Credential{UID: 7, GID: 8, Groups: []uint32{9, 10}}, AmbientCaps: []uintptr{5, 40}, Pdeathsig: unix.SIGTERM,
		}, triesNewKeyring + `
			setgroups(0, NULL) = 0 or EPERM
			setns(6, CLONE_NEWUSER) = 0
			setns(7, CLONE_NEWPID) = 0
			if #2: setgroups(0, NULL) = 0 or EPERM` + goesOnInside(6) + `
			setsid() >= 0
			setpgid(0, 0) = 0
			chroot("/r") = 0
			prctl(PR_SET_KEEPCAPS, 1) = 0
			setgroups(2, [9 10]) = 0
			setresgid(8, 8, 8) = 0
			setresuid(7, 7, 7) = 0
			capset(self, {0x10000000020, 0x10000000020, 0x10000000020}) = 0
			prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, 5) = 0
			prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, 40) = 0
			chdir("/") = 0
			fcntl(4, F_DUPFD_CLOEXEC, 8) = status
			close(3) = 0 or EBADF
			close(4) = 0 or EBADF
			close(5) = 0 or EBADF
			close(6) = 0 or EBADF
			close(7) = 0 or EBADF
			ioctl(1, TIOCSCTTY, 0) = 0
			prctl(PR_SET_PDEATHSIG, 15) = 0
			write(status, reached, record) = record
			execve("x", argv, envp) = ENOTDIR or EACCES or ENOENT or ELOOP
			writev(status, [reached, #30], 2) = record
			exit_group(127)
`},
		"other ids": {Program{Join: []Join{{Type: user}}, Paths: []string{"x"}, Dir: "d", Credential: &Credential{UID: 7, GID: 8, KeepGroup: true}}, triesNewKeyring + asRoot(2,
			`setns(6, CLONE_NEWUSER) = 0`) + `
			setresgid(8, 8, 8) = 0
			setresuid(7, 7, 7) = 0
			capset(self, {0x0, 0x0, 0x0}) = 0
			chdir("d") = 0
			fcntl(4, F_DUPFD_CLOEXEC, 7) = status
			close(3) = 0 or EBADF
			close(4) = 0 or EBADF
			close(5) = 0 or EBADF
			close(6) = 0 or EBADF
			write(status, reached, record) = record
			execve("x", argv, envp) = ENOTDIR or EACCES or ENOENT or ELOOP
			writev(status, [reached, #59], 2) = record
			exit_group(127)
`},
		"root": {Program{Paths: []string{"x"}, Credential: &Credential{}}, `
			setgroups(0, NULL) = 0
			setresgid(0, 0, 0) = 0
			setresuid(0, 0, 0) = 0
			fcntl(4, F_DUPFD_CLOEXEC, 6) = status
			close(3) = 0 or EBADF
			close(4) = 0 or EBADF
			close(5) = 0 or EBADF
			write(status, reached, record) = record
			execve("x", argv, envp) = ENOTDIR or EACCES or ENOENT or ELOOP
			writev(status, [reached, #9], 2) = record
			exit_group(127)
`},
	} {
		t.Run(name, func(t *testing.T) {
			l := composeProgram(&tt.g, 0)
			top := 6 + len(tt.g.Join) + len(tt.g.Files)
			if tt.g.Exe != nil {
				top++
			}
			tt.want = closesFirst(top) + tt.want
			if tt.g.manyFiles > 0 {
				tt.want = "prlimit64(0, 7, NULL, kept) = 0\nprlimit64(0, 7, {4096, 4096}, NULL) = 0 or EPERM\n" + tt.want
			}
			want := strings.ReplaceAll(strings.TrimLeft(strings.ReplaceAll(tt.want, "\t", ""), "\n"), "\n\n", "\n")
			got := printed(l)
			if got != want {
				t.Errorf("got\n%s\nwant\n%s", got, want)
			}
			if _, err := l.Encode(); err != nil {
				t.Error(err)
			}
		})
	}
}
