//go:build !linux

package gonsotest

import (
	"strings"
	"testing"

	"github.com/gonso/gonso/gonso"
)

func TestNewSkipsOnOtherSystems(t *testing.T) {
	t.Setenv("GONSO_TEST_REQUIRE", "")
	r, returned, _ := listen(func(r *recorder) { New(r, gonso.UTS) })
	if returned || !r.skipped || !strings.HasPrefix(r.said, "skip: needs uts namespaces: ") {
		t.Errorf("%+v", r)
	}
}
