//go:build !linux

package sys

import "os"

func noLinger(*os.File) {}
