//go:build !linux

package gonso

func (c *core) owner(Type) (*core, error)       { return nil, ErrUnsupported }
func (c *core) parent(Type) (*core, error)      { return nil, ErrUnsupported }
func (c *core) ownerUID() (uint32, error)       { return 0, ErrUnsupported }
func (c *core) idMaps() (string, string, error) { return "", "", ErrUnsupported }
