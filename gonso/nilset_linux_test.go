package gonso

import (
	"context"
	"errors"
	"net"
	"os"
	"reflect"
	"strconv"
	"strings"
	"testing"
	"time"
)

// plausible is an argument with which a Set would do something.
func plausible(typ reflect.Type) reflect.Value {
	for _, v := range []any{
		User, 1, "tcp", time.Second, true, os.FileMode(0), Worker{},
		func() error { return nil }, func() bool { return true }, func() {},
	} {
		if reflect.TypeOf(v) == typ {
			return reflect.ValueOf(v)
		}
	}
	if typ == reflect.TypeFor[context.Context]() {
		return reflect.ValueOf(context.Background())
	}
	if typ == reflect.TypeFor[*Set]() {
		return reflect.ValueOf(new(Set))
	}
	return reflect.Zero(typ)
}

// callAll calls every method of v and gives what each returned.
func callAll(t *testing.T, v reflect.Value, without ...string) map[string][]reflect.Value {
	t.Helper()
	results := make(map[string][]reflect.Value)
methods:
	for i := range v.NumMethod() {
		name := v.Type().Method(i).Name
		for _, w := range without {
			if name == w {
				continue methods
			}
		}
		m := v.Method(i)
		n := m.Type().NumIn()
		if m.Type().IsVariadic() {
			n--
		}
		var args []reflect.Value
		for j := range n {
			args = append(args, plausible(m.Type().In(j)))
		}
		func() {
			defer func() {
				if p := recover(); p != nil {
					t.Errorf("%v.%s panics: %v", v.Type(), name, p)
				}
			}()
			results[name] = m.Call(args)
		}()
	}
	return results
}

// No method of a nil Set panics, and what can answer an error answers that the Set is nil. So do the
// methods of what such a Set gives.
func TestNilSetCannotPanic(t *testing.T) {
	var s *Set
	answers := map[string]string{"Types": "0", "Has": "false", "String": "{nil}", "Fd": "-9"}
	for name, results := range callAll(t, reflect.ValueOf(s)) {
		if want, ok := answers[name]; ok {
			if got := results[0]; reflect.ValueOf(got.Interface()).String() != want && toString(got) != want {
				t.Errorf("%s: %v, want %s", name, got, want)
			}
			continue
		}
		switch got := results[len(results)-1].Interface().(type) {
		case error:
			wantNilSet(t, name, got)
		case Plan:
			wantNilSet(t, name, got.Closures.Err)
			wantNilSet(t, name, got.Functions.Err)
		case *Cmd:
			wantNilSet(t, name, got.Run())
			callAll(t, reflect.ValueOf(got), "RunAndExit") // it ended the test
		case *net.Resolver:
			_, err := got.LookupHost(context.Background(), "gonso.example")
			if err == nil || !strings.Contains(err.Error(), "the Set is nil") { // package net keeps the text alone
				t.Errorf("%s: %v", name, err)
			}
		case *Dialer, *ListenConfig:
			for method, results := range callAll(t, reflect.ValueOf(got)) {
				err, _ := results[len(results)-1].Interface().(error)
				wantNilSet(t, name+"."+method, err)
			}
		default:
			t.Errorf("%s gives %T, which nobody here knows", name, got)
		}
	}
	_, err := new(Set).With(nil)
	wantNilSet(t, "With(nil)", err)
	f := &Func[int, int]{fn: func(context.Context, int) (int, error) { return 0, nil }}
	_, err = f.Do(context.Background(), nil, 1)
	wantNilSet(t, "Func.Do", err)
}

func toString(v reflect.Value) string {
	switch v := v.Interface().(type) {
	case Type:
		return v.String()
	case int:
		return strconv.Itoa(v)
	case bool:
		if v {
			return "true"
		}
		return "false"
	}
	return v.String()
}

func wantNilSet(t *testing.T, what string, err error) {
	t.Helper()
	if !errors.Is(err, os.ErrInvalid) || !strings.Contains(err.Error(), "the Set is nil") {
		t.Errorf("%s: %v, want that the Set is nil", what, err)
	}
}

// What was not made by this package, or is nil, says so too.
func TestZeroValuesCannotPanic(t *testing.T) {
	for _, v := range []any{new(Set), new(Cmd), new(Dialer), new(ListenConfig), new(Pool), (*Pool)(nil), new(Func[int, int]), (*Func[int, int])(nil), new(Plan), new(Error)} {
		callAll(t, reflect.ValueOf(v), "RunAndExit")
	}
	_, err := new(Func[int, int]).Do(context.Background(), new(Set), 1)
	if !errors.Is(err, os.ErrInvalid) || !strings.Contains(err.Error(), "not from Register") {
		t.Error(err)
	}
}
