package main

import (
	"context"
	"errors"
	"io"
	"net"

	"github.com/containerd/ttrpc"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/typepb"

	"github.com/gonso/gonso/integration/bench/single"
)

// What protocol buffers carry is a type that comes with them: two numbers and a name, as Point has.
func message() *typepb.Field {
	return &typepb.Field{Number: int32(want.X), OneofIndex: int32(want.Y), Name: want.Name}
}

func checkMessage(f *typepb.Field, err error) error {
	return check(Point{int(f.GetNumber()), int(f.GetOneofIndex()), f.GetName()}, err)
}

const (
	service = "bench.Service"
	method  = "Same"
)

func openTTRPC(int) (*single.Opened, error) {
	conn, pid, stop, err := startOther("ttrpc")
	if err != nil {
		return nil, err
	}
	c := ttrpc.NewClient(conn)
	return &single.Opened{
		PID: pid,
		Call: func(int) error {
			var f typepb.Field
			err := c.Call(context.Background(), service, method, message(), &f)
			return checkMessage(&f, err)
		},
		Close: func() error {
			return errors.Join(c.Close(), stop())
		},
	}, nil
}

// oneConn is a listener that has a connection already, and ends with it.
type oneConn struct {
	conns chan net.Conn
	addr  net.Addr
}

func (l *oneConn) Accept() (net.Conn, error) {
	c, ok := <-l.conns
	if !ok {
		return nil, io.EOF
	}
	return c, nil
}

func (l *oneConn) Close() error   { return nil }
func (l *oneConn) Addr() net.Addr { return l.addr }

// closing says when a connection is closed.
type closing struct {
	net.Conn
	closed func()
}

func (c *closing) Close() error {
	c.closed()
	return c.Conn.Close()
}

func serveTTRPC() error {
	conn, err := passed()
	if err != nil {
		return err
	}
	s, err := ttrpc.NewServer()
	if err != nil {
		return err
	}
	s.Register(service, map[string]ttrpc.Method{
		method: func(_ context.Context, decode func(any) error) (any, error) {
			f := new(typepb.Field)
			return f, decode(f)
		},
	})
	ctx, done := context.WithCancel(context.Background())
	l := &oneConn{make(chan net.Conn, 1), conn.LocalAddr()}
	l.conns <- &closing{conn, done}
	failed := make(chan error, 1)
	go func() { failed <- s.Serve(ctx, l) }()
	select {
	case <-ctx.Done():
		return nil
	case err := <-failed:
		return err
	}
}

// grpcService is what protoc would have written.
var grpcService = grpc.ServiceDesc{
	ServiceName: service,
	HandlerType: (*any)(nil),
	Methods: []grpc.MethodDesc{{
		MethodName: method,
		Handler: func(_ any, _ context.Context, decode func(any) error, _ grpc.UnaryServerInterceptor) (any, error) {
			f := new(typepb.Field)
			return f, decode(f)
		},
	}},
}
