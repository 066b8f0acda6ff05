//go:build !linux

package gonso

import "context"

func (s *Set) loopbackIsDown(context.Context) bool { return false }
