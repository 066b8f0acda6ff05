//go:build !linux

package gonso

func (c *doConfig) checkDirectories() error { return nil }
