// Builder builds OCI images from a Dockerfile, as root or as a plain user, without a daemon. All that it does with
// namespaces it does by package gonso; README.md says where which of them come in.
package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/gonso/gonso/gonso"
)

const usageText = `usage: builder build [FLAG...] CONTEXT
       builder run [FLAG...] IMAGE [COMMAND [ARGUMENT...]]
       builder du|prune [-cache DIR]

IMAGE, and what FROM and COPY --from name: an image of build -t, oci:DIR[:TAG], rootfs:FILE, or REGISTRY/NAME[:TAG].
builder COMMAND -h lists the flags.
`

// options are those of the command line.
type options struct {
	cache       string
	file        string
	tag         string
	outputs     list
	target      string
	args        map[string]string
	contexts    map[string]string
	noCache     bool
	network     string
	processes   uint64
	compression string
	progress    string
	push        bool
	timeout     time.Duration
	verbose     bool
	epoch       int64
	rest        []string // CONTEXT, or IMAGE and what follows
}

type list []string

func (l *list) String() string     { return strings.Join(*l, " ") }
func (l *list) Set(s string) error { *l = append(*l, s); return nil }

// setArg reads a --build-arg: K=V, or K for what the environment has, if it has it.
func (o *options) setArg(s string) error {
	k, v, ok := strings.Cut(s, "=")
	if k == "" {
		return errors.New("it has no name")
	}
	if !ok {
		v, ok = os.LookupEnv(k)
	}
	if ok {
		o.args[k] = v
	}
	return nil
}

// setContext reads a --build-context.
func (o *options) setContext(s string) error {
	name, to, _ := strings.Cut(s, "=")
	kind, path, _ := strings.Cut(to, ":")
	if name == "" || path == "" || kind != "oci" && kind != "rootfs" {
		return errors.New("write NAME=oci:DIR or NAME=rootfs:FILE, others are not supported")
	}
	o.contexts[name] = to
	return nil
}

func main() {
	gonso.Init() // in a worker this does not return
	os.Exit(run(os.Args[1:]))
}

func run(args []string) int {
	if len(args) == 0 {
		fmt.Fprint(os.Stderr, usageText)
		return 2
	}
	o := options{args: make(map[string]string), contexts: make(map[string]string)}
	name := args[0]
	f := flag.NewFlagSet("builder "+name, flag.ContinueOnError)
	f.StringVar(&o.cache, "cache", "", "`directory` of the cache (/var/cache/gonso-builder for root, else ~/.cache/gonso-builder)")
	least, most := 0, 0
	switch name {
	case "build":
		least, most = 1, 1
		f.StringVar(&o.file, "f", "", "the `Dockerfile` (CONTEXT/Dockerfile)")
		f.StringVar(&o.tag, "t", "", "a `name` for the image")
		f.Var(&o.outputs, "o", "write the image to a `layout directory or file.tar` (any number of times)")
		f.StringVar(&o.target, "target", "", "the `stage` to build (the last)")
		f.Func("build-arg", "`K=V` for an ARG, or K with its value in the environment (any number of times)", o.setArg)
		f.Func("build-context", "`NAME=oci:DIR|rootfs:FILE`: what NAME means in FROM and COPY --from", o.setContext)
		f.BoolVar(&o.noCache, "no-cache", false, "find nothing in the cache")
		f.StringVar(&o.compression, "compression", "gzip", "of layers: `gzip or zstd`")
		f.StringVar(&o.progress, "progress", "auto", "in lines or live on a terminal: `plain, tty or auto`")
		f.BoolVar(&o.push, "push", false, "push the image to where -t says")
		f.BoolVar(&o.verbose, "v", false, "say in which namespaces each step is, and how gonso enters them")
		f.DurationVar(&o.timeout, "timeout", 0, "how long the build may take")
	case "run":
		least, most = 1, 1<<20
	case "du", "prune":
	default:
		fmt.Fprintf(os.Stderr, "builder: there is no command %s\n%s", name, usageText)
		return 2
	}
	if name == "build" || name == "run" {
		f.StringVar(&o.network, "network", "none", "of what runs: `none or host`")
		f.Uint64Var(&o.processes, "pids", 4096, "the `number` of processes that may run at once")
	}
	if err := f.Parse(args[1:]); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return 0
		}
		return 2
	}
	o.rest = f.Args()
	if n := len(o.rest); n < least || n > most {
		fmt.Fprint(os.Stderr, usageText)
		return 2
	}
	if err := o.check(); err != nil {
		fmt.Fprintln(os.Stderr, "builder:", err)
		return 2
	}
	return start(name, &o)
}

func (o *options) check() error {
	switch {
	case o.network != "" && o.network != "none" && o.network != "host":
		return fmt.Errorf("--network=%s: it is none or host", o.network)
	case o.compression != "" && o.compression != "gzip" && o.compression != "zstd":
		return fmt.Errorf("--compression=%s: it is gzip or zstd", o.compression)
	case o.progress != "" && o.progress != "plain" && o.progress != "tty" && o.progress != "auto":
		return fmt.Errorf("--progress=%s: it is plain, tty or auto", o.progress)
	case o.push && o.tag == "":
		return errors.New("--push: -t has to say where")
	case o.timeout < 0:
		return fmt.Errorf("--timeout=%v: it is less than nothing", o.timeout)
	}
	if s := os.Getenv("SOURCE_DATE_EPOCH"); s != "" {
		if _, err := fmt.Sscanf(s, "%d", &o.epoch); err != nil || o.epoch < 0 || fmt.Sprint(o.epoch) != s {
			return fmt.Errorf("SOURCE_DATE_EPOCH=%s: it is no number of seconds since 1970", s)
		}
	}
	return nil
}
