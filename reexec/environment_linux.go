package reexec

import (
	"os"
	"strings"
)

// Environment is what a worker or program gets if nothing else is said: all of this process's, or, where somebody
// else may be root inside and read it, only what concerns the Go runtime.
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
