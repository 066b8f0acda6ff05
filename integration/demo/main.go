//go:build linux

// Demo runs work inside Linux namespaces with gonso and shows in a table what
// ran where: a closure on a thread of this process, and registered functions in
// a worker process that puts an overlay over a directory, hashes every file in
// parallel and changes one, while the host's directory stays as it was.
//
//	go run ./demo [DIR]
//
// It needs Linux 5.11 for the overlay in a user namespace, and no privilege; for
// a plain user no thread may enter the net namespace, and the demo shows the
// error that says so instead. It exits with status 1 if anything that it shows
// is not as it should be.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"

	"golang.org/x/sys/unix"

	"github.com/gonso/gonso/gonso"
)

const defaultDir = "/usr/share/doc"

func main() {
	gonso.Init() // in a worker this does not return
	flag.Usage = func() {
		fmt.Fprintf(flag.CommandLine.Output(), "usage: demo [DIR]\n\nDIR is read, and changed only inside; the default is %s.\n", defaultDir)
	}
	flag.Parse()
	dir := defaultDir
	switch flag.NArg() {
	case 0:
	case 1:
		dir = flag.Arg(0)
	default:
		flag.Usage()
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, unix.SIGTERM)
	r, err := run(ctx, dir, nil)
	stop()
	r.print(os.Stdout)
	if err != nil {
		fmt.Fprintf(os.Stderr, "\nFAILED: %v\n", err)
		os.Exit(1)
	}
}
