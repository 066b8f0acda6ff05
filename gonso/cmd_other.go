//go:build !linux

package gonso

import "errors"

func (c *Cmd) start(func()) error   { return c.abandon(refused("start", 0, errors.ErrUnsupported)) }
func (s *Set) exposed() bool        { return false }
func (s *Set) reducedEnv() []string { return nil }
