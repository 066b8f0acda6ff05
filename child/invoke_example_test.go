//go:build linux

package child_test

import (
	"context"
	"fmt"

	"github.com/gonso/gonso/child"
	"github.com/gonso/gonso/internal/codec"
	"github.com/gonso/gonso/internal/wire"
)

// greet is a function as package gonso registers it: it decodes its argument, and encodes its result.
func greet(_ context.Context, in codec.Value) *wire.Outcome {
	var name string
	if err := in.Decode(&name); err != nil {
		return &wire.Outcome{Kind: wire.Returned, Err: err}
	}
	out, err := codec.Encode("hello " + name)
	return &wire.Outcome{Kind: wire.Returned, Value: out, Err: err}
}

// A function runs, and its outcome is given on, once.
func ExampleInvoke() {
	in, err := codec.Encode("gonso")
	if err != nil {
		fmt.Println(err)
		return
	}
	child.Invoke(context.Background(), greet, in, func(o *wire.Outcome) {
		var text string
		err := o.Value.Decode(&text)
		fmt.Println(text, err, o.Err)
	})
	// Output: hello gonso <nil> <nil>
}
