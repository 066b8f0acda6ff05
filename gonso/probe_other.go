//go:build !linux

package gonso

import (
	"context"
	"errors"
)

func probeFacts(context.Context) []Fact  { return nil }
func probeOverlay(context.Context) error { return errors.ErrUnsupported }
func probePing(context.Context) error    { return errors.ErrUnsupported }
