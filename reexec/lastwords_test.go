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
