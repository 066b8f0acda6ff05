package gonso

import (
	"net"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/gonso/gonso/internal/testenv"
)

// A datagram socket of the host's has the path of one that is inside.
func TestDatagramsCannotGoToAPathOfTheHost(t *testing.T) {
	for name, types := range map[string]Type{"worker": User | Net | Mount, "thread": Net | Mount, "thread, mnt alone": Mount} {
		t.Run(name, func(t *testing.T) {
			testenv.Need(t, testenv.UserNS, testenv.Process)
			if types&User == 0 {
				testenv.Need(t, testenv.Root)
			}
			testenv.Leaks(t)
			tryDatagrams(t, unshare(t, types))
		})
	}
}

func tryDatagrams(t *testing.T, s *Set) {
	dir, err := os.MkdirTemp("", "u") // a path has room for 107 bytes
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	if _, err := mountInside.Do(t.Context(), s, dir, InProcess()); err != nil {
		t.Fatal(err)
	}
	host := make(map[string]*net.UnixConn)
	for _, name := range []string{"client", "server"} {
		c, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: dir + "/" + name, Net: "unixgram"})
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		host[name] = c
	}
	abstract := "@gonso-test-" + filepath.Base(dir)
	for _, at := range []string{dir + "/server", abstract} {
		pc, err := s.ListenPacket(t.Context(), "unixgram", at)
		if err != nil {
			t.Fatal(err)
		}
		defer pc.Close()
		var control bool
		conn, err := s.Dialer(net.Dialer{
			LocalAddr: &net.UnixAddr{Name: dir + "/client", Net: "unixgram"},
			Control: func(_, _ string, rc syscall.RawConn) error {
				control = true
				return nil
			},
		}).DialContext(t.Context(), "unixgram", at)
		if err != nil {
			t.Fatalf("a local path that is taken outside: %v", err)
		}
		defer conn.Close()
		if !control {
			t.Error("Control was not called")
		}
		if conn.LocalAddr().String() != dir+"/client" {
			t.Errorf("from %v", conn.LocalAddr())
		}
		if _, err := s.OpenFile(t.Context(), dir+"/client", unix.O_PATH, 0, AnyFile()); err != nil {
			t.Errorf("it is not inside: %v", err)
		}
		if _, err := conn.Write([]byte("question")); err != nil {
			t.Fatal(err)
		}
		b := make([]byte, 16)
		pc.SetDeadline(time.Now().Add(testenv.Limit))
		n, from, err := pc.ReadFrom(b)
		if err != nil || string(b[:n]) != "question" || from.String() != dir+"/client" {
			t.Fatalf("%q from %v, %v", b[:n], from, err)
		}
		writes := map[string]func(to net.Addr) (int, error){
			"WriteTo": func(to net.Addr) (int, error) { return pc.WriteTo([]byte("answer"), to) },
			"WriteToUnix": func(to net.Addr) (int, error) {
				return pc.(unixWriter).WriteToUnix([]byte("answer"), to.(*net.UnixAddr))
			},
			"WriteMsgUnix": func(to net.Addr) (int, error) {
				n, _, err := pc.(unixWriter).WriteMsgUnix([]byte("answer"), nil, to.(*net.UnixAddr))
				return n, err
			},
		}
		for name, write := range writes {
			if n, err := write(from); err != nil || n != len("answer") {
				t.Errorf("%s: %d, %v", name, n, err)
				continue
			}
			conn.SetReadDeadline(time.Now().Add(testenv.Limit))
			if n, err := conn.Read(b); err != nil || string(b[:n]) != "answer" {
				t.Errorf("%s: %q, %v", name, b[:n], err)
			}
			_, err = write(&net.UnixAddr{Name: dir + "/nobody", Net: "unixgram"})
			wantError(t, name+" to nobody", err, unix.ENOENT, "write unixgram", dir+"/nobody")
			_, err = write(&net.UnixAddr{Name: dir + "/client", Net: "unix"})
			wantError(t, name+" to another kind", err, unix.EAFNOSUPPORT)
		}
		if at == abstract { // of the Set's net namespace
			if _, err := pc.WriteTo([]byte("own"), pc.LocalAddr()); err != nil {
				t.Error(err)
			}
			if n, _, err := pc.ReadFrom(b); err != nil || string(b[:n]) != "own" {
				t.Errorf("%q, %v", b[:n], err)
			}
		}
		pc.SetWriteDeadline(time.Now())
		if _, err := pc.WriteTo([]byte("late"), from); !os.IsTimeout(err) {
			t.Errorf("past the deadline: %v", err)
		}
		conn.Close()
		_, err = s.Dialer(net.Dialer{LocalAddr: &net.UnixAddr{Name: dir + "/client", Net: "unixgram"}}).DialContext(t.Context(), "unixgram", at)
		wantError(t, "the path is taken", err, unix.EADDRINUSE, "dial unixgram", "bind")
		_, err = s.Dialer(net.Dialer{LocalAddr: &net.UnixAddr{Name: dir + "/client", Net: "unix"}}).DialContext(t.Context(), "unixgram", at)
		if err == nil || os.IsTimeout(err) {
			t.Errorf("another kind of local address: %v", err)
		}
		if _, err := removeInside.Do(t.Context(), s, dir+"/client", InProcess()); err != nil {
			t.Error(err)
		}
	}
	for name, c := range host {
		c.SetReadDeadline(time.Now())
		b := make([]byte, 16)
		if n, _, err := c.ReadFrom(b); err == nil {
			t.Errorf("the host's %s got %q", name, b[:n])
		}
	}
}

type unixWriter interface {
	WriteToUnix([]byte, *net.UnixAddr) (int, error)
	WriteMsgUnix(b, oob []byte, addr *net.UnixAddr) (n, oobn int, err error)
}

// An abstract name means the Set's net namespace on both sides, also beside a path.
func TestAbstractLocalAddressCannotBeOfTheHost(t *testing.T) {
	inNetSets(t, func(t *testing.T, s *Set) {
		dir, err := os.MkdirTemp("", "u")
		if err != nil {
			t.Fatal(err)
		}
		defer os.RemoveAll(dir)
		pc, err := s.ListenPacket(t.Context(), "unixgram", dir+"/server")
		if err != nil {
			t.Fatal(err)
		}
		defer pc.Close()
		name := "@gonso-test-" + filepath.Base(dir)
		outside, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: name, Net: "unixgram"})
		if err != nil {
			t.Fatal(err)
		}
		defer outside.Close()
		conn, err := s.Dialer(net.Dialer{LocalAddr: &net.UnixAddr{Name: name, Net: "unixgram"}}).DialContext(t.Context(), "unixgram", dir+"/server")
		if err != nil {
			t.Fatalf("a name that is taken outside: %v", err)
		}
		defer conn.Close()
		if got := cookie(t, conn.(*net.UnixConn)); got != cookieOf(t, s) {
			t.Errorf("the socket is in %d", got)
		}
	})
}
