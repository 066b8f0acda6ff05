package gonso

import (
	"context"
	"errors"
	"fmt"
	"go/ast"
	"go/build"
	"go/parser"
	"go/token"
	"io"
	"io/fs"
	"net"
	"os"
	"reflect"
	"strings"
	"syscall"
	"testing"

	"github.com/gonso/gonso/internal/errtree"
	"github.com/gonso/gonso/internal/testenv"
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

// The errors in variables of packages that the documentation says to cross, with their errors.
var standardErrors = map[string]map[string]error{
	"io": {
		"EOF": io.EOF, "ErrClosedPipe": io.ErrClosedPipe, "ErrNoProgress": io.ErrNoProgress, "ErrShortBuffer": io.ErrShortBuffer,
		"ErrShortWrite": io.ErrShortWrite, "ErrUnexpectedEOF": io.ErrUnexpectedEOF,
	},
	"io/fs": {
		"ErrClosed": fs.ErrClosed, "ErrExist": fs.ErrExist, "ErrInvalid": fs.ErrInvalid, "ErrNotExist": fs.ErrNotExist,
		"ErrPermission": fs.ErrPermission, "SkipAll": fs.SkipAll, "SkipDir": fs.SkipDir,
	},
	"os": {
		"ErrClosed": os.ErrClosed, "ErrDeadlineExceeded": os.ErrDeadlineExceeded, "ErrExist": os.ErrExist, "ErrInvalid": os.ErrInvalid,
		"ErrNoDeadline": os.ErrNoDeadline, "ErrNoHandle": os.ErrNoHandle, "ErrNotExist": os.ErrNotExist, "ErrPermission": os.ErrPermission,
		"ErrProcessDone": os.ErrProcessDone,
	},
	"net":     {"ErrClosed": net.ErrClosed, "ErrWriteToConnected": net.ErrWriteToConnected},
	"context": {"Canceled": context.Canceled, "DeadlineExceeded": context.DeadlineExceeded},
	"errors":  {"ErrUnsupported": errors.ErrUnsupported},
}

// A *net.OpError has the answers of what it wraps, and package net does not export that.
func TestTimeoutOfADialCannotGetLost(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 0)
	defer cancel()
	_, err := new(net.Dialer).DialContext(ctx, "unix", t.TempDir()+"/socket")
	got, bad := errtree.Unmarshal(errtree.Marshal(err))
	var ne net.Error
	if !os.IsTimeout(err) || !os.IsTimeout(got) || !errors.As(got, &ne) || !ne.Timeout() || !errors.Is(got, context.DeadlineExceeded) {
		t.Errorf("%v came back as %#v, %v", err, got, bad)
	}
}

func TestSentinelOfTheStandardLibraryCannotArriveAsText(t *testing.T) {
	errorsOnce.Do(registerErrors)
	for path, errs := range standardErrors {
		for name, err := range errs {
			if got, bad := errtree.Unmarshal(errtree.Marshal(err)); got != err {
				t.Errorf("%s.%s: %v, %v", path, name, got, bad)
			}
		}
	}
}

// A release of Go may have an error that the list lacks.
func TestListOfSentinelsCannotBeOld(t *testing.T) {
	root := build.Default.GOROOT
	_, err := os.Stat(root + "/src/errors")
	testenv.Found(t, "source", err)
	for path, errs := range standardErrors {
		p, err := build.Default.ImportDir(root+"/src/"+path, 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range p.GoFiles {
			f, err := parser.ParseFile(token.NewFileSet(), p.Dir+"/"+name, nil, parser.SkipObjectResolution)
			if err != nil {
				t.Fatal(err)
			}
			for _, d := range f.Decls {
				g, ok := d.(*ast.GenDecl)
				if !ok || g.Tok != token.VAR {
					continue
				}
				for _, spec := range g.Specs {
					for _, id := range spec.(*ast.ValueSpec).Names {
						if id.IsExported() && errs[id.Name] == nil && !noErrors[path+"."+id.Name] && !strings.HasPrefix(id.Name, "IPv") {
							t.Errorf("%s.%s is neither an error in the list nor known to be none", path, id.Name)
						}
					}
				}
			}
		}
	}
}

// noErrors are the other variables of these packages, besides addresses.
var noErrors = map[string]bool{
	"io.Discard": true, "os.Args": true, "os.Stdin": true, "os.Stdout": true, "os.Stderr": true, "os.Interrupt": true, "os.Kill": true,
	"net.DefaultResolver": true,
}
