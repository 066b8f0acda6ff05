package main

import (
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"github.com/mattn/go-runewidth"
	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"
)

// This file shows steps on a terminal. One that runs has a line, and below that the last lines that it has printed.
// One that has ended has a line above, which stays. What a step has printed that fails is printed in the end.

const (
	shownLines = 5   // of each step that runs
	keptLines  = 200 // of each step, in case it fails
)

// shown is the part of a step that is on the terminal.
type shown struct {
	on  *mpb.Progress
	bar *mpb.Bar // nil without a terminal

	// mu is not held while the display is called: it draws, and calls line and below, in goroutines of its own.
	mu   sync.Mutex
	name string
	how  string // it has ended; "" while it runs
	kept []string
}

func newLive(out io.Writer) *mpb.Progress {
	return mpb.New(mpb.WithOutput(out), mpb.WithAutoRefresh())
}

func (s *step) show(on *mpb.Progress, name string) {
	s.on, s.name = on, oneLine(name)
	var below []mpb.BarFiller
	for i := range shownLines {
		below = append(below, mpb.BarFillerFunc(func(w io.Writer, at decor.Statistics) error { return s.below(w, i, at.AvailableWidth) }))
	}
	line := mpb.BarFillerFunc(func(w io.Writer, at decor.Statistics) error { return s.line(w, at.AvailableWidth) })
	s.bar, _ = on.Add(0, line, mpb.BarFillerTrim(), mpb.BarBtmExtender(below...)) // it fails after the end only
}

func (s *step) line(w io.Writer, width int) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.how != "" { // its line is above
		return nil
	}
	_, err := io.WriteString(w, runewidth.Truncate(s.text(fmt.Sprintf("%.1fs", time.Since(s.start).Seconds())), width, "…"))
	return err
}

func (s *step) text(how string) string { return fmt.Sprintf("%8s %s", how, s.name) }

// below draws one of the last lines, if there are so many and the step runs.
func (s *step) below(w io.Writer, i, width int) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	at := max(0, len(s.kept)-shownLines) + i
	if s.how != "" || at >= len(s.kept) {
		return nil
	}
	_, err := io.WriteString(w, runewidth.Truncate("         | "+s.kept[at], width, "…")+"\n")
	return err
}

func (s *step) add(text string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.kept = append(s.kept, oneLine(text))
	s.kept = s.kept[max(0, len(s.kept)-keptLines):]
}

func (s *step) finish(how string) {
	s.mu.Lock()
	s.how = how
	s.mu.Unlock()
	_, _ = io.WriteString(s.on, s.text(how)+"\n") // above
	s.bar.Abort(true)
}

// close ends the live display, before anything else is printed. Steps after it are printed in lines.
func (p *progress) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.live == nil {
		return
	}
	for _, s := range p.all {
		if !s.ended {
			s.finish("STOPPED")
		}
	}
	p.live.Wait()
	p.live = nil
	for _, s := range p.all {
		if s.how == "ERROR" && len(s.kept) > 0 {
			fmt.Fprintf(p.out, "------ %s\n%s\n------\n", s.name, strings.Join(s.kept, "\n"))
		}
	}
}

// oneLine is a text without what would move the cursor, or has no width.
func oneLine(s string) string {
	return strings.Map(func(r rune) rune {
		if r == '\t' || r == '\n' {
			return ' '
		}
		return r
	}, s)
}
