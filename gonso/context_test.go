package gonso

import (
	"context"
	"errors"
	"go/ast"
	"go/parser"
	"go/token"
	"net"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/gonso/gonso/internal/testenv"
)

var noContext = Register("test.nocontext", func(context.Context, string) (string, error) { return "", nil })

// Every exported function and method with a context is called without one.
func TestNilContextCannotPanic(t *testing.T) {
	sets := []*Set{new(Set)}
	if s, err := Unshare(User | Net | Mount); err == nil {
		sets = append(sets, s)
		defer s.Close()
	}
	if s, err := Unshare(Net | Mount); err == nil {
		sets = append(sets, s)
		defer s.Close()
	}
	pool, err := NewPool(func(context.Context) (*Set, error) { return new(Set), nil }, PoolOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer pool.Close()
	for _, s := range sets {
		receivers := map[string]any{
			"Set": s, "Dialer": s.Dialer(net.Dialer{}), "ListenConfig": s.ListenConfig(net.ListenConfig{}), "Func": noContext, "Pool": pool,
		}
		functions := map[string]any{"Probe": Probe}
		for _, name := range contextFunctions(t) {
			of, method, isMethod := strings.Cut(name, ".")
			f := reflect.ValueOf(functions[name])
			if isMethod && receivers[of] != nil {
				f = reflect.ValueOf(receivers[of]).MethodByName(method)
			}
			if !f.IsValid() {
				t.Errorf("%s is not called by this test", name)
				continue
			}
			var args []reflect.Value
			for i := range f.Type().NumIn() {
				if f.Type().IsVariadic() && i == f.Type().NumIn()-1 {
					break
				}
				args = append(args, reflect.Zero(f.Type().In(i)))
				if f.Type().In(i) == reflect.TypeFor[*Set]() {
					args[i] = reflect.ValueOf(s)
				}
			}
			results := f.Call(args)
			var got error
			switch r := results[len(results)-1].Interface().(type) {
			case error:
				got = r
			case *Cmd:
				got = r.Run()
			case *Report:
				for _, c := range r.Checks {
					got = c.Err
					if c.Answer != Unknown {
						t.Errorf("%s: %v", c.What, c.Answer)
					}
				}
			}
			if !errors.Is(got, os.ErrInvalid) || !strings.Contains(got.Error(), "the context is nil") {
				t.Errorf("%s: %v", name, got)
			}
		}
	}
}

// contextFunctions are the exported functions and methods whose first argument is a context.
func contextFunctions(t *testing.T) (names []string) {
	_, err := os.Stat("doc.go")
	testenv.Found(t, "source", err)
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range files {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		f, err := parser.ParseFile(token.NewFileSet(), name, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range f.Decls {
			fn, ok := d.(*ast.FuncDecl)
			if !ok || !fn.Name.IsExported() || fn.Type.Params.NumFields() == 0 {
				continue
			}
			if of, ok := fn.Type.Params.List[0].Type.(*ast.SelectorExpr); !ok || of.Sel.Name != "Context" {
				continue
			}
			of := ""
			if fn.Recv != nil {
				if of = receiver(fn.Recv.List[0].Type); !ast.IsExported(of) {
					continue
				}
				of += "."
			}
			names = append(names, of+fn.Name.Name)
		}
	}
	if len(names) < 10 {
		t.Errorf("only %v", names)
	}
	return names
}

func receiver(e ast.Expr) string {
	switch e := e.(type) {
	case *ast.StarExpr:
		return receiver(e.X)
	case *ast.IndexExpr:
		return receiver(e.X)
	case *ast.IndexListExpr:
		return receiver(e.X)
	case *ast.Ident:
		return e.Name
	}
	return ""
}
