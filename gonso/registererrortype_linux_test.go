package gonso

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// toolError is an error of a program's own type.
type toolError struct {
	Tool string
	Code int
	Err  error
}

func (e *toolError) Error() string { return fmt.Sprintf("%s: exit %d: %v", e.Tool, e.Code, e.Err) }
func (e *toolError) Unwrap() error { return e.Err }

// strangerError is one that nobody registered.
type strangerError struct{ Code int }

func (e strangerError) Error() string { return fmt.Sprint("code ", e.Code) }

// lostError wraps what no exported field has.
type lostError struct {
	Code  int
	cause error
}

func (e lostError) Error() string { return fmt.Sprintf("%d: %v", e.Code, e.cause) }
func (e lostError) Unwrap() error { return e.cause }

func init() {
	RegisterErrorType[*toolError]()
	RegisterErrorType[*toolError]() // as another package may
	RegisterErrorType[lostError]()
}

var failsByType = Register("test.fails-by-type", func(_ context.Context, how string) (int, error) {
	_, err := os.Open("/no/such/file")
	err = fmt.Errorf("the box: %w", &toolError{"mkfs", 3, errors.Join(errBusy, err, lostError{7, unix.ENOSPC}, strangerError{9})})
	if how == "panic" {
		panic(err)
	}
	return 1, err
})

// Who looks for an error of his own type finds it, with its fields and what it wraps, wherever the
// function ran. (Errors of plugins were texts to be parsed: velero-io/velero#581, mattermost/mattermost#9405.)
func TestErrorOfTheProgramsOwnTypeCannotBecomeAText(t *testing.T) {
	bothBackends(t, func(t *testing.T, opt DoOption) {
		s := owned(t)(Current(UTS))
		for _, how := range []string{"return", "panic"} {
			n, err := failsByType.Do(t.Context(), s, how, opt)
			e, ok := errors.AsType[*toolError](err)
			if !ok || e.Tool != "mkfs" || e.Code != 3 || n != 1 && how == "return" {
				t.Errorf("%s: %d, %+v, %v", how, n, e, err)
			}
			lost, ok := errors.AsType[lostError](err)
			if !ok || lost.Code != 7 {
				t.Errorf("%s: %+v", how, lost)
			}
			path, ok := errors.AsType[*fs.PathError](e)
			if !ok || path.Path != "/no/such/file" {
				t.Errorf("%s: %+v", how, path)
			}
			for _, is := range []error{errBusy, unix.ENOENT, fs.ErrNotExist, unix.ENOSPC} {
				if !errors.Is(e, is) {
					t.Errorf("%s: is not %v", how, is)
				}
			}
			if _, ok := errors.AsType[strangerError](err); ok {
				t.Errorf("%s: found what was not registered", how)
			}
			if want := "the box: mkfs: exit 3: busy\nopen /no/such/file: no such file or directory\n7: no space left on device\ncode 9"; !strings.Contains(err.Error(), want) {
				t.Errorf("%s: %v", how, err)
			}
		}
	})
}

func TestBadInputOfRegisterErrorType(t *testing.T) {
	for want, f := range map[string]func(){
		"RegisterErrorType of error: an interface":                     RegisterErrorType[error],
		"RegisterErrorType of gonso.closedError: it has no exported":   RegisterErrorType[closedError],
		"RegisterErrorType of gonso.hookError: field Hook: cannot enc": RegisterErrorType[hookError],
	} {
		func() {
			defer func() {
				if text := fmt.Sprint(recover()); !strings.HasPrefix(text, "gonso: "+want) {
					t.Errorf("%s, want %s", text, want)
				}
			}()
			f()
		}()
	}
}

type closedError struct{ code int }

func (e closedError) Error() string { return fmt.Sprint(e.code) }

type hookError struct{ Hook func() }

func (hookError) Error() string { return "" }
