package gonso

import (
	"context"
	"sync"

	"github.com/gonso/gonso/child"
)

// A builtin is a function of gonso's own that runs inside. It is registered at its first use; in a
// worker, serve registers it. Package init does not: the linker would then put everything that
// registered functions need into every program.
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
