package gonso

import (
	"context"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/gonso/gonso/internal/testenv"
)

// pipeSizes are the capacities of the files, -1 for what is no pipe.
var pipeSizes = Register("test.pipe.sizes", func(_ context.Context, files []*os.File) (sizes []int, err error) {
	for _, f := range files {
		sizes = append(sizes, pipeControl(f, unix.F_GETPIPE_SZ, 0))
	}
	return sizes, nil
})

func TestPipesAreWiderWhileACallLasts(t *testing.T) {
	bothBackends(t, func(t *testing.T, opt DoOption) {
		testenv.Leaks(t)
		var s Set
		defer s.Close()
		pipe := func(size int) (r, w *os.File) {
			r, w, err := os.Pipe()
			if err != nil {
				t.Fatal(err)
			}
			if size > 0 && pipeControl(r, unix.F_SETPIPE_SZ, size) < size {
				t.Fatalf("no pipe of %d bytes", size)
			}
			return r, w
		}
		usual, usualW := pipe(0)
		large, largeW := pipe(512 << 10)
		full, fullW := pipe(0)
		null, err := os.Open(os.DevNull)
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range []*os.File{usual, usualW, large, largeW, full, fullW, null} {
			defer f.Close()
		}
		was := pipeControl(usual, unix.F_GETPIPE_SZ, 0)
		if was >= pipeSize {
			t.Fatalf("the usual size is %d", was)
		}
		sizes, err := pipeSizes.Do(context.Background(), &s, []*os.File{usual, largeW, null, nil}, opt)
		if err != nil || len(sizes) != 4 || sizes[0] != pipeSize || sizes[1] != 512<<10 || sizes[2] != -1 || sizes[3] != -1 {
			t.Errorf("sizes inside: %v, %v", sizes, err)
		}
		if n := pipeControl(usual, unix.F_GETPIPE_SZ, 0); n != was {
			t.Errorf("%d afterwards, %d before", n, was)
		}
		if n := pipeControl(large, unix.F_GETPIPE_SZ, 0); n != 512<<10 {
			t.Errorf("the large one has %d afterwards", n)
		}

		// Nothing of what is in it is lost where it would no longer go in.
		want := strings.Repeat("x", pipeSize)
		if _, err := fillPipe.Do(context.Background(), &s, fullW, opt); err != nil {
			t.Fatal(err)
		}
		fullW.Close()
		got := make([]byte, pipeSize+1)
		n := 0
		for n < len(got) {
			m, err := full.Read(got[n:])
			n += m
			if err != nil {
				break
			}
		}
		if string(got[:n]) != want {
			t.Errorf("%d bytes of %d came out", n, len(want))
		}
	})
}

var fillPipe = Register("test.pipe.fill", func(_ context.Context, w *os.File) (int, error) {
	return w.Write([]byte(strings.Repeat("x", pipeSize)))
})
