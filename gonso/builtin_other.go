//go:build !linux

package gonso

func registerBuiltins() {}
