package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/rpc"
	"os"
	"os/exec"

	"github.com/hashicorp/go-hclog"
	plugin "github.com/hashicorp/go-plugin"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/typepb"

	"github.com/gonso/gonso/integration/bench/single"
)

var handshake = plugin.HandshakeConfig{ProtocolVersion: 1, MagicCookieKey: "GONSO_BENCH_PLUGIN", MagicCookieValue: "peers"}

// rpcPlugin serves Service over net/rpc.
type rpcPlugin struct{}

func (rpcPlugin) Server(*plugin.MuxBroker) (any, error) { return Service{}, nil }

func (rpcPlugin) Client(_ *plugin.MuxBroker, c *rpc.Client) (any, error) { return c, nil }

// grpcPlugin serves grpcService.
type grpcPlugin struct{ plugin.NetRPCUnsupportedPlugin }

func (grpcPlugin) GRPCServer(_ *plugin.GRPCBroker, s *grpc.Server) error {
	s.RegisterService(&grpcService, struct{}{})
	return nil
}

func (grpcPlugin) GRPCClient(_ context.Context, _ *plugin.GRPCBroker, c *grpc.ClientConn) (any, error) {
	return c, nil
}

const pluginName = "same"

func servePluginRPC() error {
	plugin.Serve(&plugin.ServeConfig{
		HandshakeConfig: handshake, Plugins: plugin.PluginSet{pluginName: rpcPlugin{}}, Logger: hclog.NewNullLogger(),
	})
	return nil
}

func servePluginGRPC() error {
	plugin.Serve(&plugin.ServeConfig{
		HandshakeConfig: handshake, Plugins: plugin.PluginSet{pluginName: grpcPlugin{}}, Logger: hclog.NewNullLogger(),
		GRPCServer: plugin.DefaultGRPCServer,
	})
	return nil
}

// openPlugin starts the other end as go-plugin does, and gives what its plugin is to the caller.
func openPlugin[T any](role string, p plugin.Plugin) (client T, pid int, stop func() error, err error) {
	cmd := exec.Command("/proc/self/exe", role)
	c := plugin.NewClient(&plugin.ClientConfig{
		HandshakeConfig: handshake, Plugins: plugin.PluginSet{pluginName: p}, Cmd: cmd,
		AllowedProtocols: []plugin.Protocol{plugin.ProtocolNetRPC, plugin.ProtocolGRPC},
		Logger:           hclog.NewNullLogger(), SyncStdout: io.Discard, SyncStderr: os.Stderr,
	})
	stop = func() error {
		c.Kill() // waits, and reaps
		return nil
	}
	conn, err := c.Client()
	if err != nil {
		return client, 0, nil, errors.Join(err, stop())
	}
	raw, err := conn.Dispense(pluginName)
	if err != nil {
		return client, 0, nil, errors.Join(err, stop())
	}
	client, ok := raw.(T)
	if !ok {
		return client, 0, nil, errors.Join(fmt.Errorf("go-plugin gave %T", raw), stop())
	}
	return client, cmd.Process.Pid, stop, nil
}

func openPluginRPC(int) (*single.Opened, error) {
	c, pid, stop, err := openPlugin[*rpc.Client]("plugin/netrpc", rpcPlugin{})
	if err != nil {
		return nil, err
	}
	return &single.Opened{PID: pid, Call: func(int) error { return callRPC(c, "Plugin.Same") }, Close: stop}, nil
}

func openPluginGRPC(int) (*single.Opened, error) {
	c, pid, stop, err := openPlugin[*grpc.ClientConn]("plugin/grpc", grpcPlugin{})
	if err != nil {
		return nil, err
	}
	return &single.Opened{
		PID: pid,
		Call: func(int) error {
			var f typepb.Field
			err := c.Invoke(context.Background(), "/"+service+"/"+method, message(), &f)
			return checkMessage(&f, err)
		},
		Close: stop,
	}, nil
}
