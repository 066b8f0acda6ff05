package gonso

import (
	"errors"
	"fmt"
	"net"
	"os"
	"reflect"
	"syscall"
	"testing"

	"github.com/gonso/gonso/internal/errtree"
)

func TestNetErrorsCross(t *testing.T) {
	refused := os.NewSyscallError("connect", syscall.ECONNREFUSED)
	for _, in := range []error{
		&net.DNSError{Err: "no such host", Name: "host.test", Server: "192.0.2.1:53", IsNotFound: true},
		&net.DNSError{UnwrapErr: os.ErrDeadlineExceeded, Err: "i/o timeout", Name: "host.test", IsTimeout: true, IsTemporary: true},
		&net.OpError{Op: "dial", Net: "tcp", Addr: &errorAddr{"tcp", "192.0.2.1:80"}, Err: refused},
		&net.OpError{Op: "read", Net: "tcp", Source: &errorAddr{"tcp", "[::1]:1"}, Addr: &errorAddr{"tcp", "[::1]:2"}, Err: net.ErrClosed},
	} {
		out, err := errtree.Unmarshal(errtree.Marshal(in))
		if err != nil || !reflect.DeepEqual(in, out) {
			t.Errorf("%#v came back as %#v", in, out)
		}
	}
	in := fmt.Errorf("outer: %w", &net.OpError{Op: "dial", Net: "tcp", Addr: &net.TCPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 80}, Err: os.ErrDeadlineExceeded})
	out, err := errtree.Unmarshal(errtree.Marshal(in))
	var ne net.Error
	if err != nil || out.Error() != in.Error() || !errors.As(out, &ne) || !ne.Timeout() {
		t.Errorf("%v came back as %v", in, out)
	}
	for _, bad := range [][]error{nil, {nil}, {refused, refused}} {
		if e, err := decodeOpError(opFields{Op: "dial"}, bad); err == nil {
			t.Errorf("%v: %v", bad, e)
		}
	}
	var none *net.TCPAddr
	for _, e := range []error{(*net.OpError)(nil), &net.OpError{}, &net.OpError{Op: "dial", Addr: none, Err: refused}, (*net.DNSError)(nil)} {
		if got, err := errtree.Unmarshal(errtree.Marshal(e)); err != nil || got == nil || got.Error() == "" {
			t.Errorf("%T: %#v", e, got)
		}
	}
}
