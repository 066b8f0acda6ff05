package gonso

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/gonso/gonso/internal/testenv"
)

// Files in arguments and results, on both backends.

type parcel struct {
	Name  string
	File  *os.File
	More  []*os.File
	ByKey map[string]*os.File
}

// exchange reads from File what it writes to More[0], and gives both back among
// others.
var exchange = Register("test.files.exchange", func(_ context.Context, in parcel) (parcel, error) {
	switch in.Name {
	case "panics":
		panic("with files")
	case "exits":
		runtime.Goexit()
	case "fails":
		r, err := os.Open("/dev/null")
		return parcel{File: r}, errors.Join(err, fs.ErrInvalid)
	case "closes":
		return parcel{}, in.File.Close()
	case "closed result":
		in.File.Close()
		return parcel{File: in.File}, nil
	case "too many":
		out := parcel{More: make([]*os.File, 251)}
		for i := range out.More {
			out.More[i] = in.File
		}
		return out, nil
	}
	if in.File == nil {
		return parcel{Name: "none"}, nil
	}
	b, err := io.ReadAll(in.File)
	if err != nil {
		return parcel{}, err
	}
	if _, err := in.More[0].Write(b); err != nil {
		return parcel{}, err
	}
	for _, f := range []*os.File{in.File, in.More[0]} {
		if flags, err := unix.FcntlInt(f.Fd(), unix.F_GETFD, 0); err != nil || flags&unix.FD_CLOEXEC == 0 {
			return parcel{}, fmt.Errorf("flags %d, %v", flags, err)
		}
	}
	dir, err := os.Open("/")
	if err != nil {
		return parcel{}, err
	}
	return parcel{Name: string(b), File: dir, ByKey: map[string]*os.File{"same": in.More[0], "nil": nil}}, nil
})

func bothBackends(t *testing.T, f func(t *testing.T, opt DoOption)) {
	testenv.Need(t, testenv.Process)
	for name, opt := range map[string]DoOption{"thread": InThread(), "process": InProcess(), "isolated": Isolated()} {
		t.Run(name, func(t *testing.T) {
			testenv.Leaks(t)
			f(t, opt)
		})
	}
}

// workerFiles counts the descriptors of the Set's worker.
var workerFiles = Register("test.files.count", func(context.Context, struct{}) (int, error) {
	entries, err := os.ReadDir("/proc/self/fd")
	return len(entries), err
})

func TestFilesCrossBothWays(t *testing.T) {
	bothBackends(t, func(t *testing.T, opt DoOption) {
		s := owned(t)(Current(UTS))
		count := func() int {
			n, err := workerFiles.Do(t.Context(), s, struct{}{}, opt)
			if err != nil {
				t.Fatal(err)
			}
			return n
		}
		count()
		before := count()
		for range 20 {
			in, inW, err := os.Pipe()
			if err != nil {
				t.Fatal(err)
			}
			outR, out, err := os.Pipe()
			if err != nil {
				t.Fatal(err)
			}
			fmt.Fprint(inW, "hello")
			inW.Close()
			got, err := exchange.Do(t.Context(), s, parcel{File: in, More: []*os.File{out}}, opt)
			if err != nil {
				t.Fatal(err)
			}
			if fi, err := got.File.Stat(); err != nil || !fi.IsDir() || got.Name != "hello" {
				t.Errorf("%+v: %v, %v", got, fi, err)
			}
			// The caller's are open, and what came back is the same pipe.
			if _, err := out.WriteString(" mine"); err != nil {
				t.Error(err)
			}
			if _, err := got.ByKey["same"].WriteString(" theirs"); err != nil {
				t.Error(err)
			}
			out.Close()
			got.ByKey["same"].Close()
			got.File.Close()
			// The end is seen, so nobody kept one.
			if b, err := io.ReadAll(outR); err != nil || string(b) != "hello mine theirs" {
				t.Errorf("%q, %v", b, err)
			}
			outR.Close()
			in.Close()
		}
		if got, err := exchange.Do(t.Context(), s, parcel{}, opt); err != nil || got.Name != "none" || got.File != nil {
			t.Errorf("%+v, %v", got, err)
		}
		if after := count(); after > before+2 { // the test's own, on a thread
			t.Errorf("%d descriptors where it runs, %d before", after, before)
		}
	})
}

// None leaks when a call fails half way, on either side.
func TestFilesCannotLeakFromFailedCalls(t *testing.T) {
	bothBackends(t, func(t *testing.T, opt DoOption) {
		s := owned(t)(Current(UTS))
		r, w, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		closed, err := os.Open("/dev/null")
		if err != nil {
			t.Fatal(err)
		}
		closed.Close()
		many := make([]*os.File, 251)
		for i := range many {
			many[i] = r
		}
		cancelled, cancel := context.WithCancel(t.Context())
		cancel()
		for _, c := range []struct {
			name string
			ctx  context.Context
			in   parcel
			want string
		}{
			{"fails", nil, parcel{Name: "fails", File: w}, fs.ErrInvalid.Error()},
			{"panics", nil, parcel{Name: "panics", File: w}, "with files"},
			{"exits", nil, parcel{Name: "exits", File: w}, "Goexit"},
			{"closes", nil, parcel{Name: "closes", File: w}, ""},
			{"closed argument", nil, parcel{File: w, More: []*os.File{closed}}, "field More"},
			{"closed result", nil, parcel{Name: "closed result", File: w}, "field File"},
			{"too many", nil, parcel{More: many}, "more than 250 files"},
			{"too many results", nil, parcel{Name: "too many", File: w}, "more than 250 files"},
			{"cancelled", cancelled, parcel{File: w}, "canceled"},
		} {
			ctx := c.ctx
			if ctx == nil {
				ctx = t.Context()
			}
			got, err := exchange.Do(ctx, s, c.in, opt)
			if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
				t.Errorf("%s: %v, want %q", c.name, err, c.want)
			}
			if c.name == "fails" { // a result besides the error
				if _, err := got.File.Stat(); err != nil {
					t.Error(err)
				}
				got.File.Close()
			} else if got.File != nil || got.More != nil {
				t.Errorf("%s: %+v", c.name, got)
			}
		}
		// Nobody else has the pipe's other end.
		w.Close()
		if b, err := io.ReadAll(r); err != nil || len(b) > 0 {
			t.Errorf("%q, %v", b, err)
		}
	})
}

var waitForEnd = Register("test.files.wait", func(ctx context.Context, f *os.File) (*os.File, error) {
	fmt.Fprintln(f, "waiting")
	<-ctx.Done()
	return os.Open("/dev/null")
})

// A result that comes late, when the caller's context is done, is the caller's.
func TestLateFilesCannotLeak(t *testing.T) {
	bothBackends(t, func(t *testing.T, opt DoOption) {
		s := owned(t)(Current(UTS))
		r, w, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		defer w.Close()
		var wg sync.WaitGroup
		for range 8 {
			ctx, cancel := context.WithTimeout(t.Context(), testenv.Limit)
			wg.Go(func() {
				defer cancel()
				if f, err := waitForEnd.Do(ctx, s, w, opt); err == nil {
					f.Close()
				} else if !errors.Is(err, context.Canceled) {
					t.Error(err)
				}
			})
			if line, err := bufio.NewReaderSize(io.LimitReader(r, 8), 16).ReadString('\n'); err != nil || line != "waiting\n" {
				t.Fatalf("%q, %v", line, err)
			}
			cancel()
		}
		wg.Wait()
	})
}

var listenInside = Register("test.files.listen", func(ctx context.Context, network string) (*os.File, error) {
	l, err := new(net.ListenConfig).Listen(ctx, network, "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	defer l.Close()
	return l.(*net.TCPListener).File()
}, StartsGoroutines())

// A socket that was made inside listens there, whoever has it.
func TestSocketOfAFunctionStaysInside(t *testing.T) {
	testenv.Need(t, testenv.UserNS, testenv.Process)
	testenv.Leaks(t)
	s := unshare(t, User|Net, LoopbackUp())
	f, err := listenInside.Do(t.Context(), s, "tcp")
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.FileListener(f)
	f.Close()
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if c, err := net.DialTimeout("tcp", l.Addr().String(), time.Second); err == nil {
		c.Close()
		t.Error("it can be reached from outside")
	}
	done := make(chan error, 1)
	go func() {
		c, err := l.Accept()
		if err == nil {
			_, err = io.Copy(c, strings.NewReader("inside"))
			c.Close()
		}
		done <- err
	}()
	if got, err := readFrom.Do(t.Context(), s, l.Addr().String()); err != nil || got != "inside" {
		t.Errorf("%q, %v", got, err)
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
}

var readFrom = Register("test.files.read", func(ctx context.Context, address string) (string, error) {
	c, err := new(net.Dialer).DialContext(ctx, "tcp", address)
	if err != nil {
		return "", err
	}
	defer c.Close()
	b, err := io.ReadAll(c)
	return string(b), err
}, StartsGoroutines())

var standardStreams = Register("test.files.standard", func(context.Context, struct{}) ([]*os.File, error) {
	return []*os.File{os.Stdin, os.Stdout, os.Stderr}, nil
})

// They are those of the whole process: of the program itself on a thread.
func TestStandardStreamsCannotBeClosedByAResult(t *testing.T) {
	bothBackends(t, func(t *testing.T, opt DoOption) {
		s := owned(t)(new(Set), nil)
		for range 2 {
			files, err := standardStreams.Do(t.Context(), s, struct{}{}, opt)
			if err != nil {
				t.Fatal(err)
			}
			for i, f := range files {
				if f == nil || int(f.Fd()) <= 2 || f.Close() != nil {
					t.Errorf("stream %d is %v", i, f)
				}
			}
			for i, f := range []*os.File{os.Stdin, os.Stdout, os.Stderr} {
				if _, err := f.Stat(); err != nil {
					t.Fatalf("stream %d of this program: %v", i, err)
				}
			}
		}
	})
}
