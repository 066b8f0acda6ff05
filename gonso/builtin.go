package gonso

import (
	"context"
	"sync"

	"github.com/gonso/gonso/child"
)

// A builtin is a function of gonso's own that runs inside. It is registered at its first use. In a
// worker, serve registers it. An init function does not register it, because the linker would then
// put all code for registered functions into every program.
type builtin[In, Out any] struct {
	once sync.Once
	f    *Func[In, Out]
}

func (b *builtin[In, Out]) get(name string, fn func(context.Context, In) (Out, error), opts ...FuncOption) *Func[In, Out] {
	b.once.Do(func() { b.f = Register(name, fn, opts...) })
	return b.f
}

// serve runs in a worker in place of main.
func serve() {
	registerBuiltins()
	errorsOnce.Do(registerErrors)
	child.Main()
}
