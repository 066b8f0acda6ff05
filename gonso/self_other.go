//go:build !linux

package gonso

import "os"

func endAs(state *os.ProcessState) { os.Exit(state.ExitCode()) }
