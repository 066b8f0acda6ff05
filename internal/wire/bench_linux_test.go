package wire

import (
	"os"
	"os/exec"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/gonso/gonso/internal/codec"
)

func init() {
	testMode["raw"] = rawPeer
	testMode["conn"] = connPeer
}

// rawPeer echoes with nothing but a thread in between: the floor.
func rawPeer() {
	ends, err := TakeEnds(3)
	if err != nil {
		panic(err)
	}
	b := make([]byte, 4096)
	for {
		n, err := unix.Read(ends.In, b)
		if n <= 0 || err != nil {
			return
		}
		unix.Write(ends.Out, b[:n])
	}
}

// connPeer answers as a worker does, without a function to run.
func connPeer() {
	ends, err := TakeEnds(3)
	if err != nil {
		panic(err)
	}
	c, err := ends.Conn()
	if err != nil {
		panic(err)
	}
	for {
		f, err := c.Read()
		if err != nil {
			return
		}
		req, err := ParseRequest(f)
		if err != nil {
			panic(err)
		}
		out := Outcome{Kind: Returned, Value: req.Value}
		if f, err = out.Frame(f.ID); err != nil {
			panic(err)
		}
		if err := c.Write(&f); err != nil {
			return
		}
	}
}

func startPeer(b *testing.B, mode string) *Conn {
	ours, theirs, err := Pair()
	if err != nil {
		b.Fatal(err)
	}
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), "WIRE_TEST_PEER="+mode)
	cmd.ExtraFiles = []*os.File{theirs}
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	theirs.Close()
	b.Cleanup(func() {
		ours.Close()
		cmd.Wait()
	})
	return ours
}

// BenchmarkRoundTrip compares a call's frames, value and outcome with the bare floor, two processes
// each, interleaved.
func BenchmarkRoundTrip(b *testing.B) {
	type arg struct {
		Path string
		N    int
	}
	raw := startPeer(b, "raw")
	buf := make([]byte, 4096)
	rawTrip := func() {
		if _, err := raw.out.file.Write(buf[:40]); err != nil {
			b.Fatal(err)
		}
		if _, err := raw.in.file.Read(buf); err != nil {
			b.Fatal(err)
		}
	}
	c := startPeer(b, "conn")
	trip := func() {
		in, err := codec.Encode(arg{"/some/path", 42})
		if err != nil {
			b.Fatal(err)
		}
		f, err := (&Request{Name: "some.function", Value: in}).Frame(1)
		if err != nil {
			b.Fatal(err)
		}
		if err := c.Write(&f); err != nil {
			b.Fatal(err)
		}
		if f, err = c.Read(); err != nil {
			b.Fatal(err)
		}
		o, err := ParseOutcome(f)
		if err != nil {
			b.Fatal(err)
		}
		var out arg
		if err := o.Value.Decode(&out); err != nil {
			b.Fatal(err)
		}
	}
	const batch = 100
	rawTrip()
	trip()
	var floor, ours []time.Duration
	timed := func(f func()) time.Duration {
		start := time.Now()
		for range batch {
			f()
		}
		return time.Since(start) / batch
	}
	for b.Loop() {
		floor = append(floor, timed(rawTrip))
		ours = append(ours, timed(trip))
	}
	median := func(d []time.Duration) float64 {
		slices.Sort(d)
		return float64(d[len(d)/2].Nanoseconds())
	}
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(median(floor), "floor-ns")
	b.ReportMetric(median(ours), "wire-ns")
	b.ReportMetric(median(ours)/median(floor), "ratio")
}

// BenchmarkConn is a frame there and back in one goroutine: what it costs without waiting.
func BenchmarkConn(b *testing.B) {
	for name, size := range map[string]int{"64B": 64, "10MiB": 10 << 20} {
		b.Run(name, func(b *testing.B) {
			x, y := pair(b)
			go func() {
				for {
					if _, err := y.Read(); err != nil {
						return
					}
					if err := y.Write(&Frame{Type: Cancel}); err != nil {
						return
					}
				}
			}()
			f := Frame{Type: Call, Payload: make([]byte, size)}
			b.ReportAllocs()
			b.SetBytes(int64(size))
			for b.Loop() {
				if err := x.Write(&f); err != nil {
					b.Fatal(err)
				}
				if _, err := x.Read(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
