package reexec

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
)

// said is the output of a worker, as text of a bounded size.
type said struct {
	text   string // its beginning, where it crashed, and its end; control characters escaped
	crash  string // the lines in which the Go runtime says why it ended the worker, or ""
	where  string // the first function that crash names, or ""
	inMain bool   // the output shows that main had begun
	shown  bool   // this program's standard error has all of the output
}

// These parts of a stream are kept: its beginning, its end, and the text after the first and the
// last line that says why a Go program crashes. The traces of thousands of goroutines may stand
// between such a line and the end (hashicorp/terraform#26694).
const (
	tailSize  = 8 << 10 // also the limit of the whole text
	headSize  = 1 << 10
	crashSize = 1536
)

// crashMarks begin the lines in which the Go runtime says why it ends the program.
var crashMarks = []string{"panic: ", "fatal error: ", "runtime: ", "runtime/cgo: ", "SIG", "unexpected fault address "}

// traceMark begins a line that stands within a trace, if a thread was in C: memory follows it.
const traceMark = "runtime: g "

// threadRule is a line that stands between the threads of one crash, if GOTRACEBACK is crash. A
// marked line follows it (SIGQUIT), but the cause is that of the first thread.
const threadRule = "-----\n"

// lastWords takes a stream and remembers what counts at the end.
type lastWords struct {
	n    int64 // bytes so far
	head []byte
	tail []byte // the last bytes

	first, last, fresh crashBlock // last and fresh are not the first; fresh is the newest
	line               []byte     // the beginning of a line, until it can be told whether it is marked
	inLine             bool       // the rest of the line is of no interest
	begin              []byte     // the first bytes of a line
	ruled              bool       // the last line that is not empty was threadRule
}

// crashBlock is a marked line and the text after it.
type crashBlock struct {
	at int64 // where in the stream
	b  []byte
}

func (c *crashBlock) filling() bool { return len(c.b) > 0 && len(c.b) < crashSize }

func (l *lastWords) take(b []byte) {
	if room := headSize - len(l.head); room > 0 {
		l.head = append(l.head, b[:min(room, len(b))]...)
	}
	l.tail = append(l.tail, b...)
	if over := len(l.tail) - tailSize; over > 0 {
		l.tail = append(l.tail[:0], l.tail[over:]...)
	}
	for len(b) > 0 {
		b = b[l.step(b):]
	}
}

// step looks for marks in b, up to the end of its first line, and returns how many bytes that was.
func (l *lastWords) step(b []byte) (n int) {
	if end := bytes.IndexByte(b, '\n'); end >= 0 {
		b = b[:end+1]
	}
	ends := b[len(b)-1] == '\n'
	switch block := l.block(); {
	case block != nil:
		block.b = append(block.b, b[:min(len(b), crashSize-len(block.b))]...)
		l.inLine = true
	case !l.inLine:
		l.line = append(l.line, b...)
		switch marked, open := markedLine(l.line); {
		case marked && !l.ruled:
			to := &l.first
			if len(to.b) > 0 {
				if l.fresh.isCause() {
					l.last, l.fresh = l.fresh, l.last
				}
				to = &l.fresh
			}
			to.at = l.n + int64(len(b)-len(l.line))
			to.b = append(to.b[:0], l.line[:min(len(l.line), crashSize)]...)
			l.inLine = true
		case !open:
			l.inLine = true
		}
		if l.inLine {
			l.line = l.line[:0]
		}
	}
	l.begin = append(l.begin, b[:min(len(b), len(threadRule)-len(l.begin))]...)
	if ends {
		l.inLine, l.line = false, l.line[:0]
		if begin := string(l.begin); begin != "\n" {
			l.ruled = begin == threadRule
		}
		l.begin = l.begin[:0]
	}
	l.n += int64(len(b))
	return len(b)
}

// block is the crashBlock that is being filled, or nil.
func (l *lastWords) block() *crashBlock {
	for _, c := range []*crashBlock{&l.first, &l.fresh} {
		if c.filling() && c.at+int64(len(c.b)) == l.n {
			return c
		}
	}
	return nil
}

// markedLine reports whether a line begins with a mark, or may yet do so: the rest of the line may
// still come.
func markedLine(line []byte) (marked, open bool) {
	if n := min(len(line), len(traceMark)); string(line[:n]) == traceMark[:n] {
		return false, n < len(traceMark)
	}
	for _, m := range crashMarks {
		switch {
		case len(line) >= len(m):
			marked = marked || string(line[:len(m)]) == m
		case strings.HasPrefix(m, string(line)):
			open = true
		}
	}
	return marked, open && !marked
}

// isCause reports whether the block begins a crash. A second thread may crash for the same cause
// while the first one prints its trace. Then the rest of that trace follows its marked line.
func (c *crashBlock) isCause() bool {
	for line := range strings.Lines(string(c.b)) {
		switch {
		case beginsTrace(line):
			return true
		case line[0] == '\t' && strings.Contains(line, " +0x"): // file, line and offset
			return false
		}
	}
	return len(c.b) > 0
}

// cause is the last crash of which there is the beginning.
func (l *lastWords) cause() *crashBlock {
	for _, c := range []*crashBlock{&l.fresh, &l.last} {
		if c.isCause() {
			return c
		}
	}
	return &l.first
}

// words returns the parts of the stream that were kept.
func (l *lastWords) words() said {
	cause := l.cause()
	w := said{text: l.text(cause)}
	trace := string(cause.b)
	w.crash, w.where = crashIn(trace)
	w.inMain = strings.Contains(trace, "\nmain.main(") || strings.Contains(string(l.tail), "\nmain.main(")
	return w
}

func (l *lastWords) text(cause *crashBlock) string {
	if l.n <= tailSize {
		return printable(l.tail, tailSize)
	}
	type part struct {
		at   int64
		raw  int
		text string
	}
	var parts []part
	const notes = 128 // the notes about gaps take less
	at, room := int64(0), tailSize-notes
	keep := func(from int64, b []byte) {
		if from < at { // the part before has some of it
			b = b[min(at-from, int64(len(b))):]
			from = at
		}
		text, _ := appendEscaped(nil, b, true)
		if len(b) == 0 || len(text) > room/2 || from >= l.n-int64(room-len(text)) {
			return // or the end has it
		}
		parts = append(parts, part{from, len(b), string(text)})
		at = from + int64(len(b))
		room -= len(text)
	}
	keep(0, l.head)
	keep(l.first.at, l.first.b)
	keep(cause.at, cause.b)
	var b strings.Builder
	pos := int64(0)
	for _, p := range parts {
		if p.at > pos {
			b.WriteString(gapNote(p.at - pos))
		}
		b.WriteString(p.text)
		pos = p.at + int64(p.raw)
	}
	// How much of the end there is room for depends on the length of the last note.
	start := l.n
	for range 2 {
		start = max(pos, l.n-int64(tailSize-b.Len()-len(gapNote(start-pos))))
	}
	if start > pos {
		b.WriteString(gapNote(start - pos))
	}
	b.WriteString(printable(l.tail[len(l.tail)-int(l.n-start):], tailSize-b.Len()))
	return b.String()
}

func gapNote(n int64) string { return fmt.Sprintf("\n[... %d bytes ...]\n", n) }

// maxCrashLines is how many lines crashIn gives, the last ones.
const maxCrashLines = 12

func beginsTrace(line string) bool {
	return strings.HasPrefix(line, "goroutine ") || strings.HasPrefix(line, "runtime stack:")
}

// ofRuntime begins what the runtime and the packages next to it call their functions.
var ofRuntime = []string{"runtime.", "runtime/", "internal/", "sync.", "panic("}

// crashIn returns the lines before the trace, and the topmost function of the trace that is not the
// runtime's.
func crashIn(block string) (crash, where string) {
	var lines []string
	traced := false
	for line := range strings.Lines(block) {
		line = strings.TrimRight(line, "\n")
		switch {
		case beginsTrace(line):
			traced = true
		case !traced && line != "":
			text, _ := appendEscaped(nil, []byte(line), true)
			lines = append(lines, string(text))
		case !traced || line == "" || line[0] == '\t' || strings.HasPrefix(line, "created by ") || strings.HasPrefix(line, "..."):
		case slices.ContainsFunc(ofRuntime, func(p string) bool { return strings.HasPrefix(line, p) }):
		default:
			if i := strings.LastIndexByte(line, '('); i > 0 && !strings.Contains(line[:i], " ") {
				text, _ := appendEscaped(nil, []byte(line[:i]), true)
				where = string(text)
			}
		}
		if where != "" {
			break
		}
	}
	lines = lines[max(0, len(lines)-maxCrashLines):]
	return strings.Join(lines, "\n"), where
}
