package gonso

import (
	"context"
	"errors"
	"net"
	"os"
	"strings"
	"testing"

	"github.com/gonso/gonso/internal/testenv"
)

// A thread that enters a mount namespace is in its root directory.
func TestRelativePathCannotMeanTheRoot(t *testing.T) {
	testenv.Need(t, testenv.Tool("pwd"))
	testenv.Leaks(t)
	dir, err := os.MkdirTemp("/tmp", "gr") // its path must fit into the address of a socket
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	t.Chdir(dir)
	if err := errors.Join(os.Chmod(dir, 0o755), os.Mkdir("sub", 0o755), os.WriteFile("sub/file", nil, 0o644), os.Symlink("/", "top")); err != nil {
		t.Fatal(err)
	}
	for name, s := range relativeSets(t) {
		t.Run(name, func(t *testing.T) {
			for _, name := range []string{"sub/file", "./sub/../sub/file"} {
				f, err := s.OpenFile(t.Context(), name, os.O_RDONLY, 0)
				if err != nil {
					t.Fatal(err)
				}
				wantSameFile(t, f, "sub/file")
				f.Close()
			}
			for _, opts := range [][]DoOption{nil, {InProcess()}} {
				if p, err := placedInside.Do(t.Context(), s, "", append(opts, Dir("sub"))...); err != nil || p.Dir != dir+"/sub" {
					t.Errorf("Dir: %+v, %v", p, err)
				}
			}
			if !s.Has(User) {
				where := ""
				err := s.Run(func() (err error) { where, err = os.Getwd(); return err }, Dir("sub"))
				if err != nil || where != dir+"/sub" {
					t.Errorf("Run: %s, %v", where, err)
				}
			}
			c := s.Command(t.Context(), "pwd")
			c.Dir = "sub"
			if out, err := c.Output(); err != nil || string(out) != dir+"/sub\n" {
				t.Errorf("Cmd.Dir: %q, %v", out, err)
			}
			if s.Types()&(User|Mount) != 0 || testenv.Has(testenv.Root) {
				c = s.Command(t.Context(), "pwd")
				c.Chroot = "top"
				if out, err := c.Output(); err != nil || string(out) != "/\n" {
					t.Errorf("Cmd.Chroot: %q, %v", out, err)
				}
			}
			l, err := s.Listen(t.Context(), "unix", "sub/socket")
			if err != nil {
				t.Fatal(err)
			}
			defer os.Remove("sub/socket")
			defer l.Close()
			if _, err := os.Lstat("sub/socket"); err != nil || l.Addr().String() != "sub/socket" {
				t.Errorf("%v, %v", l.Addr(), err)
			}
			conn, err := s.DialContext(t.Context(), "unix", "sub/socket")
			if err != nil {
				t.Fatal(err)
			}
			conn.Close()
			_, err = s.Listen(t.Context(), "unix", "sub/socket")
			if oe, ok := errors.AsType[*net.OpError](err); !ok || oe.Addr == nil || oe.Addr.String() != "sub/socket" {
				t.Errorf("a socket that is there: %v", err)
			}
		})
	}
}

// Where somebody else chooses what is at a path, this program has no working directory.
func TestRelativePathOfSomebodyElseIsRefused(t *testing.T) {
	testenv.Need(t, testenv.UserNS, testenv.Process, testenv.Tool("sleep"))
	testenv.Leaks(t)
	s := dynamically(owned(t)(FromPID(sleeper(t, User|Mount), User, Mount)))
	refused := func(what string, err error, parts ...string) {
		t.Helper()
		wantError(t, what, err, os.ErrInvalid, append(parts, "etc", "no absolute path")...)
	}
	_, err := s.OpenFile(t.Context(), "etc", os.O_RDONLY, 0)
	refused("OpenFile", err)
	_, err = s.OpenFile(t.Context(), "x", os.O_RDONLY, 0, InRoot("etc"))
	refused("InRoot", err, "InRoot")
	_, err = placedInside.Do(t.Context(), s, "", Dir("etc"))
	refused("Dir", err, "Dir: ")
	for name, change := range map[string]func(*Cmd){
		"Dir": func(c *Cmd) { c.Dir = "etc" }, "Chroot": func(c *Cmd) { c.Chroot = "etc" },
	} {
		c := s.Command(context.Background(), "/bin/true")
		change(c)
		refused("Cmd."+name, c.Run(), name+": ")
	}
	_, err = s.Listen(t.Context(), "unix", "etc")
	refused("Listen", err)
	_, err = s.DialContext(t.Context(), "unix", "etc")
	refused("Dial", err)
	_, err = s.OpenFile(t.Context(), "", os.O_RDONLY, 0)
	if !errors.Is(err, os.ErrNotExist) || strings.Contains(err.Error(), "absolute") {
		t.Errorf("no name: %v", err)
	}
}
