package reexec

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/gonso/gonso/child"
	"github.com/gonso/gonso/internal/codec"
	"github.com/gonso/gonso/internal/testenv"
	"github.com/gonso/gonso/internal/wire"
)

// fake is a worker that does not keep to the protocol. It answers "pid" as it
// should, and any other call by misbehaving.
type fake struct {
	conn *wire.Conn
	ends wire.Ends
}

const fakePrefix = "fake: "

// greeted is a fake that got as far as a worker does.
func greeted() *fake {
	f := ungreeted()
	f.frame(wire.Hello{Protocol: wire.Version, PID: 1}.Frame(wire.Ready))
	return f
}

// ungreeted has said Alive, in package init of child.
func ungreeted() *fake {
	f := &fake{ends: child.Ends}
	var err error
	f.conn, err = f.ends.Conn()
	check(err)
	return f
}

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, fakePrefix, err)
		os.Exit(99)
	}
}

func (f *fake) frame(fr wire.Frame) { check(f.conn.Write(&fr)) }

// raw sends bytes that need not be a frame, and before them descriptors.
func (f *fake) raw(b []byte, fds ...int) {
	if len(fds) > 0 {
		err := unix.Sendmsg(f.ends.Socket, []byte{0}, unix.UnixRights(fds...), nil, unix.MSG_NOSIGNAL)
		if err == unix.EPIPE || err == unix.ECONNRESET {
			return // it has been seen through
		}
		check(err)
	}
	for len(b) > 0 {
		n, err := unix.Write(f.ends.Out, b)
		if err == unix.EPIPE {
			return
		}
		check(err)
		b = b[n:]
	}
}

func header(typ byte, files uint16, length uint32, id uint64) []byte {
	b := []byte{'g', wire.Version, typ, 0}
	b = binary.LittleEndian.AppendUint16(b, files)
	b = append(b, 0, 0)
	b = binary.LittleEndian.AppendUint32(b, length)
	return binary.LittleEndian.AppendUint64(b, id)
}

// call answers what it should until a call comes that it should not.
func (f *fake) call() wire.Frame {
	for {
		fr, err := f.conn.Read()
		if err != nil {
			os.Exit(0) // the parent has had enough
		}
		if fr.Type != wire.Call {
			continue
		}
		req, err := wire.ParseRequest(fr)
		check(err)
		if req.Name != "pid" {
			return fr
		}
		f.answer(fr.ID, strconv.Itoa(os.Getpid()))
	}
}

func (f *fake) answer(id uint64, value string) {
	fr, err := returned(value).Frame(id)
	check(err)
	f.frame(fr)
}

// devNulls opens n descriptors.
func devNulls(n int) []int {
	fds := make([]int, n)
	for i := range fds {
		var err error
		fds[i], err = unix.Open("/dev/null", unix.O_RDONLY, 0)
		check(err)
	}
	return fds
}

// fakes misbehave on a call. They go on running, so that it is the parent who
// ends them.
var fakes = map[string]func(f *fake, c wire.Frame){
	"garbage": func(f *fake, c wire.Frame) {
		b := make([]byte, 64<<10)
		for i := range b {
			b[i] = byte(rand.Uint32())
		}
		b[0] = 'x'
		f.raw(b)
	},
	"huge length":     func(f *fake, c wire.Frame) { f.raw(header(byte(wire.Result), 0, ^uint32(0), c.ID)) },
	"length over cap": func(f *fake, c wire.Frame) { f.raw(header(byte(wire.Result), 0, wire.MaxPayload+1, c.ID)) },
	"too many files":  func(f *fake, c wire.Frame) { f.raw(header(byte(wire.Result), ^uint16(0), 0, c.ID)) },
	"unknown frame":   func(f *fake, c wire.Frame) { f.raw(header(77, 0, 0, c.ID)) },
	"frame of type 0": func(f *fake, c wire.Frame) { f.raw(header(0, 0, 0, c.ID)) },
	"parent's frame":  func(f *fake, c wire.Frame) { f.frame(c) },
	"another version": func(f *fake, c wire.Frame) {
		f.raw(append([]byte{'g', 99}, header(byte(wire.Result), 0, 0, c.ID)[2:]...))
	},
	"greets again":    func(f *fake, c wire.Frame) { f.frame(wire.Hello{Protocol: wire.Version, PID: 1}.Frame(wire.Ready)) },
	"unsolicited":     func(f *fake, c wire.Frame) { f.answer(c.ID+999, "nobody asked") },
	"empty outcome":   func(f *fake, c wire.Frame) { f.raw(header(byte(wire.Result), 0, 0, c.ID)) },
	"unknown outcome": func(f *fake, c wire.Frame) { f.raw(append(header(byte(wire.Result), 0, 2, c.ID), 200, 0)) },
	"garbled outcome": func(f *fake, c wire.Frame) {
		f.raw(append(header(byte(wire.Result), 0, 4, c.ID), byte(wire.Returned), 0xff, 0xff, 0xff))
	},
	"files without any": func(f *fake, c wire.Frame) { f.raw(header(byte(wire.Result), 3, 0, c.ID)) },
	"stray files": func(f *fake, c wire.Frame) { // taken for those that come next
		f.raw(nil, devNulls(200)...)
		f.raw(append(header(byte(wire.Result), 3, 2, c.ID), byte(wire.Returned), 0), devNulls(3)...)
	},
	"stray files, garbage": func(f *fake, c wire.Frame) { f.raw([]byte("xxxxxxxxxxxxxxxxxxxxxxxx"), devNulls(100)...) },
	"bytes for files": func(f *fake, c wire.Frame) {
		check(unix.Sendmsg(f.ends.Socket, []byte("bytes"), nil, nil, 0))
		f.raw(append(header(byte(wire.Result), 3, 2, c.ID), byte(wire.Returned), 0), devNulls(3)...)
	},
	"no socket for files": func(f *fake, c wire.Frame) {
		check(unix.Shutdown(f.ends.Socket, unix.SHUT_RDWR))
		f.raw(append(header(byte(wire.Result), 3, 2, c.ID), byte(wire.Returned), 0))
	},
	"more files than may be": func(f *fake, c wire.Frame) {
		f.raw(append(header(byte(wire.Result), 253, 2, c.ID), byte(wire.Returned), 0), devNulls(253)...)
	},
	"half a header": func(f *fake, c wire.Frame) {
		f.raw(header(byte(wire.Result), 0, 0, c.ID)[:10])
		os.Exit(0)
	},
	"half a payload": func(f *fake, c wire.Frame) {
		f.raw(append(header(byte(wire.Result), 0, 1<<20, c.ID), byte(wire.Returned)))
		os.Exit(0)
	},
	"half a payload with files": func(f *fake, c wire.Frame) {
		f.raw(append(header(byte(wire.Result), 50, 1<<20, c.ID), byte(wire.Returned)), devNulls(50)...)
		os.Exit(0)
	},
	"closes and stays": func(f *fake, c wire.Frame) { f.conn.Close() },
}

func init() {
	for name, f := range fakes {
		testenv.Program(fakePrefix+name, func() {
			g := greeted()
			f(g, g.call())
			pauseForever()
		})
	}
	// Those that the parent puts up with.
	testenv.Program(fakePrefix+"wanted files", func() {
		f := greeted()
		c := f.call()
		f.raw(append(header(byte(wire.Result), 200, 2, c.ID), byte(wire.Returned), 0), devNulls(200)...)
		f.call()
	})
	testenv.Program(fakePrefix+"unannounced files", func() {
		f := greeted()
		for {
			c := f.call()
			f.raw(nil, devNulls(200)...)
			f.answer(c.ID, "fine")
		}
	})
	testenv.Program(fakePrefix+"answers twice", func() {
		f := greeted()
		c := f.call()
		f.answer(c.ID, "once")
		f.answer(c.ID, "twice")
		pauseForever()
	})
	testenv.Program(fakePrefix+"mute", func() {
		f := greeted()
		f.call()
		pauseForever()
	})
	testenv.Program(fakePrefix+"floods stderr", func() {
		f := greeted()
		f.call()
		chunk := bytes.Repeat([]byte("x"), 64<<10)
		for range 160 {
			os.Stderr.Write(chunk)
		}
		os.Exit(1)
	})
	// Greetings.
	testenv.Program(fakePrefix+"garbage for a greeting", func() {
		ungreeted().raw([]byte("HTTP/1.1 400 Bad Request\r\n\r\n"))
		pauseForever()
	})
	testenv.Program(fakePrefix+"another greeting", func() {
		ungreeted().frame(wire.Hello{Protocol: wire.Version}.Frame(wire.Alive))
		pauseForever()
	})
	testenv.Program(fakePrefix+"result for a greeting", func() {
		ungreeted().answer(1, "")
		pauseForever()
	})
	testenv.Program(fakePrefix+"greeting of another version", func() {
		ungreeted().frame(wire.Hello{Protocol: wire.Version + 1}.Frame(wire.Ready))
		pauseForever()
	})
	testenv.Program(fakePrefix+"files for a greeting", func() {
		hello := wire.Hello{Protocol: wire.Version, PID: 1}.Frame(wire.Ready)
		ungreeted().raw(append(header(byte(wire.Ready), 20, 8, 0), hello.Payload...), devNulls(20)...)
		pauseForever()
	})
}

// unharmed fails the test if descriptors of this process are left, or pid.
func unharmed(t *testing.T, before map[string]string, pid int) {
	t.Helper()
	if alive(pid) {
		t.Errorf("the worker %d is still there", pid)
	}
	// What a goroutine waits on is closed when that has seen it.
	var left []string
	if !testenv.Poll(func() bool {
		left = nil
		for fd, target := range descriptors() {
			if before[fd] == "" {
				left = append(left, fd+": "+target)
			}
		}
		return len(left) == 0
	}) {
		t.Errorf("descriptors are left: %q", left)
	}
}

// Nothing is trusted that comes back from a worker, which may be in hostile
// hands: the calls get errors, the worker goes, nothing stays.
func TestMaliciousWorkerCannotHurtItsParent(t *testing.T) {
	for name := range fakes {
		t.Run(name, func(t *testing.T) {
			t.Setenv(testenv.ProgramEnv, fakePrefix+name)
			before := descriptors()
			w, heard := newWorker(t, WorkerOptions{})
			pid := workerPID(t, w)
			_, err := w.Call(t.Context(), "echo", []byte("in"))
			if err == nil {
				t.Fatal("no error")
			}
			switch name {
			case "half a header", "half a payload", "half a payload with files", "closes and stays":
				died(t, err)
			case "empty outcome", "unknown outcome", "garbled outcome":
				// The call that it is about is told first.
				if !errors.Is(err, wire.ErrProtocol) {
					t.Error(err)
				}
			default:
				if died(t, err); !errors.Is(err, wire.ErrProtocol) {
					t.Error(err)
				}
			}
			if bytes.Contains([]byte(heard.String()), []byte(fakePrefix)) {
				t.Errorf("the fake failed: %s", heard)
			}
			eventually(t, "the worker is gone", func() bool { return !alive(pid) })
			os.Unsetenv(testenv.ProgramEnv)
			if workerPID(t, w) == pid {
				t.Error("it was kept")
			}
			w.Close()
			unharmed(t, before, pid)
		})
	}
}

func TestMaliciousGreetings(t *testing.T) {
	for _, name := range []string{"garbage for a greeting", "another greeting", "result for a greeting", "greeting of another version", "files for a greeting"} {
		t.Run(name, func(t *testing.T) {
			t.Setenv(testenv.ProgramEnv, fakePrefix+name)
			before := descriptors()
			w, _ := newWorker(t, WorkerOptions{})
			_, err := w.Call(t.Context(), "echo", nil)
			if died(t, err); !errors.Is(err, wire.ErrProtocol) || errors.Is(err, ErrNotInitialized) {
				t.Error(err)
			}
			w.Close()
			unharmed(t, before, -1)
		})
	}
}

// Descriptors that come with an answer are its caller's, who closes what was not
// asked for, as package gonso does: see codec.Value.Decode.
func TestUnaskedDescriptorsAreClosed(t *testing.T) {
	t.Setenv(testenv.ProgramEnv, fakePrefix+"wanted files")
	before := descriptors()
	w, _ := newWorker(t, WorkerOptions{})
	pid := workerPID(t, w)
	out, err := w.Call(t.Context(), "echo", nil)
	if err != nil || len(out.Value.Files) == 0 {
		t.Fatalf("%d descriptors, %v", len(out.Value.Files), err)
	}
	if err := (codec.Value{Bytes: []byte{0xf6}, Files: out.Value.Files}).Decode(new(any)); err != nil {
		t.Error(err)
	}
	for fd, target := range descriptors() {
		if before[fd] == "" && target == "/dev/null" {
			t.Errorf("descriptor %s is left: %s", fd, target)
		}
	}
	w.Close()
	unharmed(t, before, pid)
}

// Descriptors that no answer announces are not even taken, and go with the worker.
func TestUnannouncedDescriptorsAreNotTaken(t *testing.T) {
	t.Setenv(testenv.ProgramEnv, fakePrefix+"unannounced files")
	before := descriptors()
	w, _ := newWorker(t, WorkerOptions{})
	pid := workerPID(t, w)
	with := len(descriptors())
	for range 10 {
		if got := mustCall(t, w, "echo", ""); got != "fine" {
			t.Errorf("%q", got)
		}
	}
	if n := len(descriptors()); n != with {
		t.Errorf("%d descriptors, were %d", n, with)
	}
	w.Close()
	unharmed(t, before, pid)
}

// A program at its limit of open files loses the answer that brings more, and no worker.
func TestLackOfDescriptorsCostsOneCall(t *testing.T) {
	t.Run("here", func(t *testing.T) {
		t.Setenv(testenv.ProgramEnv, fakePrefix+"wanted files")
		before := descriptors()
		w, _ := newWorker(t, WorkerOptions{})
		pid := workerPID(t, w)
		restore := testenv.LimitFiles(t, 50)
		_, err := w.Call(t.Context(), "echo", nil)
		restore()
		if !errors.Is(err, unix.EMFILE) || errors.Is(err, ErrWorkerDied) {
			t.Error(err)
		}
		if again := workerPID(t, w); again != pid {
			t.Errorf("the worker was %d and is %d", pid, again)
		}
		w.Close()
		unharmed(t, before, pid)
	})
	t.Run("in the worker", func(t *testing.T) {
		w, _ := newWorker(t, WorkerOptions{Rlimits: []Rlimit{{Resource: unix.RLIMIT_NOFILE, Soft: 60, Hard: 60}}})
		pid := workerPID(t, w)
		f, err := os.Open("/dev/null")
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		out, err := w.Do(t.Context(), wire.Request{Name: "echo", Value: codec.Value{Files: slices.Repeat([]*os.File{f}, 100)}})
		if err != nil || out.Kind != wire.Unserved || !errors.Is(out.Err, unix.EMFILE) {
			t.Errorf("%+v, %v", out, err)
		}
		if again := workerPID(t, w); again != pid {
			t.Errorf("the worker was %d and is %d", pid, again)
		}
	})
}

func TestSecondAnswerEndsTheWorker(t *testing.T) {
	t.Setenv(testenv.ProgramEnv, fakePrefix+"answers twice")
	w, _ := newWorker(t, WorkerOptions{})
	pid := workerPID(t, w)
	if got := mustCall(t, w, "echo", ""); got != "once" {
		t.Errorf("%q", got)
	}
	eventually(t, "the worker is gone", func() bool { return !alive(pid) })
}

func TestMuteWorkerEndsWithTheContext(t *testing.T) {
	t.Setenv(testenv.ProgramEnv, fakePrefix+"mute")
	w, _ := newWorker(t, WorkerOptions{Grace: 30 * time.Millisecond})
	pid := workerPID(t, w)
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Millisecond)
	defer cancel()
	if _, err := w.Call(ctx, "echo", nil); !errors.Is(err, context.DeadlineExceeded) || !errors.Is(err, ErrWorkerDied) {
		t.Error(err)
	}
	if alive(pid) {
		t.Error("it is still there")
	}
}

func TestStderrFloodIsCut(t *testing.T) {
	t.Setenv(testenv.ProgramEnv, fakePrefix+"floods stderr")
	w, heard := newWorker(t, WorkerOptions{})
	_, err := w.Call(t.Context(), "echo", nil)
	if d := died(t, err); len(d.Stderr) != tailSize || d.Status != "exit status 1" {
		t.Errorf("%d bytes, %s", len(d.Stderr), d.Status)
	}
	if n := len(heard.String()); n != 160*64<<10 {
		t.Errorf("%d bytes were passed on", n)
	}
}
