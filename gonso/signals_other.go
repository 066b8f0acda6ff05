//go:build !linux

package gonso

import "os"

type passing struct{}

func passSignals() passing           { return passing{} }
func (passing) to(*os.Process, bool) {}
func (passing) stop()                {}
