//go:build !linux

package gonso

func (c *Cmd) start(func()) error {
	_, err := c.set.acquire("start")
	return c.abandon(err)
}

func (s *Set) exposed() bool        { return false }
func (s *Set) reducedEnv() []string { return nil }
