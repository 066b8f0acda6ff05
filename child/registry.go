package child

import (
	"context"
	"fmt"
	"runtime/debug"
	"sync"

	"github.com/gonso/gonso/internal/codec"
	"github.com/gonso/gonso/internal/wire"
)

// Handler runs one call. It decodes the argument and encodes the result, so that a call means the
// same on every backend. The files of the argument are closed when the handler has returned. The
// files of the outcome belong to the handler's caller.
type Handler func(ctx context.Context, in codec.Value) *wire.Outcome

// function is a registered handler.
type function struct {
	handler    Handler
	clean      bool // the goroutine that has read a call of this function may read on afterwards
	goroutines bool // it starts goroutines that must be inside, too
	pace       pace
}

var registry struct {
	sync.RWMutex
	functions map[string]*function
}

// Traits are the properties of a handler.
type Traits struct {
	Clean      bool // it leaves goroutine and thread as it found them, so the next call can use them again
	Goroutines bool // it starts goroutines that must be inside, too
}

// Register makes h known by name. It panics if the name is empty or already registered: this is a
// mistake in the program, and is found when it starts.
func Register(name string, h Handler, t Traits) {
	f := &function{handler: h, clean: t.Clean, goroutines: t.Goroutines}
	registry.Lock()
	defer registry.Unlock()
	switch {
	case name == "":
		panic("gonso: a function is registered under an empty name")
	case len(name) > wire.MaxName:
		panic(fmt.Sprintf("gonso: the function name %.32q... is longer than %d bytes", name, wire.MaxName))
	case registry.functions[name] != nil:
		panic(fmt.Sprintf("gonso: a function is registered already under the name %q", name))
	}
	if registry.functions == nil {
		registry.functions = make(map[string]*function)
	}
	registry.functions[name] = f
}

func lookup(name string) *function {
	registry.RLock()
	defer registry.RUnlock()
	return registry.functions[name]
}

// Invoke runs h and hands its outcome to done exactly once, whether h returns, panics or ends its
// goroutine. In the last case Invoke does not return either.
func Invoke(ctx context.Context, h Handler, in codec.Value, done func(*wire.Outcome)) {
	if in.Bytes != nil {
		growStack()
	}
	var out *wire.Outcome
	defer func() {
		switch p := recover(); {
		case p != nil:
			out = &wire.Outcome{Kind: wire.Panicked, Panic: &wire.Panic{Value: p, Stack: debug.Stack()}}
		case out == nil:
			out = &wire.Outcome{Kind: wire.Goexited}
		}
		in.Close() // first: once the call is over, the caller may check its files
		done(out)
	}()
	out = h(ctx, in)
}

// growStack makes room for the codec while the stack of a fresh goroutine is still empty. Otherwise
// the stack would grow, and be copied, three times.
//
//go:noinline
func growStack() {
	var room [8 << 10]byte
	touch(&room)
}

//go:noinline
func touch(room *[8 << 10]byte) { room[0] = 1 }
