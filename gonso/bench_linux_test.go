package gonso

import (
	"context"
	"errors"
	"runtime"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/gonso/gonso/internal/testenv"
)

// These are for profiles and for comparing one version with another. What counts
// are ratios to floors measured in the same run: see integration/bench.

type benchPoint struct {
	X, Y int
	Name string
}

func benchSame(_ context.Context, p benchPoint) (benchPoint, error) { return p, nil }

var (
	benchClean = Register("gonso.bench.clean", benchSame, LeavesThreadClean())
	benchPlain = Register("gonso.bench.plain", benchSame)
)

func benchSet(b *testing.B, types Type) *Set {
	b.Helper()
	s, err := Unshare(types)
	if errors.Is(err, unix.EPERM) || errors.Is(err, errors.ErrUnsupported) {
		testenv.Found(b, "rights", err)
	}
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { s.Close() })
	return s
}

// rawRestore is the floor of a Do that is restored: a setns there and back on a
// locked goroutine.
func rawRestore(s *Set, types Type) error {
	done := make(chan error)
	go func() {
		runtime.LockOSThread()
		for _, in := range []bool{true, false} {
			for _, t := range singles(types) {
				ns := home[t.index()]
				if _ = keepHome(t.index()); in {
					ns = s.get().ns[t.index()]
				}
				if err := unix.Setns(ns.FD(), int(t)); err != nil {
					done <- err // and the thread ends
					return
				}
			}
		}
		runtime.UnlockOSThread()
		done <- nil
	}()
	return <-done
}

func BenchmarkDo(b *testing.B) {
	yes := func() bool { return true }
	for _, types := range []Type{Net, Cgroup | Net | UTS} {
		for name, do := range map[string]func(*Set) error{
			"restored": func(s *Set) error { return s.Do(true, yes) },
			"dropped":  func(s *Set) error { return s.Do(false, yes) },
			"floor":    func(s *Set) error { return rawRestore(s, types) },
		} {
			b.Run(types.String()+"/"+name, func(b *testing.B) {
				s := benchSet(b, types)
				b.ReportAllocs()
				for b.Loop() {
					if err := do(s); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}

func BenchmarkFuncDo(b *testing.B) {
	call := func(b *testing.B, f *Func[benchPoint, benchPoint], s *Set, o DoOption) {
		in := benchPoint{1, 2, "x"}
		if out, err := f.Do(context.Background(), s, in, o); err != nil || out != in {
			b.Fatal(out, err)
		}
	}
	for _, c := range []struct {
		name  string
		types Type
		f     *Func[benchPoint, benchPoint]
		o     DoOption
	}{
		{"thread/clean", Net, benchClean, InThread()},
		{"thread/plain", Net, benchPlain, InThread()},
		{"process/clean", User | Net, benchClean, InProcess()},
		{"process/plain", User | Net, benchPlain, InProcess()},
	} {
		b.Run(c.name, func(b *testing.B) {
			s := benchSet(b, c.types)
			call(b, c.f, s, c.o)
			b.ReportAllocs()
			for b.Loop() {
				call(b, c.f, s, c.o)
			}
		})
		b.Run(c.name+"/parallel", func(b *testing.B) {
			s := benchSet(b, c.types)
			call(b, c.f, s, c.o)
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					if _, err := c.f.Do(context.Background(), s, benchPoint{}, c.o); err != nil {
						b.Error(err)
						return
					}
				}
			})
		})
	}
	b.Run("process/cold", func(b *testing.B) {
		s := benchSet(b, User|Net)
		for b.Loop() {
			d, err := s.Dup()
			if err != nil {
				b.Fatal(err)
			}
			call(b, benchPlain, d, InProcess())
			d.Close()
		}
	})
}

func BenchmarkUnshare(b *testing.B) {
	for _, types := range []Type{User, Net, User | Net | Mount | UTS | IPC | Cgroup} {
		b.Run(types.String(), func(b *testing.B) {
			benchSet(b, types)
			for b.Loop() {
				s, err := Unshare(types)
				if err != nil {
					b.Fatal(err)
				}
				s.Close()
			}
		})
	}
}
