package reexec

import (
	"context"
	"encoding/binary"
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/gonso/gonso/child"
	"github.com/gonso/gonso/internal/codec"
	"github.com/gonso/gonso/internal/procfs"
	"github.com/gonso/gonso/internal/testenv"
	"github.com/gonso/gonso/internal/wire"
)

const (
	limit    = 500 * time.Millisecond // of the context
	grace    = 500 * time.Millisecond
	tolerant = time.Second
)

// returnsWithin fails the test if do takes longer.
func returnsWithin(t *testing.T, d time.Duration, what string, do func()) {
	t.Helper()
	d = testenv.Bound(d)
	begin := time.Now()
	done := make(chan struct{})
	go func() {
		defer close(done)
		do()
	}()
	select {
	case <-done:
		if took := time.Since(begin); took > d {
			t.Errorf("%s took %v, longer than %v", what, took, d)
		}
	case <-time.After(d + 10*time.Second):
		buf := make([]byte, 1<<16)
		t.Fatalf("%s has not returned after %v\n%s", what, time.Since(begin), buf[:runtime.Stack(buf, true)])
	}
}

// keepEnds leaves the worker's ends of the connection to a child, which is killed with the test.
func keepEnds(f *fake) {
	c := exec.Command("sleep", "30")
	for _, fd := range []int{f.ends.Socket, f.ends.In, f.ends.Out} {
		fd, err := unix.Dup(fd)
		check(err)
		c.ExtraFiles = append(c.ExtraFiles, os.NewFile(uintptr(fd), "end"))
	}
	check(c.Start())
	check(os.WriteFile(os.Getenv(pidFile), []byte(strconv.Itoa(c.Process.Pid)), 0o600))
}

const pidFile = "GONSO_TEST_PID_FILE"

// someOfCall reads the head of a call frame and leaves the rest of it.
func (f *fake) someOfCall(n int) (id uint64) {
	b := make([]byte, n)
	for have := 0; have < n; {
		k, err := unix.Read(f.ends.In, b[have:])
		check(err)
		have += k
	}
	return binary.LittleEndian.Uint64(b[12:])
}

// lingering is a TCP socket whose close takes an hour: nobody reads what it has to send.
func lingering() int {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	check(err)
	c, err := net.Dial("tcp", l.Addr().String())
	check(err)
	keep = append(keep, l, c)
	check(c.SetWriteDeadline(time.Now().Add(100 * time.Millisecond)))
	for err == nil {
		_, err = c.Write(make([]byte, 1<<16))
	}
	check(c.(*net.TCPConn).SetLinger(3600))
	file, err := c.(*net.TCPConn).File()
	check(err)
	c.Close()
	check(unix.SetNonblock(int(file.Fd()), false))
	keep = append(keep, file)
	return int(file.Fd())
}

var keep []any

// unready is a file that does not block, on a file system that does not answer whether it is ready.
func unready() int {
	fd, err := unix.Open(os.Getenv(unreadyDir)+"/file", unix.O_RDONLY|unix.O_NONBLOCK, 0)
	check(err)
	return fd
}

const unreadyDir = "GONSO_TEST_UNREADY_DIR"

// hostile workers, which do all they can to keep a call, or Close, waiting.
var hostile = map[string]func(f *fake){
	"child keeps the ends":    func(f *fake) { f.call(); keepEnds(f); os.Exit(7) },
	"child keeps it, killed":  func(f *fake) { f.call(); keepEnds(f) },
	"child keeps it, garbage": func(f *fake) { f.call(); keepEnds(f); f.raw([]byte("xxxxxxxxxxxxxxxxxxxxxxxxxxx")) },
	"answers unread":          func(f *fake) { f.answer(f.someOfCall(20), "soon") },
	"reads nothing":           func(f *fake) {},
	"drip": func(f *fake) {
		f.someOfCall(20)
		for range time.Tick(50 * time.Millisecond) {
			f.someOfCall(20)
		}
	},
	"answers half": func(f *fake) { f.raw(append(header(byte(wire.Result), 0, 1<<20, f.call().ID), byte(wire.Returned))) },
	"closes its ends": func(f *fake) {
		f.call()
		_ = unix.CloseRange(3, ^uint(0), 0)
	},
	"stops itself": func(f *fake) { f.call(); _ = unix.Kill(os.Getpid(), unix.SIGSTOP) },
	"lingering result": func(f *fake) {
		id, fd := f.call().ID, lingering()
		f.raw(append(header(byte(wire.Result), 1, 2, id), byte(wire.Returned), 0), fd)
		unix.Close(fd)
	},
	"lingering, unexpected": func(f *fake) {
		fd := lingering()
		f.raw(append(header(byte(wire.Result), 1, 2, f.call().ID+77), byte(wire.Returned), 0), fd)
		unix.Close(fd)
	},
	// Whoever asks such a file whether it is ready waits, with the lock of all that asks along with it.
	"unready result": func(f *fake) {
		id, fd := f.call().ID, unready()
		f.raw(append(header(byte(wire.Result), 1, 2, id), byte(wire.Returned), 0), fd)
		unix.Close(fd)
	},
	"unready, unexpected": func(f *fake) {
		fd := unready()
		f.raw(append(header(byte(wire.Result), 1, 2, f.call().ID+77), byte(wire.Returned), 0), fd)
	},
	"unready, in another poller": func(f *fake) {
		id, fd := f.call().ID, unready()
		poller, err := unix.EpollCreate1(0)
		check(err)
		go unix.EpollCtl(poller, unix.EPOLL_CTL_ADD, fd, &unix.EpollEvent{Events: unix.EPOLLIN}) // it waits
		check(unix.SetNonblock(poller, true))
		f.raw(append(header(byte(wire.Result), 1, 2, id), byte(wire.Returned), 0), poller)
	},
	"lingering, queued": func(f *fake) {
		fd := lingering()
		f.call()
		f.raw([]byte("xxxxxxxxxxxxxxxxxxxxxxxxx"))
		for range 50 {
			_ = unix.Sendmsg(f.ends.Socket, []byte("x"), unix.UnixRights(fd), nil, unix.MSG_NOSIGNAL|unix.MSG_DONTWAIT)
		}
		os.Exit(1)
	},
}

func init() {
	for name, f := range hostile {
		testenv.Program(fakePrefix+name, func() {
			f(greeted())
			pauseForever()
		})
	}
}

// Whatever a worker does, a call ends with its context and the grace period, and so does Close.
func TestWaits(t *testing.T) {
	for name := range hostile {
		t.Run(name, func(t *testing.T) {
			end := func() {}
			if strings.HasPrefix(name, "unready") {
				testenv.Need(t, testenv.Root)
				dir := t.TempDir()
				end = testenv.Silent(t, dir, testenv.Lookups|testenv.Stats|testenv.Opens|testenv.AlsoFlushes)
				t.Setenv(unreadyDir, dir)
			}
			t.Setenv(testenv.ProgramEnv, fakePrefix+name)
			file := filepath.Join(t.TempDir(), "pid")
			t.Setenv(pidFile, file)
			before := descriptors()
			w, heard := newWorker(t, WorkerOptions{Grace: grace})
			t.Cleanup(func() {
				if b, err := os.ReadFile(file); err == nil {
					pid, _ := strconv.Atoi(string(b))
					_ = unix.Kill(pid, unix.SIGKILL)
				}
			})
			ctx, cancel := context.WithTimeout(t.Context(), limit)
			defer cancel()
			var out *wire.Outcome
			var err error
			returnsWithin(t, limit+grace+tolerant, "Do", func() { out, err = w.Call(ctx, "echo", make([]byte, 8<<20)) })
			t.Log(err)
			if out != nil {
				returnsWithin(t, tolerant, "closing the result", out.Close)
			} else if err == nil {
				t.Error("neither outcome nor error")
			}
			var d *DiedError
			if errors.As(err, &d) && strings.Contains(d.Status, "killed") && d.Cause == nil {
				t.Errorf("killed without a reason: %v", err)
			}
			returnsWithin(t, grace+tolerant, "Close", w.Close)
			if strings.Contains(heard.String(), fakePrefix) {
				t.Errorf("the fake failed: %s", heard)
			}
			end() // it keeps the worker
			eventually(t, "descriptors are closed", func() bool { return len(descriptors()) <= len(before) })
		})
	}
}

// The same with an honest worker whose process somebody else holds.
func TestTracedWorkerCannotKeepUsWaiting(t *testing.T) {
	for _, name := range []string{"ignore", "wait", "exit", "idle"} {
		t.Run(name, func(t *testing.T) {
			w, heard := newWorker(t, WorkerOptions{Grace: grace})
			pid := workerPID(t, w)
			testenv.Traced(t, pid)
			ctx, cancel := context.WithTimeout(t.Context(), limit)
			defer cancel()
			if name != "idle" {
				var err error
				returnsWithin(t, limit+grace+tolerant, "Do", func() { _, err = w.Call(ctx, name, nil) })
				t.Log(err)
				if name != "wait" && !errors.Is(err, procfs.ErrTraced) {
					t.Errorf("it does not say who traces: %v", err)
				}
			}
			returnsWithin(t, grace+tolerant, "Close", w.Close)
			_ = heard
		})
	}
}

// Innocent calls are told why, and that they may be retried.
func TestKilledWorkersCallsAreToldWhy(t *testing.T) {
	w, heard := newWorker(t, WorkerOptions{Grace: 100 * time.Millisecond})
	warm(t, w)
	innocent := goCall(t.Context(), w, "pause", "")
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	_, err := w.Call(ctx, "ignore", nil)
	if d := died(t, err); !errors.Is(d.Cause, errOverdue) {
		t.Error(err)
	}
	if d := died(t, receive(t, "the other call", innocent).err); !strings.Contains(d.Error(), "may be retried (ignore)") {
		t.Error(d)
	}
	_ = heard
}

// A worker may answer the call that it is killed for at the last moment. The others are told all the same.
func TestLateAnswerCannotHideWhoWasOverdue(t *testing.T) {
	other := &call{name: "innocent", overdue: make(chan struct{})}
	died := &DiedError{Status: "signal: killed", Cause: overdueError{"late"}}
	err := died.forCall(other, map[uint64]*call{1: other})
	if !errors.Is(err.Cause, errAnother) || !strings.Contains(err.Error(), "may be retried (late)") {
		t.Error(err)
	}
}

func TestCloseDuringStartReturns(t *testing.T) {
	for _, name := range []string{"mute before Init", "stopped", "path"} {
		t.Run(name, func(t *testing.T) {
			o := WorkerOptions{Grace: grace}
			switch name {
			case "mute before Init":
				t.Setenv(testenv.ProgramEnv, "pauses before Init")
			case "stopped":
				t.Setenv(testenv.ProgramEnv, "stops before Init")
			case "path":
				o.Path = silentFS(t) + "/program"
			}
			w, _ := newWorker(t, o)
			ctx, cancel := context.WithTimeout(t.Context(), limit)
			defer cancel()
			returnsWithin(t, limit+tolerant, "Do", func() {
				if _, err := w.Call(ctx, "pid", nil); !errors.Is(err, context.DeadlineExceeded) {
					t.Error(err)
				}
			})
			returnsWithin(t, grace+tolerant, "Close", w.Close)
		})
	}
}

func init() {
	functions["stop"] = func(context.Context, codec.Value) *wire.Outcome {
		os.Stderr.WriteString("stopping\n")
		_ = unix.Kill(os.Getpid(), unix.SIGSTOP)
		return nil
	}
	functions["close all"] = func(context.Context, codec.Value) *wire.Outcome {
		os.Stderr.WriteString("closing\n")
		_ = unix.CloseRange(3, ^uint(0), 0)
		for {
			unix.Pause()
		}
	}
	functions["orphan the connection"] = func(context.Context, codec.Value) *wire.Outcome { // which then has no end
		var fds [2]int
		check(unix.Pipe(fds[:]))
		check(unix.Dup3(fds[0], child.Ends.In, 0))
		os.Stderr.WriteString("orphaned\n")
		for {
			unix.Pause()
		}
	}
	testenv.Program("pauses before Init", pauseForever)
	testenv.Program("stops before Init", func() { _ = unix.Kill(os.Getpid(), unix.SIGSTOP) })
}

// silentFS mounts a FUSE file system that says hello and then nothing any more.
func silentFS(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	end, err := testenv.SilentFS(dir)
	need(t, "fuse", err)
	t.Cleanup(end)
	return dir
}

// frozenCgroup is a directory of cgroup v2 in which nothing runs.
func frozenCgroup(t *testing.T) (dir string, freeze func(on bool)) {
	t.Helper()
	dir = cgroup2(t)
	freeze = func(on bool) {
		b := "0"
		if on {
			b = "1"
		}
		need(t, "freezer", os.WriteFile(dir+"/cgroup.freeze", []byte(b), 0))
	}
	t.Cleanup(func() { freeze(false) })
	return dir, freeze
}

func TestFrozenCgroup(t *testing.T) {
	t.Run("before", func(t *testing.T) {
		dir, freeze := frozenCgroup(t)
		freeze(true)
		w, _ := newWorker(t, WorkerOptions{Grace: grace, Cgroup: dir})
		ctx, cancel := context.WithTimeout(t.Context(), limit)
		defer cancel()
		returnsWithin(t, limit+grace+tolerant, "Do", func() {
			if _, err := w.Call(ctx, "pid", nil); !errors.Is(err, ErrFrozen) || !strings.Contains(err.Error(), dir) {
				t.Error(err)
			}
		})
		returnsWithin(t, grace+tolerant, "Close", w.Close)
	})
	t.Run("above", func(t *testing.T) {
		dir, freeze := frozenCgroup(t)
		if err := os.Mkdir(dir+"/below", 0o755); err != nil {
			t.Fatal(err)
		}
		defer os.Remove(dir + "/below")
		freeze(true)
		w, _ := newWorker(t, WorkerOptions{Grace: grace, Cgroup: dir + "/below"})
		if _, err := w.Call(t.Context(), "pid", nil); !errors.Is(err, ErrFrozen) {
			t.Error(err)
		}
		w.Close()
	})
	t.Run("during a call", func(t *testing.T) {
		dir, freeze := frozenCgroup(t)
		w, heard := newWorker(t, WorkerOptions{Grace: grace, Cgroup: dir})
		ctx, cancel := context.WithTimeout(t.Context(), limit)
		defer cancel()
		c := goCall(ctx, w, "wait", "")
		heard.waitFor(t, "waiting", 1)
		freeze(true)
		returnsWithin(t, limit+grace+tolerant, "Do", func() {
			if r := <-c; !errors.Is(r.err, ErrFrozen) {
				t.Error(r.err)
			}
		})
		returnsWithin(t, grace+tolerant, "Close", w.Close)
	})
	t.Run("between look and clone", func(t *testing.T) {
		dir, freeze := frozenCgroup(t)
		cgroup, err := OpenCgroup(dir)
		if err != nil {
			t.Fatal(err)
		}
		defer cgroup.Close()
		c := exec.Command("sleep", "30")
		c.SysProcAttr = workerSysProcAttr()
		c.SysProcAttr.UseCgroupFD, c.SysProcAttr.CgroupFD = true, int(cgroup.Fd())
		returnsWithin(t, freezeTimeout+tolerant, "the clone", func() {
			err = CloneInto(cgroup, func() error {
				freeze(true)
				return c.Start()
			})
		})
		if !errors.Is(err, ErrFrozen) {
			t.Error(err)
		}
		if c.Process != nil {
			c.Wait()
		}
	})
}

func init() {
	testenv.Program("clones into what is frozen meanwhile", func() {
		os.Unsetenv(testenv.ProgramEnv)
		dir := os.Args[1]
		cgroup, err := OpenCgroup(dir)
		check(err)
		c := exec.Command("sleep", "30")
		c.SysProcAttr = workerSysProcAttr()
		c.SysProcAttr.UseCgroupFD, c.SysProcAttr.CgroupFD = true, int(cgroup.Fd())
		err = CloneInto(cgroup, func() error {
			check(os.WriteFile(dir+"/cgroup.freeze", []byte("1"), 0))
			return c.Start()
		})
		os.Stdout.WriteString(strconv.FormatBool(errors.Is(err, ErrFrozen)) + "\n")
	})
}

// Where /proc is another pid namespace's, the ids of cgroup.procs are strangers there.
func TestForeignProcCannotHideWhoIsFrozen(t *testing.T) {
	for name, args := range map[string][]string{
		"a parent's":      {"--fork", "--pid", "--kill-child"},
		"a grandparent's": {"--fork", "--pid", "--kill-child", "unshare", "--fork", "--pid", "--kill-child"},
		"its own":         {"--fork", "--pid", "--kill-child", "--mount-proc"},
	} {
		t.Run(name, func(t *testing.T) {
			testenv.Need(t, testenv.Root, testenv.UtilLinux("unshare"))
			dir, freeze := frozenCgroup(t)
			exe, err := os.Executable()
			if err != nil {
				t.Fatal(err)
			}
			c := exec.Command("unshare", append(args, exe, dir)...)
			c.Env = append(os.Environ(), testenv.ProgramEnv+"=clones into what is frozen meanwhile")
			kill := time.AfterFunc(20*time.Second, func() {
				c.Process.Kill()
				freeze(false)
			})
			defer kill.Stop()
			if out, err := c.CombinedOutput(); err != nil || string(out) != "true\n" {
				t.Errorf("%v: %s", err, out)
			}
		})
	}
}

// stoppedInit prints the two processes of a pid namespace's init, after stopping some of them.
func stoppedInit(stop func(original, init int)) {
	os.Unsetenv(testenv.ProgramEnv)
	c := ownUser()
	c.Unshare |= unix.CLONE_NEWPID
	made, err := Create(context.Background(), c)
	check(err)
	keep = append(keep, made)
	original := testenv.ChildrenNamed(os.Getpid(), "gonso-init")[0]
	inits := testenv.ChildrenNamed(original, "gonso-init")
	stop(original, inits[0])
	os.Stdout.WriteString(strconv.Itoa(original) + "\n" + strconv.Itoa(inits[0]) + "\n")
	pauseForever()
}

func init() {
	sigstop := func(pid int) { check(unix.Kill(pid, unix.SIGSTOP)) }
	testenv.Program("init, original stopped", func() { stoppedInit(func(original, _ int) { sigstop(original) }) })
	testenv.Program("init, stopped", func() { stoppedInit(func(_, init int) { sigstop(init) }) })
	testenv.Program("init, both stopped", func() {
		stoppedInit(func(original, init int) {
			sigstop(init)
			sigstop(original)
		})
	})
}

// Nor the init of a pid namespace, whoever has stopped it.
func TestKilledParentCannotLeaveAStoppedInit(t *testing.T) {
	needUserNS(t)
	for _, program := range []string{"init, original stopped", "init, stopped", "init, both stopped"} {
		t.Run(program, func(t *testing.T) {
			for _, pid := range parentOf(t, program, 2) {
				eventually(t, "it ends", func() bool { return !alive(pid) })
			}
		})
	}
}
