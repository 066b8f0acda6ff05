//go:build !linux

package gonso

import "errors"

func (c *core) pin(string) error          { return refused("pin", 0, errors.ErrUnsupported) }
func (c *core) pinOne(Type, string) error { return refused("pin", 0, errors.ErrUnsupported) }
func unpin(string) error                  { return refused("unpin", 0, errors.ErrUnsupported) }
