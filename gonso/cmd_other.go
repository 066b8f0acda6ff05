//go:build !linux

package gonso

import "errors"

func (c *Cmd) prepareInside() (prepared, error) {
	return prepared{}, refused("start", 0, errors.ErrUnsupported)
}
func (c *Cmd) apart() bool          { return false }
func (c *Cmd) takeTerminalBack()    {}
func (s *Set) exposed() bool        { return false }
func (s *Set) reducedEnv() []string { return nil }

func (c *Cmd) onThreadAtHome(f func()) { f() }
