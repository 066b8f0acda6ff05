package gonso

import (
	"context"
	"errors"
	"fmt"
	"testing"
)

var (
	errBusy     = errors.New("busy")
	errNotKnown = errors.New("busy") // the same text, not registered
)

func init() { RegisterError("github.com/gonso/gonso/gonso.errBusy", errBusy) }

var refuses = Register("test.refuses", func(_ context.Context, known bool) (struct{}, error) {
	if known {
		return struct{}{}, fmt.Errorf("the box: %w", errBusy)
	}
	return struct{}{}, fmt.Errorf("the box: %w", errNotKnown)
})

func TestRegisteredErrorsCompare(t *testing.T) {
	bothBackends(t, func(t *testing.T, opt DoOption) {
		s := owned(t)(Current(UTS))
		_, err := refuses.Do(t.Context(), s, true, opt)
		if !errors.Is(err, errBusy) || err.Error() != "the box: busy" {
			t.Errorf("registered: %v", err)
		}
		_, err = refuses.Do(t.Context(), s, false, opt)
		if errors.Is(err, errBusy) || errors.Is(err, errNotKnown) || err == nil || err.Error() != "the box: busy" {
			t.Errorf("not registered: %v", err)
		}
	})
}

type incomparable struct{ list []int }

func (incomparable) Error() string { return "" }

func TestBadInputOfRegisterError(t *testing.T) {
	for what, f := range map[string]func(){
		"no name":      func() { RegisterError("", errNotKnown) },
		"no error":     func() { RegisterError("test.nil", nil) },
		"name taken":   func() { RegisterError("github.com/gonso/gonso/gonso.errBusy", errNotKnown) },
		"error twice":  func() { RegisterError("test.again", errBusy) },
		"incomparable": func() { RegisterError("test.incomparable", incomparable{[]int{1}}) },
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s: no panic", what)
				}
			}()
			f()
		}()
	}
}
