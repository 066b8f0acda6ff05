//go:build !linux

package gonso

import (
	"context"
	"errors"
	"os"
	"time"
)

const (
	copySize       = 64 << 10
	readerPatience = 100 * time.Millisecond
)

// streams are never made where nothing can be called.
type streams struct{}

func (c *core) connectStreams(any) (*streams, any, error)           { return nil, nil, errors.ErrUnsupported }
func (*streams) abandon()                                           {}
func (*streams) start(context.Context)                              {}
func (*streams) finish(context.Context, error, time.Duration) error { return nil }

func widen([]*os.File) (restore func()) { return func() {} }
