//go:build linux

// Package owntests has a test with a network of its own.
package owntests

import (
	"io"
	"net"
	"testing"

	"github.com/gonso/gonso/gonso"
	"github.com/gonso/gonso/gonso/gonsotest"
)

func TestMain(m *testing.M) { gonsotest.Main(m) } // root in a user namespace, for a plain user

// Each test can have port 80: the network is its own.
func TestServerOnPort80(t *testing.T) {
	s := gonsotest.New(t, gonso.Net, gonso.LoopbackUp())
	var l net.Listener
	gonsotest.Do(t, s, func() { // t.Fatal can be called in there
		var err error
		if l, err = net.Listen("tcp", "127.0.0.1:80"); err != nil {
			t.Fatal(err)
		}
	})
	defer l.Close()
	go func() {
		if conn, err := l.Accept(); err == nil {
			io.WriteString(conn, "hello")
			conn.Close()
		}
	}()

	conn, err := s.DialContext(t.Context(), "tcp", "127.0.0.1:80")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if text, err := io.ReadAll(conn); err != nil || string(text) != "hello" {
		t.Errorf("it says %q, %v", text, err)
	}
}
