//go:build !linux

package gonso

func (c *core) pin(string) error          { return refused("pin", 0, ErrUnsupported) }
func (c *core) pinOne(Type, string) error { return refused("pin", 0, ErrUnsupported) }
func unpin(string) error                  { return refused("unpin", 0, ErrUnsupported) }
