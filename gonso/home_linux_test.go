package gonso

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/gonso/gonso/internal/testenv"
)

// linksHere are the links of /proc/thread-self/ns, by the procfs of this process.
func linksHere() (map[string]string, error) {
	m := make(map[string]string)
	for _, l := range links {
		got, err := testenv.NSLink(os.Getpid(), unix.Gettid(), l)
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return nil, err
		}
		m[l] = got
	}
	return m, nil
}

var whereThread = Register("test.home.thread", func(context.Context, struct{}) (map[string]string, error) { return linksHere() })

var whereProcess = Register("test.home.process", func(context.Context, struct{}) (map[string]string, error) {
	m := make(map[string]string)
	for _, l := range links {
		m[l], _ = os.Readlink("/proc/thread-self/ns/" + l)
	}
	return m, nil
})

// socketNet is the net namespace of a socket.
func socketNet(c syscall.Conn) (map[string]string, error) {
	rc, err := c.SyscallConn()
	if err != nil {
		return nil, err
	}
	var id string
	var ierr error
	if err := rc.Control(func(fd uintptr) {
		var ns int
		if ns, ierr = unix.IoctlRetInt(int(fd), unix.SIOCGSKNS); ierr != nil {
			return
		}
		defer unix.Close(ns)
		var st unix.Stat_t
		ierr = unix.Fstat(ns, &st)
		id = fmt.Sprintf("net:[%d]", st.Ino)
	}); err != nil {
		return nil, err
	}
	return map[string]string{"net": id}, ierr
}

func netOfAny(c any, err error) (map[string]string, error) {
	if err != nil {
		return nil, err
	}
	defer c.(interface{ Close() error }).Close()
	return socketNet(c.(syscall.Conn))
}

// commandLinks has a program say where it is.
func commandLinks(c *Cmd) (map[string]string, error) {
	out, err := c.Output()
	if err != nil {
		return nil, err
	}
	m := make(map[string]string)
	for f := range strings.FieldsSeq(string(out)) {
		name, _, _ := strings.Cut(f, ":")
		m[name] = f
	}
	return m, nil
}

// listensAt listens at a path that is taken away again, and says where the file was made: dir has another
// file in each mnt namespace.
func listensAt(s *Set, dir string) (map[string]string, error) {
	path := filepath.Join(dir, "socket")
	l, err := s.Listen(context.Background(), "unix", path)
	if err != nil {
		return nil, err
	}
	defer l.Close()
	outside := make(chan bool)
	go func() {
		_, err := os.Lstat(path)
		outside <- err == nil
	}()
	if !<-outside {
		return map[string]string{"mnt": "that of the caller"}, nil
	}
	defer func() { // in a foreign mnt namespace it stays
		removed := make(chan struct{})
		go func() {
			defer close(removed)
			os.Remove(path)
		}()
		<-removed
	}()
	if c, err := s.DialContext(context.Background(), "unix", path); err != nil {
		return nil, err
	} else {
		c.Close()
	}
	return nil, nil
}

// waysInto are calls of a Set, each of which says in which namespaces it has acted.
func waysInto(s *Set, dir string) map[string]func() (map[string]string, error) {
	ctx := context.Background()
	return map[string]func() (map[string]string, error){
		"Run": func() (m map[string]string, err error) {
			return m, s.Run(func() error { m, err = linksHere(); return err })
		},
		"Do": func() (m map[string]string, err error) {
			err = errors.Join(s.Do(true, func() bool { m, err = linksHere(); return true }), err)
			return m, err
		},
		"Func.Do, thread":   func() (map[string]string, error) { return whereThread.Do(ctx, s, struct{}{}, InThread()) },
		"Func.Do, process":  func() (map[string]string, error) { return whereProcess.Do(ctx, s, struct{}{}, InProcess()) },
		"Func.Do, isolated": func() (map[string]string, error) { return whereProcess.Do(ctx, s, struct{}{}, Isolated()) },
		"Command": func() (map[string]string, error) {
			return commandLinks(s.Command(ctx, "sh", "-c", "for l in /proc/self/ns/*; do readlink $l; done"))
		},
		"Command with pipes": func() (map[string]string, error) {
			c := s.Command(ctx, "sh", "-c", "for l in /proc/self/ns/*; do readlink $l; done")
			c.Stdin = strings.NewReader("")
			return commandLinks(c)
		},
		"Socket": func() (map[string]string, error) {
			f, err := s.Socket(ctx, unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_NONBLOCK, 0)
			return netOfAny(f, err)
		},
		"Listen": func() (map[string]string, error) {
			l, err := s.Listen(ctx, "tcp", "127.0.0.1:0")
			return netOfAny(l, err)
		},
		"Listen, name": func() (map[string]string, error) {
			l, err := s.Listen(ctx, "tcp", "localhost:0")
			return netOfAny(l, err)
		},
		"Listen, unix":  func() (map[string]string, error) { return listensAt(s, dir) },
		"Listen, @unix": func() (map[string]string, error) { l, err := s.Listen(ctx, "unix", "@"+dir); return netOfAny(l, err) },
		"ListenPacket": func() (map[string]string, error) {
			l, err := s.ListenPacket(ctx, "udp", "127.0.0.1:0")
			return netOfAny(l, err)
		},
		"Dial": func() (map[string]string, error) {
			c, err := s.DialContext(ctx, "udp", "127.0.0.1:9")
			return netOfAny(c, err)
		},
		"Dial, name": func() (map[string]string, error) {
			c, err := s.DialContext(ctx, "udp", "localhost:9")
			return netOfAny(c, err)
		},
		"Dialer.Dial": func() (map[string]string, error) {
			c, err := s.Dialer(net.Dialer{LocalAddr: &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)}}).Dial("udp", "127.0.0.1:9")
			return netOfAny(c, err)
		},
		"OpenFile": func() (map[string]string, error) {
			m := make(map[string]string)
			for _, l := range []string{"net", "uts", "ipc"} {
				f, err := s.OpenFile(ctx, "/proc/thread-self/ns/"+l, os.O_RDONLY, 0, AnyFile())
				if err != nil {
					return nil, err
				}
				st, err := f.Stat()
				f.Close()
				if err != nil {
					return nil, err
				}
				m[l] = fmt.Sprintf("%s:[%d]", l, st.Sys().(*syscall.Stat_t).Ino)
			}
			return m, nil
		},
		"Interfaces": func() (map[string]string, error) {
			ifs, err := s.Interfaces(ctx)
			if err != nil {
				return nil, err
			}
			if slices.ContainsFunc(ifs, func(i Interface) bool { return i.Name == "gonsohere0" }) {
				return map[string]string{"net": "that of the caller"}, nil
			}
			return nil, nil
		},
		"Unshare": func() (map[string]string, error) {
			made, err := s.Unshare(UTS)
			if err != nil {
				return nil, err
			}
			defer made.Close()
			return hostnameIn(made)
		},
		"Unshare, process": func() (map[string]string, error) {
			made, err := s.Unshare(User | UTS)
			if err != nil {
				return nil, err
			}
			defer made.Close()
			return hostnameIn(made)
		},
	}
}

// hostnameIn tells a uts namespace that was copied from the caller's.
func hostnameIn(s *Set) (map[string]string, error) {
	name, err := hostnameOf.Do(context.Background(), s, struct{}{})
	if name == "caller" {
		return map[string]string{"uts": "copied from the caller's"}, err
	}
	return nil, err
}

var hostnameOf = Register("test.home.hostname", func(context.Context, struct{}) (string, error) { return os.Hostname() })

// wantWays tries all calls.
func wantWays(t *testing.T, s *Set, dir string) {
	t.Helper()
	ways := waysInto(s, dir)
	for _, name := range slices.Sorted(maps.Keys(ways)) {
		got, err := ways[name]()
		if err != nil {
			t.Errorf("%v, %s: %v", s, name, err)
			continue
		}
		for l, ns := range got {
			want := testenv.Home(l)
			if s.Has(typeOfLink(l)) {
				want = idOf(t, s, typeOfLink(l))
			}
			if ns != want && want != "" {
				t.Errorf("%v, %s: in %s, want %s", s, name, ns, want)
			}
		}
	}
}

func typeOfLink(l string) Type {
	t, _ := typeByName(strings.TrimSuffix(l, "_for_children"))
	return t
}

// shortDir is for sockets, whose paths have at most 107 bytes.
func shortDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/tmp", "gonso-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// mountOver gives a directory another file system in the mnt namespace of the calling thread.
func mountOver(dir string) error {
	return errors.Join(unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""), unix.Mount("none", dir, "tmpfs", 0, ""))
}

// buildkit, TestLoopbackDNSUsesCallerNetNS; containernetworking/plugins, Do(func(hostNS)): called in a
// closure of another Set, a Set acted where the closure was.
func TestSetMeansItsNamespacesWhoeverCalls(t *testing.T) {
	testenv.Need(t, testenv.Root, testenv.IPRoute2)
	testenv.Leaks(t)
	dir := shortDir(t)
	caller := unshare(t, Net|UTS|IPC|Cgroup, LoopbackUp())
	withMount := owned(t)(caller.Unshare(Mount))
	withMount = owned(t)(caller.With(withMount))
	if err := caller.Run(func() error {
		return errors.Join(unix.Sethostname([]byte("caller")), exec.Command("ip", "link", "add", "gonsohere0", "type", "veth").Run())
	}); err != nil {
		t.Fatal(err)
	}
	sets := []*Set{new(Set), owned(t)(Current()), owned(t)(Current(Net)), unshare(t, UTS), unshare(t, Net, LoopbackUp()), unshare(t, UTS|Mount)}
	for _, s := range sets {
		for _, c := range []*Set{caller, withMount} {
			if err := c.Run(func() error {
				if c == withMount {
					if err := mountOver(dir); err != nil {
						return err
					}
				}
				wantWays(t, s, dir)
				return nil
			}, EndThread()); err != nil {
				t.Fatal(err)
			}
		}
	}
}

var _ = testenv.Long(TestNeighboursThreadsCannotPassForHome)

// A neighbour that leaves threads unlocked elsewhere, as those who use vishvananda/netns at times do.
func TestNeighboursThreadsCannotPassForHome(t *testing.T) {
	testenv.Need(t, testenv.Root)
	if out, err := runPolluted(t, ""); err != nil {
		t.Errorf("%v\n%s", err, out)
	} else {
		t.Logf("%s", out)
	}
}

// runPolluted starts a program of its own: its threads are not to be this one's.
func runPolluted(t *testing.T, arg string) (string, error) {
	t.Helper()
	c := exec.Command("/proc/self/exe", arg)
	// What is left elsewhere is the neighbour's doing, and GONSO_DEBUG would say so.
	c.Env = append(os.Environ(), testenv.ProgramEnv+"=polluted", "GONSO_DEBUG=", "TMPDIR="+shortDir(t))
	out, err := c.CombinedOutput()
	return string(out), err
}

func init() {
	testenv.Program("polluted", func() {
		os.Unsetenv(testenv.ProgramEnv) // workers are workers
		Init()
		home, err := Current()
		checkProgram(err)
		some, err := Current(Net, UTS, Cgroup)
		checkProgram(err)
		inside, err := Unshare(Net|UTS, LoopbackUp())
		checkProgram(err)
		pollute()
		wrong, tried := 0, 0
		for range testenv.Times(30, 3) {
			for _, s := range []*Set{home, some, inside} {
				for name, way := range waysInto(s, os.TempDir()) {
					if strings.HasPrefix(name, "Listen, unix") && s != home || strings.Contains(name, "isolated") || strings.Contains(name, "name") {
						continue
					}
					tried++
					var got map[string]string
					var err error
					called := make(chan struct{})
					go func() { // on one of the neighbour's threads, maybe
						defer close(called)
						got, err = way()
					}()
					<-called
					if err != nil {
						wrong++
						fmt.Printf("%v, %s: %v\n", s, name, err)
						continue
					}
					for l, ns := range got {
						want := testenv.Home(l)
						if !s.Has(typeOfLink(l)) {
							continue
						}
						if id, err := s.ID(typeOfLink(l)); err == nil {
							want = id.String()
						}
						if ns != want {
							wrong++
							fmt.Printf("%v, %s: in %s, want %s\n", s, name, ns, want)
						}
					}
				}
				if wrong > 20 {
					os.Exit(1)
				}
			}
			pollute()
		}
		fmt.Printf("%d calls, %d went wrong\n", tried, wrong)
		if wrong > 0 {
			os.Exit(1)
		}
	})
}

// In a user namespace of its own a program enters net namespaces that it makes, and may not come back.
func TestPlanCannotPromiseAThreadThatHasNoWayHome(t *testing.T) {
	testenv.Need(t, testenv.UserNS, testenv.Process)
	testenv.Leaks(t)
	c := unshare(t, User).Self(t.Context())
	c.Env = append(os.Environ(), testenv.ProgramEnv+"=plans")
	out, err := c.CombinedOutput()
	if err != nil || strings.TrimSpace(string(out)) != "the plan is true" {
		t.Errorf("%v, %s", err, out)
	}
}

func init() {
	testenv.Program("plans", func() {
		s, err := Unshare(Net)
		checkProgram(err)
		p := s.Plan()
		// As it is: a thread that has not ended takes other work.
		tid := 0
		checkProgram(s.Run(func() error { tid = unix.Gettid(); return nil }))
		ends := false
		for range 1000 {
			if ends = !threadLives(tid); ends {
				break
			}
			runtime.Gosched()
		}
		if p.Closures.GivenBack == ends {
			fmt.Printf("given back %v, ended %v: %v\n", p.Closures.GivenBack, ends, p)
			os.Exit(1)
		}
		checkProgram(s.Close())
		fmt.Println("the plan is true")
	})
}

// pollute leaves threads of the pool in namespaces of their own: all that are idle, and some more.
func pollute() {
	const threads = 16
	in, out := make(chan struct{}), make(chan struct{})
	for range threads {
		go func() {
			runtime.LockOSThread()
			defer runtime.UnlockOSThread() // the mistake
			if unix.Gettid() != os.Getpid() {
				checkProgram(unix.Unshare(unix.CLONE_NEWNET | unix.CLONE_NEWUTS | unix.CLONE_NEWCGROUP | unix.CLONE_NEWIPC | unix.CLONE_NEWNS))
			}
			in <- struct{}{}
			<-out
		}()
	}
	for range threads {
		<-in
	}
	close(out)
}

func checkProgram(err error) {
	if err != nil {
		fmt.Println(err)
		os.Exit(2)
	}
}

// A thread that has dropped privileges cannot get them back by starting a program, wherever it is.
func TestCommandCannotGiveBackWhatItsCallerHasDropped(t *testing.T) {
	testenv.Need(t, testenv.Root)
	testenv.Leaks(t)
	foreign, home := unshare(t, Net|UTS), owned(t)(Current())
	for _, in := range []*Set{new(Set), foreign} {
		for _, s := range []*Set{new(Set), home, foreign} {
			if err := in.Run(func() error {
				// Root has back by execve(2) what its bounding set has.
				if err := unix.Prctl(unix.PR_CAPBSET_DROP, unix.CAP_SYS_ADMIN, 0, 0, 0); err != nil {
					return err
				}
				status := ""
				err := s.Run(func() error { return nil }) // a thread of its own, as ever
				out, cerr := s.Command(t.Context(), "cat", "/proc/self/status").Output()
				if cerr == nil {
					status = fields(string(out))["CapEff"]
				}
				_, uerr := s.Unshare(User | UTS) // which has the maker's host name
				if alone, err := s.Unshare(User); s != foreign && err != nil {
					t.Errorf("in %v, %v: what takes nothing from where the thread is: %v", in, s, err)
				} else if err == nil {
					alone.Close()
				}
				switch {
				case in == foreign && s != foreign:
					wantError(t, "Command", cerr, errPrivileges, "outside of the closure")
					wantError(t, "Unshare", uerr, errPrivileges, "outside of the closure")
				case s == foreign:
					wantError(t, "Command", cerr, unix.EPERM, "setns")
				case cerr != nil:
					t.Errorf("in %v, %v: %v, %v", in, s, cerr, uerr)
				default:
					caps, perr := strconv.ParseUint(status, 16, 64)
					if perr != nil || caps>>unix.CAP_SYS_ADMIN&1 != 0 {
						t.Errorf("in %v, %v: a program has %q, %v", in, s, status, perr)
					}
				}
				return err
			}, EndThread()); err != nil {
				t.Error(err)
			}
		}
	}
}
