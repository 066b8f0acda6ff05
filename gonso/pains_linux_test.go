package gonso_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"math/big"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/gonso/gonso/gonso"
	"github.com/gonso/gonso/internal/testenv"
)

// What hurts users of namespaces in Go, as reported against peers, cannot happen
// here: each test is named for what cannot happen and cites the report. Reports
// about what the kernel does to threads and mounts are cited in
// thread_linux_test.go and kernel_linux_test.go, those about descriptors held in
// set_linux_test.go, those about dying workers in worker_linux_test.go, those
// about newuidmap in subid_linux_test.go, and those that take a container or a
// program of their own in package integration/isolation.

func init() {
	testenv.Program("main thread elsewhere", func() { mainThreadElsewhere(false) })
	testenv.Program("main thread elsewhere first", func() { mainThreadElsewhere(true) })
	testenv.Program("what an import holds", whatAnImportHolds)
	testenv.Program("caches", caches)
	testenv.Program("forgets Init", func() { pidInProcess() })
	testenv.Program("groups", func() {
		os.Unsetenv(testenv.ProgramEnv)
		gonso.Init()
		print(groupsInside())
	})
	testenv.Program("keys", keys)
	testenv.Program("reaps all", reapsAll)
}

// program runs one of the programs and returns what it prints.
func program(t *testing.T, name string, change func(*exec.Cmd)) string {
	t.Helper()
	c := testenv.Command(t, name)
	var stderr bytes.Buffer
	c.Stderr = &stderr
	if change != nil {
		change(c)
	}
	out, err := c.Output()
	if err != nil {
		t.Fatalf("%s: %v\n%s%s", name, err, out, &stderr)
	}
	return string(out)
}

// print ends a program unless v is what it should print.
func print(v any, err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Println(v)
}

func netOf(dir string) string {
	at, _ := os.Readlink(dir + "/ns/net")
	return at
}

// vishvananda/netns#75: the API needs a lock that nobody mentions.
func TestCallersCannotForgetToLock(t *testing.T) {
	testenv.Need(t, testenv.Root)
	sets := []*gonso.Set{newSet(t, gonso.Net), newSet(t, gonso.Net), newSet(t, gonso.Net)}
	home := testenv.Home("net")
	var wg sync.WaitGroup
	for i := range 60 {
		wg.Go(func() {
			s := sets[i%len(sets)]
			id, err := s.ID(gonso.Net)
			if err != nil {
				t.Error(err)
			}
			for range 20 {
				if err := s.Do(true, func() bool {
					runtime.Gosched() // others take their turn on other threads
					if at := netOf("/proc/thread-self"); at != id.String() {
						t.Errorf("in %s, want %v", at, id)
					}
					return true
				}); err != nil {
					t.Error(err)
				}
				if at := netOf("/proc/thread-self"); at != home {
					t.Errorf("the caller is in %s, want %s", at, home)
				}
			}
		})
	}
	wg.Wait()
}

var _ = testenv.AlsoNested(TestWorkerCannotDieWithTheThreadThatStartedIt)

// golang/go#27505, #34031, moby#44215: with Pdeathsig, a child dies with the
// thread that started it.
func TestWorkerCannotDieWithTheThreadThatStartedIt(t *testing.T) {
	s := newSet(t, gonso.User)
	pids := make(chan int)
	tids := make(chan int)
	go testenv.OnThread(func() {
		pid, err := workerPID.Do(t.Context(), s, struct{}{})
		if err != nil {
			t.Error(err)
		}
		tids <- unix.Gettid()
		pids <- pid
	})
	tid, pid := <-tids, <-pids
	testenv.Eventually(t, "the thread ends", func() bool { return unix.Tgkill(os.Getpid(), tid, 0) == unix.ESRCH })
	if again := call(t, workerPID, s, struct{}{}); again != pid {
		t.Errorf("worker %d was replaced by %d", pid, again)
	}
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if want := fmt.Sprintf("\nPPid:\t%d\n", os.Getpid()); err != nil || !strings.Contains(string(status), want) {
		t.Errorf("it is not this process's own: %v\n%s", err, status)
	}
}

type identity struct {
	UIDs, GIDs     string
	Groups         []int
	Caps           string
	UIDMap, GIDMap string
}

func self() (identity, error) {
	var id identity
	b, err := os.ReadFile("/proc/self/status")
	for line := range strings.Lines(string(b)) {
		k, v, _ := strings.Cut(strings.TrimSpace(line), ":\t")
		switch k {
		case "Uid":
			id.UIDs = v
		case "Gid":
			id.GIDs = v
		case "CapEff":
			id.Caps = v
		}
	}
	var gerr error
	id.Groups, gerr = os.Getgroups()
	u, uerr := os.ReadFile("/proc/self/uid_map")
	g, merr := os.ReadFile("/proc/self/gid_map")
	id.UIDMap, id.GIDMap = strings.Join(strings.Fields(string(u)), " "), strings.Join(strings.Fields(string(g)), " ")
	return id, errors.Join(err, gerr, uerr, merr)
}

var whoami = gonso.Register("pains.whoami", func(context.Context, struct{}) (identity, error) { return self() })

var _ = testenv.AlsoNested(TestWorkerCannotBeNobodyInAUserNamespace)

// runc#4473: not root after joining a user namespace.
func TestWorkerCannotBeNobodyInAUserNamespace(t *testing.T) {
	id := call(t, whoami, newSet(t, gonso.User|gonso.Net), struct{}{})
	if root := "0\t0\t0\t0"; id.UIDs != root || id.GIDs != root {
		t.Errorf("uids %s, gids %s", id.UIDs, id.GIDs)
	}
	if caps, err := strconv.ParseUint(id.Caps, 16, 64); err != nil || caps&(1<<unix.CAP_SYS_ADMIN|1<<unix.CAP_NET_ADMIN) == 0 {
		t.Errorf("capabilities %s", id.Caps)
	}
	// Without a mapped 0 nobody is root, and exec would drop the capabilities.
	unmapped := call(t, whoami, newSet(t, gonso.User, gonso.NoIDMaps()), struct{}{})
	if caps, err := strconv.ParseUint(unmapped.Caps, 16, 64); err != nil || caps&(1<<unix.CAP_SYS_ADMIN) == 0 {
		t.Errorf("without id maps: capabilities %s of uid %s", unmapped.Caps, unmapped.UIDs)
	}
}

var setgroups = gonso.Register("pains.setgroups", func(context.Context, struct{}) (string, error) {
	b, err := os.ReadFile("/proc/self/setgroups")
	return strings.TrimSpace(string(b)), err
})

// containerd#10742: setgroups silently denied.
func TestSetgroupsCannotBeDeniedSilently(t *testing.T) {
	if got := call(t, setgroups, newSet(t, gonso.User, gonso.Setgroups(false)), struct{}{}); got != "deny" {
		t.Errorf("Setgroups(false): %s", got)
	}
	if os.Geteuid() != 0 {
		// The kernel demands it of plain users: asking for it is an error.
		s, err := gonso.Unshare(gonso.User, gonso.Setgroups(true))
		if err == nil {
			s.Close()
			t.Error("Setgroups(true) was ignored")
		}
		return
	}
	for _, opts := range [][]gonso.UnshareOption{nil, {gonso.Setgroups(true)}} {
		if got := call(t, setgroups, newSet(t, gonso.User, opts...), struct{}{}); got != "allow" {
			t.Errorf("%d options: %s", len(opts), got)
		}
	}
}

// pidInProcess is a main that does not call Init.
func pidInProcess() {
	fmt.Println("main")
	_, err := workerPID.Do(context.Background(), new(gonso.Set), struct{}{}, gonso.InProcess())
	fmt.Println(errors.Is(err, gonso.ErrNotInitialized), err)
}

// container-libs#160, containers/storage#959: a fork bomb. containers/storage#1058,
// podman#4127: Init forgotten, and nobody says so. More of it is in
// integration/isolation.
func TestForgottenInitCannotForkOrGoUnnoticed(t *testing.T) {
	testenv.Need(t, testenv.Process)
	out := program(t, "forgets Init", nil)
	if !strings.Contains(out, "\ntrue ") || !strings.Contains(out, "call gonso.Init() first in main") {
		t.Errorf("it was not told: %s", out)
	}
	if strings.Count(out, "main\n") != 1 {
		t.Errorf("main ran again: %s", out)
	}
}

// containers/storage#1036: cgo needed. containerd#10611, buildkit#3738: fork
// hooks by go:linkname, which a new Go release breaks.
func TestSourceCannotNeedCgoOrLinkname(t *testing.T) {
	_, err := os.Stat("../go.mod")
	testenv.Found(t, "source", err)
	fset := token.NewFileSet()
	files := 0
	err = filepath.WalkDir("..", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		switch name := d.Name(); {
		case d.IsDir() && path != ".." && (strings.HasPrefix(name, ".") || path == "../integration/embedded/testdata"): // a program in C is there
			return fs.SkipDir
		case d.IsDir(), filepath.Ext(name) != ".go":
			if ext := filepath.Ext(name); !d.IsDir() && slices.Contains([]string{".c", ".cc", ".h", ".syso", ".o", ".a"}, ext) {
				t.Errorf("%s: not Go", path)
			}
			return nil
		}
		f, err := parser.ParseFile(fset, path, nil, parser.ParseComments|parser.ImportsOnly)
		if err != nil {
			return err
		}
		for _, imp := range f.Imports {
			if imp.Path.Value == `"C"` {
				t.Errorf("%v: import \"C\"", fset.Position(imp.Pos()))
			}
		}
		if f, err = parser.ParseFile(fset, path, nil, parser.ParseComments); err != nil {
			return err
		}
		files++
		for _, g := range f.Comments {
			for _, c := range g.List {
				if isLinkname(c) {
					t.Errorf("%v: %s", fset.Position(c.Pos()), c.Text)
				}
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if files < 50 {
		t.Errorf("only %d files were looked at", files)
	}
}

func isLinkname(c *ast.Comment) bool { return strings.HasPrefix(c.Text, "//go:"+"linkname") }

var hideProc = gonso.Register("pains.hideProc", func(context.Context, struct{}) (int, error) {
	if err := unix.Mount("none", "/proc", "tmpfs", 0, ""); err != nil {
		return 0, err
	}
	if _, err := os.Stat("/proc/self/exe"); !errors.Is(err, fs.ErrNotExist) {
		return 0, fmt.Errorf("/proc/self/exe is still there: %v", err)
	}
	return os.Getpid(), nil
})

var procEntries = gonso.Register("pains.procEntries", func(context.Context, struct{}) ([2]int, error) {
	entries, err := os.ReadDir("/proc")
	return [2]int{os.Getpid(), len(entries)}, err
})

// mydocker#33: /proc/self/exe is missing inside.
func TestMissingProcCannotKeepAWorkerFromStarting(t *testing.T) {
	s := newSet(t, gonso.User|gonso.Mount)
	first := call(t, hideProc, s, struct{}{})
	got := call(t, procEntries, dup(t, s), struct{}{})
	if got[0] == first || got[1] != 0 {
		t.Errorf("pid %d, was %d; %d entries in /proc", got[0], first, got[1])
	}
}

// vishvananda/netns#43, CVE-2024-21626: descriptors leak into children, or keep
// namespaces alive. Old gonso dup'ed without CLOEXEC.
func TestNamespaceDescriptorsCannotReachChildren(t *testing.T) {
	s := newSet(t, gonso.User|gonso.Net)
	d := dup(t, s)
	other, err := s.With(d)
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	f, err := s.File(gonso.Net)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	found := 0
	fds, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range fds {
		target, _ := os.Readlink("/proc/self/fd/" + e.Name())
		if !strings.HasPrefix(target, "net:[") && !strings.HasPrefix(target, "user:[") {
			continue
		}
		found++
		fd, _ := strconv.Atoi(e.Name())
		if flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); err != nil || flags&unix.FD_CLOEXEC == 0 {
			t.Errorf("descriptor %d, %s, is not close-on-exec: %v", fd, target, err)
		}
	}
	if found < 2 {
		t.Errorf("only %d descriptors of namespaces were looked at", found)
	}
	out, err := exec.Command("ls", "-l", "/proc/self/fd").CombinedOutput()
	if err != nil || strings.Contains(string(out), "net:[") || strings.Contains(string(out), "user:[") {
		t.Errorf("a child has one: %v\n%s", err, out)
	}
}

// The same the other way round: a program that is an init reaps whatever ends.
func reapsAll() {
	os.Unsetenv(testenv.ProgramEnv)
	gonso.Init()
	ended := make(chan os.Signal, 1)
	signal.Notify(ended, unix.SIGCHLD)
	reaped := new(atomic.Int64)
	go func() {
		for range ended {
			for {
				pid, err := unix.Wait4(-1, nil, unix.WNOHANG, nil)
				if pid <= 0 || err != nil {
					break
				}
				reaped.Add(1)
			}
		}
	}()
	for range 50 {
		s, err := gonso.Unshare(gonso.User | gonso.PID)
		if err == nil {
			_, err = workerPID.Do(context.Background(), s, struct{}{})
		}
		if err == nil {
			err = s.Close()
		}
		if err != nil {
			print(nil, err)
		}
	}
	print(reaped.Load() > 0, nil)
}

func TestProgramThatReapsAllCannotBreakLaunches(t *testing.T) {
	testenv.Need(t, testenv.UserNS, testenv.Process)
	if out := program(t, "reaps all", nil); out != "true\n" {
		t.Errorf("%q", out)
	}
}

// runc#1443, rootlesskit#209, #532: zombies, and a blanket wait4(-1) that steals
// the children of exec.Cmd.
func TestExecCannotLoseItsChildToGonso(t *testing.T) {
	s := newSet(t, gonso.User|gonso.PID)
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 10 {
				if err := exec.Command("false").Run(); err == nil || err.Error() != "exit status 1" {
					t.Errorf("false: %v", err)
				}
			}
		})
		wg.Go(func() {
			for range 5 {
				d, err := s.Dup()
				if err != nil {
					t.Error(err)
					return
				}
				if _, err := workerPID.Do(t.Context(), d, struct{}{}); err != nil {
					t.Error(err)
				}
				n, err := d.Unshare(gonso.PID)
				if err != nil {
					t.Error(err)
				} else {
					n.Close()
				}
				d.Close()
			}
		})
	}
	wg.Wait()
}

// Old gonso, reproduced: Do hangs when f calls runtime.Goexit or t.FailNow.
func TestDoCannotHangOnGoexit(t *testing.T) {
	for name, leave := range map[string]func(){
		"Goexit": runtime.Goexit, "FailNow": func() { new(testing.T).FailNow() },
	} {
		done := make(chan error, 1)
		go func() {
			var s gonso.Set
			defer s.Close()
			done <- s.Do(true, func() bool { leave(); return true })
		}()
		select {
		case err := <-done:
			if !errors.Is(err, gonso.ErrGoexit) {
				t.Errorf("%s: %v", name, err)
			}
		case <-time.After(testenv.Limit):
			t.Fatalf("%s: Do hangs", name)
		}
	}
}

// Old gonso, read: gid_map written from the uid maps.
func TestGIDMapCannotBeTheUIDMap(t *testing.T) {
	testenv.Need(t, testenv.Root)
	s := newSet(t, gonso.User, gonso.IDMaps(
		[]gonso.IDMap{{ContainerID: 0, HostID: 100000, Size: 10}},
		[]gonso.IDMap{{ContainerID: 0, HostID: 200000, Size: 7}, {ContainerID: 50, HostID: 300000, Size: 1}}))
	id := call(t, whoami, s, struct{}{})
	if id.UIDMap != "0 100000 10" || id.GIDMap != "0 200000 7 50 300000 1" {
		t.Errorf("uid map %s, gid map %s", id.UIDMap, id.GIDMap)
	}
}

// Old gonso, read: the order of joining was that of a map.
func TestJoinOrderCannotBeRandom(t *testing.T) {
	s := newSet(t, gonso.User|gonso.Mount|gonso.Net|gonso.UTS|gonso.IPC|gonso.Cgroup)
	want := s.Plan()
	for range 100 {
		if got := dup(t, s).Plan(); !slices.Equal(got.Functions.Join, want.Functions.Join) {
			t.Fatalf("%v, then %v", want.Functions.Join, got.Functions.Join)
		}
	}
	if j := want.Functions.Join; len(j) != 6 || j[0] != gonso.User || j[5] != gonso.Mount {
		t.Errorf("joins %v", j)
	}
}

// Old gonso, read: errors of Do dropped on the way.
func TestErrorOfWorkCannotBeDropped(t *testing.T) {
	var here gonso.Set
	defer here.Close()
	mine := errors.New("mine")
	if err := here.Run(func() error { return mine }); err != mine {
		t.Errorf("Run: %v", err)
	}
	s := newSet(t, gonso.User|gonso.Mount)
	ran := false
	if err := s.Do(true, func() bool { ran = true; return true }); !errors.Is(err, gonso.ErrNeedsProcess) || ran {
		t.Errorf("Do: %v, ran %v", err, ran)
	}
	if err := s.Run(func() error { ran = true; return nil }); !errors.Is(err, gonso.ErrNeedsProcess) || ran {
		t.Errorf("Run: %v, ran %v", err, ran)
	}
	if _, err := failing.Do(t.Context(), s, struct{}{}); !errors.Is(err, unix.EXDEV) {
		t.Errorf("Func.Do: %v", err)
	}
}

var failing = gonso.Register("pains.failing", func(context.Context, struct{}) (struct{}, error) {
	return struct{}{}, &os.PathError{Op: "rename", Path: "/x", Err: unix.EXDEV}
})

// painCA is the name of the certificate authority that is trusted only inside.
const painCA = "gonso test CA, trusted only inside"

type cached struct {
	PID        int
	TrustsCA   bool
	Offset     int // of time.Local
	ResolvConf string
}

func caching() (cached, error) {
	c := cached{PID: os.Getpid()}
	pool, err := x509.SystemCertPool()
	if err != nil {
		return c, err
	}
	for _, subject := range pool.Subjects() { //nolint:staticcheck // complete for what is not the system verifier's
		c.TrustsCA = c.TrustsCA || bytes.Contains(subject, []byte(painCA))
	}
	_, c.Offset = time.Now().Zone()
	b, err := os.ReadFile("/etc/resolv.conf")
	if !errors.Is(err, fs.ErrNotExist) {
		c.ResolvConf = string(b)
	}
	return c, nil
}

const insideOffset = 12345

// fillCaches changes what the mount namespace has below /etc, and fills the
// caches of the process.
var fillCaches = gonso.Register("pains.fillCaches", func(_ context.Context, etc map[string][]byte) (cached, error) {
	if err := unix.Mount("none", "/etc", "tmpfs", 0, ""); err != nil {
		return cached{}, err
	}
	for path, content := range etc {
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, content, 0o644)); err != nil {
			return cached{}, err
		}
	}
	return caching()
})

func fakeEtc() (map[string][]byte, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	ca := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: painCA}, NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, ca, ca, key.Public(), key)
	if err != nil {
		return nil, err
	}
	// See tzfile(5): no transitions, one type, its abbreviation.
	zone := append([]byte("TZif\x00"), make([]byte, 15)...)
	zone = append(zone, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 4)
	zone = append(zone, 0, 0, insideOffset>>8, insideOffset&0xff, 0, 0, 'T', 'S', 'T', 0)
	return map[string][]byte{
		"/etc/ssl/certs/ca-certificates.crt": pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		"/etc/localtime":                     zone,
		"/etc/resolv.conf":                   []byte("nameserver 192.0.2.1\n"),
	}, nil
}

// caches is a program whose caches are still empty: it prints what they have
// inside, and then in itself.
func caches() {
	os.Unsetenv(testenv.ProgramEnv)
	gonso.Init()
	for _, name := range []string{"SSL_CERT_FILE", "SSL_CERT_DIR", "TZ"} {
		os.Unsetenv(name)
	}
	etc, err := fakeEtc()
	if err != nil {
		print(nil, err)
	}
	s, err := gonso.Unshare(gonso.User | gonso.Mount)
	if err != nil {
		print(nil, err)
	}
	inside, err := fillCaches.Do(context.Background(), s, etc)
	s.Close()
	if err != nil {
		print(nil, err)
	}
	outside, err := caching()
	if err != nil {
		print(nil, err)
	}
	b, err := json.Marshal([2]cached{inside, outside})
	print(string(b), err)
}

// Tried: the first x509.SystemCertPool on a thread in a foreign mount namespace
// makes the host's program trust the container's CA; time zone, resolver and
// users likewise.
func TestHostCannotTrustTheContainersCA(t *testing.T) {
	testenv.Need(t, testenv.Process, testenv.UserNS)
	var got [2]cached
	out := program(t, "caches", nil)
	if err := json.Unmarshal([]byte(out), &got); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	inside, outside := got[0], got[1]
	if !inside.TrustsCA || inside.Offset != insideOffset || inside.ResolvConf != "nameserver 192.0.2.1\n" || inside.PID == outside.PID {
		t.Errorf("inside: %+v", inside)
	}
	if outside.TrustsCA || outside.Offset == insideOffset || strings.Contains(outside.ResolvConf, "192.0.2.1") {
		t.Errorf("outside: %+v", outside)
	}
}

// groupsInside tells the supplementary groups of this process, and of its worker.
func groupsInside() ([2][]int, error) {
	outside, err := os.Getgroups()
	if err != nil {
		return [2][]int{}, err
	}
	s, err := gonso.Unshare(gonso.User)
	if err != nil {
		return [2][]int{}, err
	}
	defer s.Close()
	id, err := whoami.Do(context.Background(), s, struct{}{})
	return [2][]int{outside, id.Groups}, err
}

// Tried: supplementary groups of the host survive the join, and open inside what
// the host's group may.
func TestHostsGroupsCannotSurviveTheJoin(t *testing.T) {
	testenv.Need(t, testenv.Root, testenv.UserNS)
	out := program(t, "groups", func(c *exec.Cmd) {
		c.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Groups: []uint32{4242, 4243}}}
	})
	if out != "[[4242 4243] []]\n" {
		t.Errorf("outside and inside: %s", out)
	}
}

// keyName is that of a key in the session keyring of the program "keys".
const keyName = "gonso-test-key"

// keyring is what a process can get at.
type keyring struct {
	ID    int
	Found bool
}

func sessionKeyring() (keyring, error) {
	id, err := unix.KeyctlGetKeyringID(unix.KEY_SPEC_SESSION_KEYRING, false)
	if err != nil {
		return keyring{}, err
	}
	_, err = unix.KeyctlSearch(unix.KEY_SPEC_SESSION_KEYRING, "user", keyName, 0)
	if err != nil && err != unix.ENOKEY {
		return keyring{}, err
	}
	return keyring{id, err == nil}, nil
}

var keyringInside = gonso.Register("pains.keyring", func(context.Context, struct{}) (keyring, error) { return sessionKeyring() })

// keys is a program with a session keyring of its own. It executes itself again,
// so that all of its threads have it.
func keys() {
	if os.Getenv("GONSO_TEST_KEYS") == "" {
		runtime.LockOSThread()
		_, err := unix.KeyctlJoinSessionKeyring(fmt.Sprint("gonso-test-", os.Getpid()))
		if err == nil {
			_, err = unix.AddKey("user", keyName, []byte("secret"), unix.KEY_SPEC_SESSION_KEYRING)
		}
		if slices.Contains([]error{unix.ENOSYS, unix.EPERM, unix.EDQUOT}, err) {
			fmt.Println("skip:", err)
			return
		}
		if err != nil {
			print(nil, err)
		}
		print(nil, unix.Exec("/proc/self/exe", os.Args, append(os.Environ(), "GONSO_TEST_KEYS=1")))
	}
	os.Unsetenv(testenv.ProgramEnv)
	gonso.Init()
	outside, err := sessionKeyring()
	if err != nil {
		print(nil, err)
	}
	s, err := gonso.Unshare(gonso.User)
	if err != nil {
		print(nil, err)
	}
	defer s.Close()
	inside, err := keyringInside.Do(context.Background(), s, struct{}{})
	if err != nil {
		print(nil, err)
	}
	b, err := json.Marshal([2]keyring{inside, outside})
	print(string(b), err)
}

// Tried: the session keyring of the host stays readable inside.
func TestHostsKeysCannotBeReadInside(t *testing.T) {
	testenv.Need(t, testenv.Process, testenv.UserNS)
	out := program(t, "keys", nil)
	if why, ok := strings.CutPrefix(out, "skip: "); ok {
		testenv.Found(t, "keyrings", errors.New(why))
	}
	var got [2]keyring
	if err := json.Unmarshal([]byte(out), &got); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	inside, outside := got[0], got[1]
	if !outside.Found {
		t.Error("the program does not find its own key")
	}
	if inside.Found || inside.ID == outside.ID {
		t.Errorf("inside %+v, outside %+v", inside, outside)
	}
}

// Tried: a helper that joins while it shares the host's
// memory takes PR_GET_DUMPABLE away from the host, and is read by root inside.
// The latter is in integration/isolation, with runc, and in package reexec.
func TestLaunchesCannotChangeThisProcess(t *testing.T) {
	testenv.Need(t, testenv.Process, testenv.UserNS)
	state := func() string {
		dumpable, err := unix.PrctlRetInt(unix.PR_GET_DUMPABLE, 0, 0, 0, 0)
		id, err2 := self()
		if err := errors.Join(err, err2); err != nil {
			t.Fatal(err)
		}
		return fmt.Sprint(dumpable, id)
	}
	before := state()
	atOnce := 64
	if testenv.Race || testenv.Emulated {
		atOnce = 8 // each takes a good part of a second to start
	}
	slots := make(chan struct{}, atOnce)
	var wg sync.WaitGroup
	for range 64 {
		wg.Go(func() {
			s, err := gonso.Unshare(gonso.User)
			if err != nil {
				t.Error(err)
				return
			}
			defer s.Close()
			slots <- struct{}{}
			defer func() { <-slots }()
			if _, err := whoami.Do(t.Context(), s, struct{}{}); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if after := state(); after != before {
		t.Errorf("%s, was %s", after, before)
	}
}

// Tried: setns by pidfd with CLONE_NEWNS moves root and cwd of the whole process.
func TestMountNamespaceCannotMoveTheProcess(t *testing.T) {
	testenv.Need(t, testenv.Root)
	s := newSet(t, gonso.Mount)
	where := func() string {
		root, err := os.Readlink("/proc/self/root")
		cwd, err2 := os.Readlink("/proc/self/cwd")
		mnt, err3 := os.Readlink("/proc/self/ns/mnt")
		if err := errors.Join(err, err2, err3); err != nil {
			t.Fatal(err)
		}
		return root + " " + cwd + " " + mnt
	}
	before := where()
	for range 10 {
		if err := s.Do(true, func() bool {
			if err := os.Chdir("/"); err == nil { // of this thread only
				return true
			}
			return false
		}); err != nil {
			t.Fatal(err)
		}
		if after := where(); after != before {
			t.Fatalf("%s, was %s", after, before)
		}
	}
}

// mainThreadElsewhere is a program whose main thread somebody moved into
// another net namespace, before gonso was ever used or afterwards.
func mainThreadElsewhere(first bool) {
	os.Unsetenv(testenv.ProgramEnv)
	runtime.LockOSThread() // so that no thread is cloned from this one
	home := netOf("/proc/thread-self")
	if first {
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			print(nil, err)
		}
	}
	s, err := gonso.Unshare(gonso.Net)
	if err != nil {
		print(nil, err)
	}
	away, err := s.File(gonso.Net)
	if err != nil {
		print(nil, err)
	}
	if unix.Gettid() != os.Getpid() {
		print(nil, errors.New("not on the main thread"))
	}
	if err := unix.Setns(int(away.Fd()), unix.CLONE_NEWNET); err != nil {
		print(nil, err)
	}
	if netOf("/proc/self") == home {
		print(nil, errors.New("the main thread was not moved"))
	}
	work, err := s.Unshare(gonso.Net)
	if err != nil {
		print(nil, err)
	}
	done := make(chan error)
	for range 20 {
		go func() {
			done <- work.Do(true, func() bool { return unix.Gettid() != os.Getpid() && netOf("/proc/thread-self") != home })
		}()
	}
	for range 20 {
		if err := <-done; err != nil {
			print(nil, err)
		}
	}
	tasks, err := os.ReadDir("/proc/self/task")
	for _, task := range tasks {
		if at := netOf("/proc/self/task/" + task.Name()); at != home && at != "" && task.Name() != strconv.Itoa(os.Getpid()) {
			print(nil, fmt.Errorf("thread %s is in %s, not %s", task.Name(), at, home))
		}
	}
	print(fmt.Sprintf("%d threads at home", len(tasks)-1), err)
}

// Tried: restoring by a pidfd of this process goes wherever its main thread is.
func TestRestoreCannotFollowTheMainThread(t *testing.T) {
	testenv.Need(t, testenv.Root)
	for _, name := range []string{"main thread elsewhere", "main thread elsewhere first"} {
		out := program(t, name, nil)
		var n int
		if _, err := fmt.Sscanf(out, "%d threads at home", &n); err != nil || n < 2 {
			t.Errorf("%s: %s", name, out)
		}
	}
}

// whatAnImportHolds is a program that says which descriptors it has when main begins.
func whatAnImportHolds() {
	var held []string
	for fd := 3; fd < 100; fd++ {
		link, err := os.Readlink(fmt.Sprintf("/proc/self/fd/%d", fd))
		ofRuntime := strings.HasPrefix(link, "anon_inode:[event") || strings.HasPrefix(link, "/sys/fs/cgroup/")
		if err == nil && !ofRuntime && link != os.DevNull {
			held = append(held, link)
		}
	}
	fmt.Print(strings.Join(held, " "))
}

// Of gonso, a program that imports it has one descriptor, of /proc: another one could be mounted there until
// the first call, or the program could have another root.
func TestImportHoldsNoDescriptorsButOfProc(t *testing.T) {
	if out := program(t, "what an import holds", nil); out != "/proc" {
		t.Errorf("%s", out)
	}
}

var _ = testenv.AlsoNested(TestNestedBelowOpenedCannotLoseItsProtection)

// CVE-2019-5736, a level down: root of somebody else's user namespace is root of
// every user namespace below it, so what is made there has to be protected too.
func TestNestedBelowOpenedCannotLoseItsProtection(t *testing.T) {
	testenv.Need(t, testenv.UserNS)
	outer, err := gonso.Unshare(gonso.User)
	if err != nil {
		t.Fatal(err)
	}
	defer outer.Close()
	pid, err := pidInside.Do(t.Context(), outer, struct{}{})
	if err != nil {
		t.Fatal(err)
	}
	opened, err := gonso.FromPID(pid, gonso.User)
	if err != nil {
		t.Fatal(err)
	}
	defer opened.Close()
	nested, err := opened.Unshare(gonso.User | gonso.UTS)
	if err != nil {
		t.Fatal(err)
	}
	defer nested.Close()
	again, err := nested.Unshare(gonso.UTS)
	if err != nil {
		t.Fatal(err)
	}
	defer again.Close()
	for name, s := range map[string]*gonso.Set{"opened": opened, "nested": nested, "nested again": again} {
		exe, err := exeInside.Do(t.Context(), s, struct{}{})
		if err != nil || !strings.Contains(exe, "memfd:") {
			t.Errorf("%s: worker runs %q, %v", name, exe, err)
		}
	}
	if exe, err := exeInside.Do(t.Context(), outer, struct{}{}); err != nil || strings.Contains(exe, "memfd:") {
		t.Errorf("control: the worker of a Set of our own runs %q, %v", exe, err)
	}
}

var (
	pidInside = gonso.Register("pains.pidInside", func(context.Context, struct{}) (int, error) { return os.Getpid(), nil })
	exeInside = gonso.Register("pains.exeInside", func(context.Context, struct{}) (string, error) { return os.Readlink("/proc/self/exe") })
)
