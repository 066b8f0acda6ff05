package testenv

import (
	"fmt"
	"runtime"
	"testing"
)

// recorder is a test that is not run but listened to.
type recorder struct {
	testing.TB
	said   string
	failed bool
}

func (r *recorder) Helper() {}

func (r *recorder) Skipf(format string, args ...any) {
	r.said = fmt.Sprintf(format, args...)
	runtime.Goexit()
}

func (r *recorder) Fatalf(format string, args ...any) {
	r.failed = true
	r.Skipf(format, args...)
}
