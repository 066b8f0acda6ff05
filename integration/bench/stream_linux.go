package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/gonso/gonso/gonso"
	"github.com/gonso/gonso/integration/bench/record"
)

// What goes through a pipe, from this process to another.
const (
	streamed = 1 << 30
	chunk    = 64 << 10
)

func init() { roles["bench-sink"] = serveSink }

// sink is what is at the other end, for everybody.
func sink(r io.Reader) (n int64, err error) {
	b := make([]byte, chunk)
	for n < streamed {
		m, err := r.Read(b)
		n += int64(m)
		if err == io.EOF {
			break
		}
		if err != nil {
			return n, err
		}
	}
	return n, nil
}

func pour(w io.Writer) error {
	b := make([]byte, chunk)
	for range streamed / chunk {
		if _, err := w.Write(b); err != nil {
			return err
		}
	}
	return nil
}

// serveSink says a byte each time that all has arrived.
func serveSink() {
	for {
		if n, err := sink(os.Stdin); err != nil || n < streamed {
			return
		}
		if _, err := os.Stdout.Write([]byte{1}); err != nil {
			return
		}
	}
}

var (
	sinkFile   = gonso.Register("bench.sink", func(_ context.Context, f *os.File) (int64, error) { return sink(f) }, gonso.LeavesThreadClean())
	sinkPlain  = gonso.Register("bench.sink.plain", func(_ context.Context, f *os.File) (int64, error) { return sink(f) })
	sinkReader = gonso.Register("bench.sink.reader", func(_ context.Context, r io.Reader) (int64, error) { return sink(r) }, gonso.LeavesThreadClean())
)

// ramp is a reader of what pour writes.
type ramp struct{ left int }

func (r *ramp) Read(p []byte) (int, error) {
	if r.left == 0 {
		return 0, io.EOF
	}
	n := min(len(p), r.left)
	r.left -= n
	return n, nil
}

func arrived(n int64, err error) error {
	if err == nil && n != streamed {
		err = fmt.Errorf("%d bytes arrived", n)
	}
	return err
}

// stream compares a pipe to a function in a process with one between two plain
// processes, both of which are there already.
func stream() (_ *race, err error) {
	r := &race{limit: 1.25} // 80 % of its throughput
	defer r.abandon(&err)
	plain, err := plainStream(r, 0)
	if err != nil {
		return nil, err
	}
	wide, err := plainStream(r, 256<<10)
	if err != nil {
		return nil, err
	}
	s, err := r.made(gonso.User | gonso.Net)
	if err != nil {
		return nil, err
	}
	passed := func(f *gonso.Func[*os.File, int64], blocking bool) error {
		pr, pw, err := os.Pipe()
		if err != nil {
			return err
		}
		defer pr.Close()
		if blocking {
			pr.Fd() // sets that, as os/exec does with what it passes
		}
		poured := make(chan error, 1)
		go func() {
			err := pour(pw)
			poured <- errors.Join(err, pw.Close())
		}()
		err = arrived(f.Do(context.Background(), s, pr, gonso.InProcess()))
		return errors.Join(err, pr.Close(), <-poured)
	}
	r.ways = []way{
		{"1 GiB between two plain processes", again(plain)},
		{"gonso, a passed pipe", again(func() error { return passed(sinkPlain, false) })},
		{"gonso, and the end blocks, as os/exec passes it", again(func() error { return passed(sinkPlain, true) })},
		{"two plain processes, a pipe as wide as gonso makes it", again(wide)},
		{"gonso, LeavesThreadClean", again(func() error { return passed(sinkFile, false) })},
		{"gonso, an io.Reader", again(func() error {
			return arrived(sinkReader.Do(context.Background(), s, &ramp{streamed}, gonso.InProcess()))
		})},
	}
	return r, nil
}

// plainStream starts a plain process, and gives what pours into a pipe to it. A size
// of 0 leaves the pipe as it is.
func plainStream(r *race, size int) (func() error, error) {
	cmd := asRole("bench-sink")
	theirs, in, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer theirs.Close()
	out, err := cmd.StdoutPipe()
	if err == nil && size > 0 {
		err = widen(in, size)
	}
	if err == nil {
		cmd.Stdin = theirs
		err = cmd.Start()
	}
	if err != nil {
		in.Close()
		return nil, err
	}
	r.close = append(r.close, func() error { return errors.Join(in.Close(), cmd.Wait()) })
	return func() error {
		if err := pour(in); err != nil {
			return err
		}
		_, err := io.ReadFull(out, make([]byte, 1))
		return err
	}, nil
}

func widen(pipe *os.File, size int) error {
	raw, err := pipe.SyscallConn()
	if err != nil {
		return err
	}
	cerr := raw.Control(func(fd uintptr) { _, err = unix.FcntlInt(fd, unix.F_SETPIPE_SZ, size) })
	return errors.Join(cerr, err)
}

// streamRow is a race whose ways take too long to be tried out first.
func streamRow() row {
	const name = "1 GiB through a pipe"
	return row{name: name, race: stream, once: time.Second, each: 3 * time.Second, measure: func(o *options) ([]record.Line, error) {
		r, err := stream()
		if err != nil {
			return nil, err
		}
		results := make([][]time.Duration, len(r.ways))
		for range o.rounds {
			for i, w := range r.ways {
				took, werr := w.timed(1)
				if werr != nil {
					return nil, errors.Join(fmt.Errorf("%s: %w", w.name, werr), r.Close())
				}
				results[i] = append(results[i], took)
			}
		}
		if err := r.Close(); err != nil {
			return nil, err
		}
		return r.lines(name, results), nil
	}}
}
