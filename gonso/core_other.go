//go:build !linux

package gonso

import (
	"context"
	"errors"
	"os"
	"time"

	"github.com/gonso/gonso/child"
	"github.com/gonso/gonso/internal/codec"
	"github.com/gonso/gonso/internal/wire"
)

// core cannot be acquired on a system without namespaces, so code that needs a core never runs.
type core struct{ types Type }

func newCore() *core { return &core{} }

func (c *core) acquire() error                                       { return errors.ErrUnsupported }
func (c *core) release()                                             {}
func (c *core) close()                                               {}
func (c *core) id(Type) ID                                           { return ID{} }
func (c *core) fd(Type) int                                          { return noFd }
func (c *core) file(Type) (*os.File, error)                          { return nil, errors.ErrUnsupported }
func (c *core) pick(Type, *core) *core                               { return c }
func (c *core) String() string                                       { return "{}" }
func (c *core) facts() *facts                                        { return &facts{process: errors.ErrUnsupported} }
func (c *core) runClosure(bool, func() bool, doConfig) error         { return errors.ErrUnsupported }
func (c *core) goClosure(bool, func() error, func(), doConfig) error { return errors.ErrUnsupported }
func (c *core) checkPlace(string, string, *doConfig) error           { return errors.ErrUnsupported }
func (c *core) grace() time.Duration                                 { return 0 }
func (c *core) setWorker(Worker) error                               { return errors.ErrUnsupported }
func (c *core) workerHostFiles() bool                                { return false }
func (c *core) warm(context.Context) error                           { return errors.ErrUnsupported }
func (c *core) unshare(Type, *unshareOptions) (*core, error)         { return nil, errors.ErrUnsupported }
func (c *core) noWayHome() Type                                      { return 0 }

func (c *core) wait(context.Context) error {
	return newError("wait", 0, "", errors.ErrUnsupported)
}

func (c *core) callOnThread(context.Context, child.Handler, codec.Value, bool, doConfig) (*wire.Outcome, error) {
	return nil, errors.ErrUnsupported
}

func (c *core) callInProcess(context.Context, string, int, codec.Value, doConfig) (*wire.Outcome, error) {
	return nil, errors.ErrUnsupported
}
