//go:build !linux

package gonso

import "errors"

func (c *core) owner(Type) (*core, error)       { return nil, errors.ErrUnsupported }
func (c *core) parent(Type) (*core, error)      { return nil, errors.ErrUnsupported }
func (c *core) ownerUID() (uint32, error)       { return 0, errors.ErrUnsupported }
func (c *core) idMaps() (string, string, error) { return "", "", errors.ErrUnsupported }
