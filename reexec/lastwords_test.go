package reexec

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
)

// hashicorp/terraform#26694: of a crash, what is kept is the trace of some goroutine, and not why.
func TestCauseOfACrashCannotBeCutOff(t *testing.T) {
	var before, trace strings.Builder
	for i := range 3000 {
		fmt.Fprintf(&before, "line %d of an ordinary day\n", i)
		fmt.Fprintf(&trace, "goroutine %d [select]:\nruntime.gopark(0x1, 0x2)\n\t/go/src/proc.go:1 +0x1\nmain.work()\n\t/x/main.go:2 +0x2\n\n", i+7)
	}
	for name, tt := range map[string]struct{ head, crash, where string }{
		"panic": {"panic: crashed on purpose\n\n", "panic: crashed on purpose", "main.fail"},
		"nested": {"panic: first [recovered]\n\tpanic: second\n[signal SIGSEGV: segmentation violation code=0x1 addr=0x0 pc=0x1]\n\n",
			"panic: first [recovered]\n\tpanic: second\n[signal SIGSEGV: segmentation violation code=0x1 addr=0x0 pc=0x1]", "main.fail"},
		"stack overflow": {"runtime: goroutine stack exceeds 1000000000-byte limit\nfatal error: stack overflow\n\nruntime stack:\nruntime.throw({0x1, 0x2})\n\t/go/src/panic.go:1\n\n",
			"runtime: goroutine stack exceeds 1000000000-byte limit\nfatal error: stack overflow", "main.fail"},
		"out of memory": {"fatal error: runtime: out of memory\n\n", "fatal error: runtime: out of memory", "main.fail"},
		"signal":        {"SIGXCPU: cpu limit exceeded\nPC=0x1 m=0 sigcode=0\n\n", "SIGXCPU: cpu limit exceeded\nPC=0x1 m=0 sigcode=0", "main.fail"},
		"in C": {"runtime/cgo: pthread_create failed: Resource temporarily unavailable\nSIGABRT: abort\nPC=0x1 m=0 sigcode=0\n\ngoroutine 0 gp=0x1 m=0 mp=0x2 [idle]:\n" +
			"runtime: g 0 gp=0x1: unknown pc 0x7f\nstack: frame={sp:0x7ff, fp:0x0} stack=[0x7fe,0x800)\n" + strings.Repeat("00007ffd6152e430: 00000000 00000000  00000000 00000000  ..(.......(.....\n", 10) + "\n",
			"runtime/cgo: pthread_create failed: Resource temporarily unavailable\nSIGABRT: abort\nPC=0x1 m=0 sigcode=0", "main.fail"},
	} {
		printed := before.String() + tt.head + "goroutine 5 [running]:\nruntime.gopanic(0x1)\n\t/go/src/panic.go:1\nmain.fail(...)\n\t/x/main.go:1 +0x1\ncreated by main.main in goroutine 1\n\n" + trace.String() + "exit status 2\n"
		for _, size := range []int{1, 7, 4096, len(printed)} {
			var l lastWords
			for rest := printed; rest != ""; {
				n := min(len(rest), size)
				l.take([]byte(rest[:n]))
				rest = rest[n:]
			}
			w := l.words()
			if w.crash != tt.crash || w.where != tt.where {
				t.Errorf("%s, %d bytes at once: %q, %q", name, size, w.crash, w.where)
			}
			for _, words := range []string{"line 0 of", tt.crash, "main.fail(...)", "exit status 2\n"} {
				if !strings.Contains(w.text, words) {
					t.Errorf("%s, %d bytes at once: no %q in %s", name, size, words, w.text)
				}
			}
			if len(w.text) > tailSize {
				t.Errorf("%s: %d bytes", name, len(w.text))
			}
		}
	}
}

// Several threads of a worker may crash for one cause. What a second one prints stands within the
// trace of the first.
func TestCauseCannotGetLostAmongThreads(t *testing.T) {
	const frames = "main.work({0x1, ...}, 0x2)\n\t/x/main.go:2 +0x2 fp=0x3 sp=0x4 pc=0x5\nmain.more(...)\n\t/x/main.go:7 +0x2\n"
	const thread = "runtime/cgo: pthread_create failed: Resource temporarily unavailable\n"
	cgo := thread + "SIGABRT: abort\nPC=0x1 m=6 sigcode=0\n\ngoroutine 0 gp=0x1 m=6 mp=0x2 [idle]:\nruntime: g 0 gp=0x1: unknown pc 0x7f\n00007fa1277fd930: 00000000\n"
	own := "runtime: failed to create new OS thread (have 55 already; errno=11)\nruntime: may need to increase max user processes (ulimit -u)\nfatal error: newosproc\n"
	goroutine := "\ngoroutine 7 gp=0x1 m=3 [select]:\n"
	for name, c := range map[string]struct{ printed, crash string }{
		"cgo":            {cgo + goroutine + strings.Repeat(frames, 100) + thread + frames + goroutine + frames, thread + "SIGABRT: abort\nPC=0x1 m=6 sigcode=0"},
		"cgo, thrice":    {cgo + goroutine + strings.Repeat(strings.Repeat(frames, 30)+thread, 3) + frames, thread + "SIGABRT: abort\nPC=0x1 m=6 sigcode=0"},
		"not at once":    {"panic: recovered\n\n" + goroutine + strings.Repeat(frames, 50) + cgo + goroutine + strings.Repeat(frames, 50) + thread + frames + strings.Repeat(frames, 50) + thread + frames, thread + "SIGABRT: abort\nPC=0x1 m=6 sigcode=0"},
		"no cgo":         {own + own + "\nruntime stack:\nruntime.throw({0x1, 0x2})\n\t/go/src/panic.go:1\n" + goroutine + strings.Repeat(frames, 50), own + own},
		"after":          {own + goroutine + strings.Repeat(frames, 50) + own + frames, own},
		"between traces": {own + goroutine + strings.Repeat(frames, 50) + "fatal error: newosproc\n" + goroutine + frames, "fatal error: newosproc"},
		"SIGQUIT": {"SIGABRT: abort\nPC=0x1 m=0 sigcode=0\n" + goroutine + strings.Repeat(frames, 50) +
			strings.Repeat("\n-----\n\nSIGQUIT: quit\nPC=0x2 m=1 sigcode=0\n"+goroutine+strings.Repeat(frames, 50), 5), "SIGABRT: abort\nPC=0x1 m=0 sigcode=0"},
		"a real SIGQUIT": {"-----\nall is well\nSIGQUIT: quit\nPC=0x2 m=1 sigcode=0\n" + goroutine + frames, "SIGQUIT: quit\nPC=0x2 m=1 sigcode=0"},
	} {
		for _, size := range []int{1, 7, 4096, len(c.printed)} {
			var l lastWords
			for rest := c.printed; rest != ""; {
				n := min(len(rest), size)
				l.take([]byte(rest[:n]))
				rest = rest[n:]
			}
			w := l.words()
			if want := strings.TrimSpace(c.crash); w.crash != want || !strings.Contains(w.text, want) {
				t.Errorf("%s, %d bytes at once: %q in %s", name, size, w.crash, w.text)
			}
		}
	}
}

// The function that is named is one of the program's, not one that the runtime crashes in.
func TestFunctionOfACrashIsTheProgramsOwn(t *testing.T) {
	for _, frames := range []string{
		"internal/sync.fatal({0x1, 0x2})\n\t/go/src/runtime/panic.go:1 +0x18\ninternal/sync.(*Mutex).Unlock(...)\n\t/go/src/internal/sync/mutex.go:1\nsync.(*Mutex).Unlock(...)\n\t/go/src/sync/mutex.go:65\n",
		"internal/runtime/maps.fatal({0x1, 0x2})\n\t/go/src/runtime/panic.go:1 +0x18\nruntime.mapassign_fast64(0x1)\n\t/go/src/internal/runtime/maps/runtime_fast64.go:1\n",
		"panic({0x1, 0x2})\n\t/go/src/runtime/panic.go:1\nruntime/debug.SetMaxThreads(0)\n\t/go/src/runtime/debug/garbage.go:1\n",
	} {
		var l lastWords
		l.take([]byte("fatal error: it is\n\ngoroutine 27 [running]:\n" + frames + "example.com/internal/x.Work()\n\t/x/main.go:9 +0x1\n"))
		if w := l.words(); w.where != "example.com/internal/x.Work" {
			t.Errorf("%q of %s", w.where, frames)
		}
	}
}

// Wherever a crash is in what was printed, its beginning is kept, and nothing is there twice.
func TestLastWordsAreOfOnePiece(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 500 {
		var b strings.Builder
		lines := r.IntN(700)
		crash := r.IntN(lines + 1)
		for i := range lines {
			if i == crash {
				b.WriteString("panic: here it is\n\ngoroutine 1 [running]:\n")
			}
			fmt.Fprintf(&b, "<%d>%s\n", i, strings.Repeat("x", r.IntN(40)))
		}
		var l lastWords
		for rest := b.String(); rest != ""; {
			n := min(len(rest), 1+r.IntN(5000))
			l.take([]byte(rest[:n]))
			rest = rest[n:]
		}
		text := l.words().text
		if len(text) > tailSize || b.Len() <= tailSize && text != b.String() || b.Len() > tailSize && len(text) < tailSize/2 {
			t.Fatalf("%d bytes of %d", len(text), b.Len())
		}
		if want := 1; crash < lines && strings.Count(text, "panic: here it is") != want {
			t.Fatalf("crash in line %d of %d: %s", crash, lines, text)
		}
		for i := range lines {
			if strings.Count(text, fmt.Sprintf("<%d>", i)) > 1 {
				t.Fatalf("line %d is there twice: %s", i, text)
			}
		}
	}
}
