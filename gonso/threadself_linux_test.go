package gonso

import (
	"context"
	"errors"
	"os"
	"strings"
	"testing"

	"github.com/gonso/gonso/internal/testenv"
)

// cri-o/cri-o#10204: what is documented about files of procfs that mean a process.
func TestThreadSelfMeansInsideEverywhere(t *testing.T) {
	testenv.Need(t, testenv.IPRoute2)
	inNetSets(t, func(t *testing.T, s *Set) {
		ip(t, s, "link", "add", zoneInside, "type", "veth", "peer", "name", "gonsopeer")
		for _, opts := range [][]DoOption{nil, {InProcess()}} {
			seen, err := procNet.Do(t.Context(), s, struct{}{}, opts...)
			if err != nil {
				t.Fatal(err)
			}
			thread := opts == nil && s.Types() == Net
			for file, inside := range map[string]bool{
				"/proc/thread-self/net/dev": true,
				"/proc/net/dev":             !thread,
				"/proc/self/net/dev":        !thread,
			} {
				if seen[file] != inside {
					t.Errorf("%v: %s shows what is inside: %v, want %v", opts != nil, file, seen[file], inside)
				}
			}
		}
	})
}

var procNet = Register("test.net.proc", func(context.Context, struct{}) (map[string]bool, error) {
	seen := make(map[string]bool)
	var errs []error
	for _, file := range []string{"/proc/thread-self/net/dev", "/proc/net/dev", "/proc/self/net/dev"} {
		b, err := os.ReadFile(file)
		errs = append(errs, err)
		seen[file] = strings.Contains(string(b), zoneInside)
	}
	return seen, errors.Join(errs...)
})
