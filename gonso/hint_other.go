//go:build !linux

package gonso

func findHint(string, Type, error) string { return "namespaces are a feature of Linux" }
