package main

import (
	"bufio"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"github.com/vbauerster/mpb/v8"
)

// progress prints the steps of a build, in lines that begin with a step's number, as BuildKit's plain progress does,
// or shows them live on a terminal.
type progress struct {
	mu   sync.Mutex
	out  io.Writer
	n    int
	live *mpb.Progress // nil for lines
	all  []*step       // that are shown live
}

type step struct {
	p     *progress
	n     int
	start time.Time
	ended bool
	shown
}

func (p *progress) step(name string) *step {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.n++
	s := &step{p: p, n: p.n, start: time.Now()}
	if p.live != nil {
		p.all = append(p.all, s)
		s.show(p.live, printable(name))
		return s
	}
	fmt.Fprintf(p.out, "#%d %s\n", p.n, printable(name))
	return s
}

func (s *step) print(text string) {
	if s.bar != nil {
		s.add(text)
		return
	}
	s.p.mu.Lock()
	defer s.p.mu.Unlock()
	fmt.Fprintf(s.p.out, "#%d %s\n", s.n, text)
}

// say is about the step; a nil step says nothing.
func (s *step) say(format string, args ...any) {
	if s != nil {
		s.print(fmt.Sprintf("%.3f ", time.Since(s.start).Seconds()) + fmt.Sprintf(format, args...))
	}
}

func (s *step) cached() error {
	if !s.ended {
		s.over("CACHED", "CACHED")
	}
	return nil
}

// end returns err, after it has said that the step has ended, once.
func (s *step) end(err error) error {
	if s == nil || s.ended {
		return err
	}
	if err == nil {
		s.done()
		return nil
	}
	s.over("ERROR", "ERROR: "+printable(err.Error()))
	return err
}

func (s *step) done() {
	took := fmt.Sprintf("%.1fs", time.Since(s.start).Seconds())
	s.over(took, "DONE "+took)
}

// over says how the step has ended: in short where it is shown live, else in a line.
func (s *step) over(how, line string) {
	s.ended = true
	if s.bar != nil {
		s.finish(how)
		return
	}
	s.print(line)
}

// lines passes on what a command prints, whatever it is, until the end.
func (s *step) lines(r io.Reader) error {
	in := bufio.NewReaderSize(r, 64<<10)
	for {
		line, err := in.ReadSlice('\n')
		if len(line) > 0 {
			s.say("%s", printable(strings.TrimRight(string(line), "\r\n")))
		}
		if err == io.EOF {
			return nil
		}
		if err != nil && err != bufio.ErrBufferFull {
			return err
		}
	}
}

// printable keeps a command from talking to the terminal.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r != '\t' && r != '\n' && (r < ' ' || r >= 0x7f && r < 0xa0) {
			return '·'
		}
		return r
	}, s)
}
