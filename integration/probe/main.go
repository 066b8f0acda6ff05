// Command probe prints what programs may do with namespaces on this machine, and why they may not do
// the rest, by gonso.Probe. A bug report can begin with it.
//
//	probe [-json]
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"time"

	"github.com/gonso/gonso/gonso"
)

func main() {
	gonso.Init()
	asJSON := flag.Bool("json", false, "print JSON")
	flag.Parse()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	r := gonso.Probe(ctx)
	if !*asJSON {
		fmt.Print(r)
		return
	}
	out := json.NewEncoder(os.Stdout)
	out.SetIndent("", "\t")
	if err := out.Encode(r); err != nil {
		fmt.Fprintln(os.Stderr, "probe:", err)
		os.Exit(1)
	}
}
