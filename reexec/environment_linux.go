package reexec

import (
	"fmt"
	"os"
	"strings"
)

// Environment is the default environment of a worker or program. It is the environment of this
// process. If somebody else may be root inside, and could read it, it has only the variables of the
// Go runtime.
func Environment(protect bool) []string {
	all := os.Environ()
	if !protect {
		return all
	}
	var env []string
	for _, kv := range all {
		name, _, _ := strings.Cut(kv, "=")
		switch name {
		case "GODEBUG", "GOGC", "GOMAXPROCS", "GOMEMLIMIT", "GORACE", "GOTRACEBACK", "GOCOVERDIR", "GONSO_DEBUG", "LANG", "PATH", "TZ":
			env = append(env, kv)
		}
	}
	return env
}

// maxString is MAX_ARG_STRLEN: the size of the longest string that may be passed to a program
// (execve(2)).
const maxString = 128<<10 - 1

// TooLarge says what of a program's arguments and environment is too large, and names the field. It
// explains E2BIG.
func TooLarge(args, env []string) (field, what string) {
	sum := 0
	for i, arg := range args {
		if len(arg) > maxString {
			return fmt.Sprintf("Args[%d]", i), fmt.Sprintf("it has %d bytes, and no more than %d can be passed on", len(arg), maxString)
		}
		sum += len(arg) + 1
	}
	for _, kv := range env {
		if name, _, _ := strings.Cut(kv, "="); len(kv) > maxString {
			return "Env", fmt.Sprintf("the variable %.64q has %d bytes, and no more than %d can be passed on", name, len(kv), maxString)
		}
		sum += len(kv) + 1
	}
	const most = "a quarter of the limit of the stack (RLIMIT_STACK), and no more than 6 MiB, can be passed on"
	if len(args) == 0 {
		return "Env", fmt.Sprintf("%d variables of %d bytes together; %s", len(env), sum, most)
	}
	return "Args and Env", fmt.Sprintf("%d arguments and %d variables of %d bytes together; %s", len(args), len(env), sum, most)
}
