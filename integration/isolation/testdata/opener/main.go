// Opener opens what it is asked for in the namespaces of a process, and says what it got.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"github.com/gonso/gonso/gonso"
)

// request is a line of standard input.
type request struct {
	Op    string // open, repeat, dial, listen
	Name  string
	Flag  int
	Perm  os.FileMode
	Any   bool   // whatever it is
	Write string // into what was opened, or is expected by repeat
	For   time.Duration
}

// answer is a line of standard output.
type answer struct {
	Err     string
	Denied  bool // matches os.ErrPermission
	Type    string
	Content string
	TTY     bool // this process has a controlling terminal

	Times, Opened int      // of repeat
	Strange       []string // other than regular files with the content that was to be expected
}

func main() {
	gonso.Init()
	if err := run(os.Args[1], os.Args[2]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(process, types string) error {
	pid, err := strconv.Atoi(process)
	if err != nil {
		return err
	}
	var of []gonso.Type
	if types != "" {
		t, err := gonso.ParseType(types)
		if err != nil {
			return err
		}
		of = append(of, t)
	}
	s, err := gonso.FromPID(pid, of...)
	if err != nil {
		return err
	}
	defer s.Close()
	in, out := json.NewDecoder(os.Stdin), json.NewEncoder(os.Stdout)
	for {
		var r request
		if err := in.Decode(&r); err == io.EOF {
			return nil
		} else if err != nil {
			return err
		}
		if err := out.Encode(r.serve(s)); err != nil {
			return err
		}
	}
}

func (r *request) serve(s *gonso.Set) (a answer) {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	var err error
	switch r.Op {
	case "open":
		var f *os.File
		if f, err = r.open(ctx, s); err == nil {
			a.Type = typeOf(f)
			if r.Write != "" {
				_, err = f.WriteString(r.Write)
			} else {
				a.Content = content(f)
			}
			f.Close()
		}
	case "repeat":
		a.repeat(ctx, s, r)
	case "dial":
		c, derr := s.DialContext(ctx, "unix", r.Name)
		if err = derr; err == nil {
			c.SetDeadline(time.Now().Add(5 * time.Second))
			b, _ := io.ReadAll(c)
			a.Content = string(b)
			c.Close()
		}
	case "listen":
		l, lerr := s.Listen(ctx, "unix", r.Name)
		if err = lerr; err == nil {
			l.Close()
		}
	}
	if err != nil {
		a.Err, a.Denied = err.Error(), errors.Is(err, os.ErrPermission)
	}
	if tty, err := unix.Open("/dev/tty", unix.O_RDWR|unix.O_NOCTTY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0); err == nil {
		unix.Close(tty)
		a.TTY = true
	}
	return a
}

// repeat opens for a while what is not the same each time.
func (a *answer) repeat(ctx context.Context, s *gonso.Set, r *request) {
	for end := time.Now().Add(r.For); time.Now().Before(end) && len(a.Strange) < 10; a.Times++ {
		f, err := r.open(ctx, s)
		if err != nil {
			continue
		}
		a.Opened++
		if got, c := typeOf(f), content(f); got != "file" || c != r.Write {
			a.Strange = append(a.Strange, fmt.Sprintf("%s %.20q", got, c))
		}
		f.Close()
	}
}

func typeOf(f *os.File) string {
	raw, err := f.SyscallConn()
	if err != nil {
		return err.Error()
	}
	var st unix.Stat_t
	if cerr := raw.Control(func(fd uintptr) { err = unix.Fstat(int(fd), &st) }); cerr != nil || err != nil {
		return fmt.Sprint(cerr, err)
	}
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFREG:
		return "file"
	case unix.S_IFDIR:
		return "directory"
	case unix.S_IFLNK:
		return "link"
	case unix.S_IFCHR, unix.S_IFBLK:
		return fmt.Sprintf("device %d:%d", unix.Major(uint64(st.Rdev)), unix.Minor(uint64(st.Rdev)))
	case unix.S_IFIFO:
		return "fifo"
	}
	return "other"
}

func content(f *os.File) string {
	b := make([]byte, 256)
	f.SetReadDeadline(time.Now().Add(time.Second))
	n, _ := f.Read(b)
	return string(b[:n])
}

func (r *request) open(ctx context.Context, s *gonso.Set) (*os.File, error) {
	var opts []gonso.OpenOption
	if r.Any {
		opts = append(opts, gonso.AnyFile())
	}
	return s.OpenFile(ctx, r.Name, r.Flag, r.Perm, opts...)
}
