package gonso

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/gonso/gonso/internal/testenv"
)

// needTools is for tests in which newuidmap and newgidmap do their work.
func needTools(t testing.TB) {
	t.Helper()
	testenv.Need(t, testenv.Plain, testenv.UserNS, testenv.Process, testenv.SubIDs, testenv.Tool("newuidmap"), testenv.Tool("newgidmap"))
}

// timeIsUpWith has the time of launches run out once the file is there.
func timeIsUpWith(t testing.TB, file string) {
	t.Helper()
	old := createContext
	t.Cleanup(func() { createContext = old })
	createContext = func() (context.Context, context.CancelFunc) {
		ctx, cancel := context.WithCancelCause(context.Background())
		watched := make(chan struct{})
		go func() {
			defer close(watched)
			testenv.Poll(func() bool { _, err := os.Stat(file); return err == nil || ctx.Err() != nil })
			cancel(context.DeadlineExceeded)
		}()
		return ctx, func() {
			cancel(context.Canceled)
			<-watched
		}
	}
}

// subIDsIn has users and their ids looked up in files of the test.
func subIDsIn(t testing.TB, uids, gids string) {
	t.Helper()
	dir, old := t.TempDir(), subIDFiles
	subIDFiles = [2]string{dir + "/subuid", dir + "/subgid"}
	t.Cleanup(func() { subIDFiles = old })
	for i, content := range []string{uids, gids} {
		if err := os.WriteFile(subIDFiles[i], []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// subIDsFrom has nsswitch.conf say where subordinate ids are looked up.
func subIDsFrom(t testing.TB, line string) {
	t.Helper()
	old := nsswitch
	nsswitch = t.TempDir() + "/nsswitch.conf"
	t.Cleanup(func() { nsswitch = old })
	if err := os.WriteFile(nsswitch, []byte(line), 0o600); err != nil {
		t.Fatal(err)
	}
}

// toolsIn makes PATH a folder with the given shell scripts, and with links to
// real programs where the script is empty. The shell is told where the usual
// programs are.
func toolsIn(t *testing.T, scripts map[string]string) (dir string) {
	t.Helper()
	dir = t.TempDir()
	for name, script := range scripts {
		var err error
		if script == "" {
			var real string
			if real, err = testenv.LookPath(name); err == nil {
				err = os.Symlink(real, filepath.Join(dir, name))
			}
		} else {
			err = os.WriteFile(filepath.Join(dir, name), []byte("#!/bin/sh\nPATH="+os.Getenv("PATH")+"\n"+script), 0o755)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("PATH", dir)
	return dir
}

// setuidTools is toolsIn for programs that look as if they were privileged.
func setuidTools(t *testing.T, scripts map[string]string) (dir string) {
	t.Helper()
	dir = toolsIn(t, scripts)
	for name := range scripts {
		if err := os.Chmod(filepath.Join(dir, name), 0o755|os.ModeSetuid); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// withoutSetID calls Unshare from a thread of root's without the capabilities to
// write maps itself, so that programs have to.
func withoutSetID(t testing.TB, types Type, opts ...UnshareOption) (s *Set, err error) {
	t.Helper()
	testenv.OnThread(func() {
		hdr := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
		var data [2]unix.CapUserData
		if err = unix.Capget(&hdr, &data[0]); err == nil {
			data[0].Effective &^= 1<<unix.CAP_SETUID | 1<<unix.CAP_SETGID
			err = unix.Capset(&hdr, &data[0])
		}
		if err == nil {
			s, err = Unshare(types, opts...)
		}
	})
	if s != nil {
		t.Cleanup(func() { s.Close() })
	}
	return s, err
}

// owner is who a file belongs to.
type owner struct{ PID, UID, GID int }

// chownInside makes a file on a new tmpfs and gives it away.
var chownInside = Register("test.chown", func(_ context.Context, in struct {
	Dir string
	ID  int
}) (owner, error) {
	o := owner{PID: os.Getpid()}
	if err := unix.Mount("tmpfs", in.Dir, "tmpfs", 0, ""); err != nil {
		return o, os.NewSyscallError("mount", err)
	}
	file := in.Dir + "/file"
	if err := errors.Join(os.WriteFile(file, nil, 0o644), os.Chown(file, in.ID, in.ID)); err != nil {
		return o, err
	}
	var st unix.Stat_t
	err := unix.Stat(file, &st)
	o.UID, o.GID = int(st.Uid), int(st.Gid)
	return o, err
})

// ownMaps are the maps that this user should get, as procFile shows them. They
// are made by hand, of what is in the files.
func ownMaps(t testing.TB) (maps [2]string, first [2]int) {
	t.Helper()
	user, err := lookUpUser(t.Context(), strconv.Itoa(os.Getuid()))
	if err != nil {
		t.Fatal(err)
	}
	name := user.user
	for i, own := range []int{os.Getuid(), os.Getgid()} {
		content, err := os.ReadFile(subIDFiles[i])
		if err != nil {
			t.Fatal(err)
		}
		fields, inside := []string{"0", strconv.Itoa(own), "1"}, 1
		for line := range strings.Lines(string(content)) {
			f := strings.Split(strings.TrimSpace(line), ":")
			if f[0] != name && f[0] != strconv.Itoa(os.Getuid()) {
				continue
			}
			if inside == 1 {
				first[i], _ = strconv.Atoi(f[1])
			}
			fields = append(fields, strconv.Itoa(inside), f[1], f[2])
			n, _ := strconv.Atoi(f[2])
			inside += n
		}
		maps[i] = strings.Join(fields, " ")
	}
	return maps, first
}

// A plain user is root inside and has its subordinate ids there, which files can
// be given to.
func TestSubIDsOfAPlainUser(t *testing.T) {
	needTools(t)
	testenv.Leaks(t)
	maps, first := ownMaps(t)
	s := unshare(t, User|Mount, SubIDs())
	p := goIn(t, s)
	if u, g := procFile(t, p.PID, "uid_map"), procFile(t, p.PID, "gid_map"); u != maps[0] || g != maps[1] || p.UIDMap != u || p.GIDMap != g {
		t.Errorf("maps %q, %q, from inside %q, %q; want %q", u, g, p.UIDMap, p.GIDMap, maps)
	}
	if p.UID != 0 || p.GID != 0 || len(p.Groups) > 0 {
		t.Errorf("uid %d, gid %d, groups %v", p.UID, p.GID, p.Groups)
	}
	if got := statusOf(t, p.PID)["CapEff"]; got != fullCaps(t) {
		t.Errorf("CapEff %s", got)
	}
	// Along with all else that a process makes.
	all := goIn(t, unshare(t, User|Mount|Net|PID, SubIDs(), MountProc(), LoopbackUp()))
	if all.UIDMap != maps[0] || all.GIDMap != maps[1] || all.Setgroups != "allow" {
		t.Errorf("with a pid namespace: maps %q, %q, setgroups %s", all.UIDMap, all.GIDMap, all.Setgroups)
	}
	dir := t.TempDir()
	o, err := chownInside.Do(t.Context(), s, struct {
		Dir string
		ID  int
	}{dir, 1000})
	if err != nil || o.UID != 1000 || o.GID != 1000 {
		t.Fatalf("chown to 1000: %+v, %v", o, err)
	}
	var st unix.Stat_t
	if err := unix.Stat(fmt.Sprintf("/proc/%d/root%s/file", o.PID, dir), &st); err != nil || int(st.Uid) != first[0]+999 || int(st.Gid) != first[1]+999 {
		t.Errorf("from outside it belongs to %d:%d, %v; want %d:%d", st.Uid, st.Gid, err, first[0]+999, first[1]+999)
	}
}

// newgidmap is privileged: setgroups(2) need not be denied, and can be.
func TestSetgroupsWithSubIDs(t *testing.T) {
	needTools(t)
	for name, c := range map[string]struct {
		opts []UnshareOption
		want string
	}{
		"default": {nil, "allow"},
		"allowed": {[]UnshareOption{Setgroups(true)}, "allow"},
		"denied":  {[]UnshareOption{Setgroups(false)}, "deny"},
	} {
		s := unshare(t, User, append(c.opts, SubIDs())...)
		p := goIn(t, s)
		if got := procFile(t, p.PID, "setgroups"); got != c.want || p.Setgroups != c.want {
			t.Errorf("%s: %q, from inside %q, want %q", name, got, p.Setgroups, c.want)
		}
		_, err := setGroups.Do(t.Context(), s, []int{0, 1000})
		if (err == nil) != (c.want == "allow") || err != nil && !errors.Is(err, unix.EPERM) {
			t.Errorf("%s: setgroups(2) inside: %v", name, err)
		}
	}
}

// As in a small container: newuidmap is there, getsubids and getent are not.
func TestSubIDsWithoutGetsubids(t *testing.T) {
	needTools(t)
	testenv.Leaks(t)
	maps, _ := ownMaps(t)
	toolsIn(t, map[string]string{"newuidmap": "", "newgidmap": ""})
	p := goIn(t, unshare(t, User, SubIDs()))
	if p.UIDMap != maps[0] || p.GIDMap != maps[1] {
		t.Errorf("maps %q, %q; want %q", p.UIDMap, p.GIDMap, maps)
	}
}

// What newuidmap does not allow it says, and its words are passed on.
func TestWordsOfNewuidmapCannotBeLost(t *testing.T) {
	needTools(t)
	testenv.Leaks(t)
	line := fmt.Sprintf("%d:7000:10\n", os.Getuid())
	subIDsIn(t, line, line)
	toolsIn(t, map[string]string{"newuidmap": "", "newgidmap": ""})
	_, err := Unshare(User, SubIDs())
	var e *Error
	if !errors.As(err, &e) || e.Op != "newuidmap" || e.Type != User {
		t.Fatalf("%v", err)
	}
	for _, w := range []string{"exit status 1", "7000", "not allowed"} {
		if !strings.Contains(err.Error(), w) {
			t.Errorf("%v; want %q in it", err, w)
		}
	}
}

// The ranges say nothing about ids inside another user namespace.
func TestSubIDsInsideAnotherUserNamespaceAreRefused(t *testing.T) {
	testenv.Need(t, testenv.UserNS, testenv.Process)
	testenv.Leaks(t)
	outer := unshare(t, User)
	_, err := outer.Unshare(User, SubIDs())
	wantError(t, "nested", err, os.ErrInvalid, "unshare user", "this process's user namespace", "use IDMaps")
}

// podman#4921, rootlesskit#551: newuidmap is missing, gets no privileges, or
// hangs under no_new_privs. What can be known is said before anything is made.
func TestSubIDsCannotFailWithoutAReason(t *testing.T) {
	testenv.Need(t, testenv.Plain, testenv.Process)
	testenv.Leaks(t)
	const fake = "exit 0"
	for name, c := range map[string]struct {
		scripts map[string]string
		is      error
		words   []string
	}{
		"both missing":           {nil, exec.ErrNotFound, []string{"unshare user newuidmap", "package uidmap"}},
		"neither setuid nor cap": {map[string]string{"newuidmap": fake, "newgidmap": fake}, unix.EPERM, []string{"/newuidmap", "neither setuid root", "cap_setuid"}},
	} {
		t.Run(name, func(t *testing.T) {
			toolsIn(t, c.scripts)
			_, err := Unshare(User, SubIDs())
			wantError(t, name, err, c.is, c.words...)
		})
	}
	t.Run("one missing", func(t *testing.T) {
		testenv.Need(t, testenv.Tool("newuidmap"))
		toolsIn(t, map[string]string{"newuidmap": ""})
		_, err := Unshare(User, SubIDs())
		wantError(t, "newgidmap", err, exec.ErrNotFound, "unshare user newgidmap")
	})
}

// podman#4921, rootlesskit#551. The setting is a thread's, and children have it
// from the thread that starts them.
func TestSubIDsCannotHangUnderNoNewPrivs(t *testing.T) {
	needTools(t)
	testenv.Leaks(t)
	if testenv.IsAgain(t) {
		_, err := Unshare(User, SubIDs())
		wantError(t, "in a program under no_new_privs", err, unix.EPERM, "unshare user", "/newuidmap", "no_new_privs")
		return
	}
	testenv.OnThread(func() {
		if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
			t.Error(err)
			return
		}
		_, err := Unshare(User, SubIDs())
		wantError(t, "on a thread under no_new_privs", err, unix.EPERM, "unshare user", "/newuidmap", "no_new_privs")

		testenv.RunAgain(t, testenv.Again(t))
	})
	unshare(t, User, SubIDs()) // from another thread
}

// Root writes the maps itself, without any program.
func TestSubIDsOfRoot(t *testing.T) {
	testenv.Need(t, testenv.Root, testenv.UserNS, testenv.Process)
	testenv.Leaks(t)
	toolsIn(t, nil)
	subIDsIn(t, "root:100000:1000\nanna:1:1\n0:300000:5\nroot:100500:600\n", "root:200000:10\n")
	s := unshare(t, User|Mount, SubIDs())
	p := goIn(t, s)
	if want := "0 0 1 1 100000 1000 1001 300000 5 1006 101000 100"; procFile(t, p.PID, "uid_map") != want || p.UIDMap != want {
		t.Errorf("uid_map %q, want %q", p.UIDMap, want)
	}
	if want := "0 0 1 1 200000 10"; procFile(t, p.PID, "gid_map") != want || p.Setgroups != "allow" {
		t.Errorf("gid_map %q, want %q; setgroups %s", p.GIDMap, want, p.Setgroups)
	}
	if p := goIn(t, unshare(t, User, SubIDs(), Setgroups(false))); p.Setgroups != "deny" {
		t.Errorf("setgroups %s", p.Setgroups)
	}

	subIDsIn(t, "root:100000:1000\n", "anna:1:1\nroot:lots\n")
	_, err := Unshare(User, SubIDs())
	wantError(t, "without gids", err, ErrNoSubIDs, "unshare user "+subIDFiles[1], "user root has no range of gids", "line 2", "IDMaps")
	subIDFiles[0] += ".missing"
	_, err = Unshare(User, SubIDs())
	wantError(t, "without a file", err, ErrNoSubIDs, subIDFiles[0], "user root", "range of uids")
	subIDsIn(t, "anna:x\nroot:4294967295:1\n", "root:1:1\n")
	_, err = Unshare(User, SubIDs())
	wantError(t, "an id that is none", err, os.ErrInvalid, "unshare user "+subIDFiles[0]+": line 2", "last id")
	subIDFiles[0] = t.TempDir()
	_, err = Unshare(User, SubIDs())
	wantError(t, "a folder", err, unix.EISDIR, "unshare user "+subIDFiles[0]+": is a directory")
}

// Where the files are the only source, no program is run to read them, not even one that would hang.
func TestGetsubidsIsNotRunForWhatTheFilesSay(t *testing.T) {
	testenv.Need(t, testenv.Root, testenv.UserNS, testenv.Process)
	testenv.Leaks(t)
	subIDsIn(t, "root:100000:10\n", "root:100000:10\n")
	ran := filepath.Join(t.TempDir(), "ran")
	toolsIn(t, map[string]string{"getsubids": "echo >>" + ran + "; echo 0: root 5000 2"})
	for _, line := range []string{"", "passwd: sss\n", "# subid: sss\n", "subid: files sss\n", "SUBID:\tfiles\n"} {
		subIDsFrom(t, line)
		p := goIn(t, unshare(t, User, SubIDs()))
		if want := "0 0 1 1 100000 10"; p.UIDMap != want || p.GIDMap != want {
			t.Errorf("%q: %q, %q", line, p.UIDMap, p.GIDMap)
		}
		if b, err := os.ReadFile(ran); err == nil {
			t.Errorf("%q: getsubids was run %d times", line, len(b))
		}
	}
	// Once for each kind, where it is what knows.
	subIDsFrom(t, "subid: sss\n")
	goIn(t, unshare(t, User, SubIDs()))
	if b, err := os.ReadFile(ran); len(b) != 2 {
		t.Errorf("getsubids was run %d times, %v", len(b), err)
	}
}

// getsubids knows sources other than the files, and so goes first where there is one.
func TestGetsubidsGoesFirst(t *testing.T) {
	testenv.Need(t, testenv.Root, testenv.UserNS, testenv.Process)
	testenv.Leaks(t)
	subIDsFrom(t, "passwd: files\nsubid: sss\n")
	subIDsIn(t, "root:100000:10\n", "root:100000:10\n")
	for name, c := range map[string]struct {
		script   string
		uid, gid string // maps behind the first line
		bad      string
	}{
		"knows":         {`[ $# = 2 ] && [ "$1" = -g ] && shift && echo "0: $1 7000 1" || echo "0: $1 5000 2"; echo "1: $1 8000 1"`, "1 5000 2 3 8000 1", "1 7000 1 2 8000 1", ""},
		"does not know": {"echo Error fetching ranges >&2; exit 1", "1 100000 10", "1 100000 10", ""},
		"prints none":   {"exit 0", "1 100000 10", "1 100000 10", ""},
		"rubbish":       {"echo Usage: getsubids", "", "", `unshare user getsubids: it printed "Usage: getsubids\n"`},
		"no ids":        {"echo 0: root 4294967295 1", "", "", "last id"},
	} {
		toolsIn(t, map[string]string{"getsubids": c.script})
		s, err := Unshare(User, SubIDs())
		if c.bad != "" {
			wantError(t, name, err, os.ErrInvalid, "unshare user getsubids", c.bad)
			continue
		}
		p := goIn(t, owned(t)(s, err))
		if p.UIDMap != "0 0 1 "+c.uid || p.GIDMap != "0 0 1 "+c.gid {
			t.Errorf("%s: %q, %q", name, p.UIDMap, p.GIDMap)
		}
	}
}

// Names come from /etc/passwd, or another source that getent knows; who has none
// is looked up by number.
func TestSubIDsOfUsersWithoutAPasswdEntry(t *testing.T) {
	testenv.Need(t, testenv.Root, testenv.UserNS, testenv.Process)
	testenv.Leaks(t)
	old := passwdFile
	passwdFile = filepath.Join(t.TempDir(), "passwd")
	t.Cleanup(func() { passwdFile = old })
	subIDsIn(t, "0:5000:1\nadmin:6000:1\nroot:7000:1\n", "0:5000:1\n")
	for _, c := range []struct{ passwd, getent, want string }{
		{"admin:x:0:0::/:\nroot:x:0:0::/:\n", "exit 9", "0 0 1 1 5000 1 2 6000 1 3 7000 1"}, // shadow#1573
		{"anna:x:1:1::/:\n", `[ "$*" = "passwd 0" ] && echo admin:x:0:0::/:`, "0 0 1 1 5000 1 2 6000 1"},
		{"anna:x:1:1::/:\n", "exit 2", "0 0 1 1 5000 1"},
	} {
		if err := os.WriteFile(passwdFile, []byte(c.passwd), 0o600); err != nil {
			t.Fatal(err)
		}
		toolsIn(t, map[string]string{"getent": c.getent})
		if p := goIn(t, unshare(t, User, SubIDs())); p.UIDMap != c.want {
			t.Errorf("%+v: %q", c, p.UIDMap)
		}
	}
}

// podman#4921, rootlesskit#551: a program that hangs, or whose children do, and
// nobody waits for less than all of it.
func TestHangingProgramCannotHangUnshare(t *testing.T) {
	testenv.Need(t, testenv.Root, testenv.UserNS, testenv.Process)
	testenv.Leaks(t)
	hangs := filepath.Join(t.TempDir(), "hangs")
	timeIsUpWith(t, hangs)
	line := "root:100000:10\n"
	subIDsIn(t, line, line)
	subIDsFrom(t, "subid: sss\n")
	hang, family := "echo stuck >&2; : > "+hangs+"; exec sleep 600", "echo stuck >&2; sleep 600 & : > "+hangs+"; wait"
	const works = "f=gid_map; case $0 in *newuidmap) f=uid_map; esac; pid=$1; shift; printf '%s %s %s\\n' \"$@\" > /proc/$pid/$f"
	for name, c := range map[string]struct {
		scripts map[string]string
		op      string
		path    string
	}{
		"getsubids":         {map[string]string{"newuidmap": works, "newgidmap": works, "getsubids": hang}, "unshare", "getsubids"},
		"newuidmap":         {map[string]string{"newuidmap": hang, "newgidmap": works}, "newuidmap", ""},
		"newgidmap":         {map[string]string{"newuidmap": works, "newgidmap": hang}, "newgidmap", ""},
		"newuidmap's child": {map[string]string{"newuidmap": family, "newgidmap": works}, "newuidmap", ""},
		"newgidmap's child": {map[string]string{"newuidmap": works, "newgidmap": family}, "newgidmap", ""},
		"getsubids's child": {map[string]string{"newuidmap": works, "newgidmap": works, "getsubids": family}, "unshare", "getsubids"},
	} {
		t.Run(name, func(t *testing.T) {
			os.Remove(hangs)
			dir := setuidTools(t, c.scripts)
			_, err := withoutSetID(t, User, SubIDs())
			var e *Error
			if !errors.As(err, &e) || e.Op != c.op || e.Type != User || e.Path != c.path {
				t.Fatalf("%#v", err)
			}
			wantError(t, name, err, context.DeadlineExceeded, dir, "killed, as it did not end in time", "stuck",
				"possibly it asks a source of users that does not answer")
			if strings.Contains(err.Error(), "helper process") {
				t.Errorf("who was not waited for has the blame: %v", err)
			}
		})
	}
	os.Remove(hangs)
	// Probe says the same.
	setuidTools(t, map[string]string{"newuidmap": hang, "newgidmap": works})
	var r *Report
	probe := sync.OnceFunc(func() { r = Probe(t.Context()) })
	_, _ = withoutSetID(t, User, func(*unshareOptions) { probe() }) // on a thread like that
	if c, ok := r.Of("subordinate ids"); !ok || c.Answer == Yes || !strings.Contains(c.Why, "possibly it asks a source of users that does not answer") {
		t.Errorf("Probe: %v %q", c.Answer, c.Why)
	}
	os.Remove(hangs)
	// A child that is left behind does no harm where the program itself ends.
	setuidTools(t, map[string]string{"newuidmap": "sleep 600 &\n" + works, "newgidmap": works})
	s, err := withoutSetID(t, User, SubIDs())
	if err != nil {
		t.Fatal(err)
	}
	if p := goIn(t, s); p.UIDMap != "0 0 1 1 100000 10" || p.GIDMap != p.UIDMap {
		t.Errorf("%q, %q", p.UIDMap, p.GIDMap)
	}
}

func TestFailingProgramIsQuoted(t *testing.T) {
	testenv.Need(t, testenv.Root, testenv.UserNS, testenv.Process)
	testenv.Leaks(t)
	line := "root:100000:10\n"
	subIDsIn(t, line, line)
	dir := setuidTools(t, map[string]string{"newuidmap": "echo not today >&2; exit 5", "newgidmap": "exit 0"})
	_, err := withoutSetID(t, User, SubIDs())
	var ee *exec.ExitError
	if !errors.As(err, &ee) || ee.ExitCode() != 5 || !strings.HasPrefix(err.Error(), "gonso: newuidmap user: "+dir+"/newuidmap: exit status 5: not today") {
		t.Error(err)
	}
	setuidTools(t, map[string]string{"newuidmap": "exit 0", "newgidmap": "exit 0"})
	if _, err = withoutSetID(t, User, SubIDs()); err == nil || !strings.Contains(err.Error(), "wrote nothing to uid_map") {
		t.Error(err)
	}
}

func TestNosuidIsSeen(t *testing.T) {
	testenv.Need(t, testenv.Root, testenv.Process)
	testenv.Leaks(t)
	dir := setuidTools(t, map[string]string{"newuidmap": "exit 0", "newgidmap": "exit 0"})
	if err := unix.Mount(dir, dir, "", unix.MS_BIND, ""); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	if err := unix.Mount("", dir, "", unix.MS_REMOUNT|unix.MS_BIND|unix.MS_NOSUID, ""); err != nil {
		t.Fatal(err)
	}
	_, err := withoutSetID(t, User, SubIDs())
	wantError(t, "nosuid", err, unix.EPERM, "unshare user "+dir+"/newuidmap", "mounted nosuid")
}

// As on Fedora: the programs are not setuid root, but have file capabilities.
// Root prepares them; another run of this test, as the plain user, uses them.
func TestSubIDsWithFileCapabilities(t *testing.T) {
	if testenv.IsAgain(t) {
		needTools(t)
		maps, _ := ownMaps(t)
		if p := goIn(t, unshare(t, User, SubIDs())); p.UIDMap != maps[0] || p.GIDMap != maps[1] {
			t.Errorf("maps %q, %q; want %q", p.UIDMap, p.GIDMap, maps)
		}
		return
	}
	testenv.Need(t, testenv.Root, testenv.UserNS, testenv.Process, testenv.Tool("newuidmap"), testenv.Tool("newgidmap"))
	uid, gid := someoneWithSubIDs(t)
	dir := t.TempDir()
	for at := dir; at != os.TempDir(); at = filepath.Dir(at) { // other users have to get in
		if err := os.Chmod(at, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for _, k := range subIDKinds {
		real, err := testenv.LookPath(k.tool)
		if err != nil {
			t.Fatal(err)
		}
		program, err := os.ReadFile(real)
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, k.tool), program, 0o755)
		}
		if err != nil {
			t.Fatal(err)
		}
		attr := make([]byte, 20)
		binary.LittleEndian.PutUint32(attr, 0x02000001) // VFS_CAP_REVISION_2, effective
		binary.LittleEndian.PutUint32(attr[4:], 1<<k.capability)
		testenv.Found(t, "filecaps", unix.Setxattr(filepath.Join(dir, k.tool), "security.capability", attr, 0))
	}
	c := testenv.Again(t)
	// The folder that this binary is in may be closed to others.
	binary, err := os.ReadFile(c.Path)
	c.Path = filepath.Join(dir, "tests")
	if err == nil {
		err = os.WriteFile(c.Path, binary, 0o755)
	}
	if err != nil {
		t.Fatal(err)
	}
	c.Env = append(c.Env, "PATH="+dir+":"+os.Getenv("PATH"), "TMPDIR=/tmp", "GONSO_TEST_REQUIRE=")
	c.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: gid}}
	testenv.RunAgain(t, c)
}

// someoneWithSubIDs finds a user that may be used for tests.
func someoneWithSubIDs(t testing.TB) (uid, gid uint32) {
	t.Helper()
	name := os.Getenv("GONSO_TEST_USER")
	if name == "" {
		name = "gonsotest"
	}
	users, err := os.ReadFile("/etc/passwd")
	if err != nil {
		t.Fatal(err)
	}
	ranges, err := os.ReadFile("/etc/subuid")
	if err != nil || !strings.Contains("\n"+string(ranges), "\n"+name+":") {
		testenv.Found(t, "subids", fmt.Errorf("%s has none: %v", name, err))
	}
	for line := range strings.Lines(string(users)) {
		if f := strings.Split(line, ":"); f[0] == name && len(f) > 3 {
			u, _ := strconv.Atoi(f[2])
			g, _ := strconv.Atoi(f[3])
			return uint32(u), uint32(g)
		}
	}
	testenv.Found(t, "subids", fmt.Errorf("there is no user %s", name))
	return 0, 0
}
