//go:build !linux

package gonso

import "os"

type passing struct{}

func passSignals(bool) passing { return passing{} }
func (passing) to(*os.Process) {}
func (passing) stop()          {}
