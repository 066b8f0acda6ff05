//go:build linux

package gonso_test

import (
	"context"
	"fmt"
	"time"

	"github.com/gonso/gonso/gonso"
)

// What the program may do here, and why it may not do the rest. The whole Report is a table for
// people.
func ExampleProbe() {
	gonso.Init() // Probe tries a worker, too

	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	report := gonso.Probe(ctx)
	for _, what := range []string{"net, in a user namespace", "worker, in a user namespace"} {
		if check, ok := report.Of(what); ok {
			fmt.Println(what+":", check.Answer) // check.Why says why not
		}
	}
	// Output:
	// net, in a user namespace: yes
	// worker, in a user namespace: yes
}
