package gonso_test

import (
	"errors"
	"testing"

	"github.com/gonso/gonso/gonso"
	"github.com/gonso/gonso/internal/testenv"
)

func TestWarmNeedsAProcessBackend(t *testing.T) {
	s := new(gonso.Set)
	defer s.Close()
	err := s.Warm(t.Context())
	if testenv.Has(testenv.Process) {
		if err != nil {
			t.Error(err)
		}
	} else if !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("where there is none: %v", err)
	}
}
