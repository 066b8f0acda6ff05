//go:build !linux

package gonso

import (
	"context"
	"errors"
	"os"
	"time"
)

// streams are never made where nothing can be called.
type streams struct{}

func connectStreams(any, time.Duration) (*streams, error) { return nil, errors.ErrUnsupported }
func (*streams) abandon()                                 {}
func (*streams) start(context.Context)                    {}
func (*streams) finish(context.Context) error             { return nil }

func widen([]*os.File) (restore func()) { return func() {} }
