package gonso

import (
	"context"
	"sync"

	"github.com/gonso/gonso/child"
)

// A builtin is a function that gonso itself runs inside. It is registered when it is first used and, in a
// worker, by serve: not in package init, as what that knows is linked into every program, with all that
// registered functions take.
type builtin[In, Out any] struct {
	once sync.Once
	f    *Func[In, Out]
}

func (b *builtin[In, Out]) get(name string, fn func(context.Context, In) (Out, error), opts ...FuncOption) *Func[In, Out] {
	b.once.Do(func() { b.f = Register(name, fn, opts...) })
	return b.f
}

// serve is what a worker does in place of main.
func serve() {
	registerBuiltins()
	errorsOnce.Do(registerErrors)
	child.Main()
}
