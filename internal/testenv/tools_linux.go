package testenv

import (
	"os/exec"
	"strings"
)

// UtilLinux is a program of util-linux: others by these names can do less.
func UtilLinux(name string) Req { return genuine(name, "util-linux", "--version") }

// IPRoute2 is ip(8) of iproute2.
var IPRoute2 = genuine("ip", "iproute2", "-V")

func genuine(name, of, version string) Req {
	return Req{name + " of " + of, []string{name, "tools"}, func() string {
		path, err := LookPath(name)
		if err != nil {
			return err.Error()
		}
		out, err := exec.Command(path, version).CombinedOutput()
		if err != nil || !strings.Contains(string(out), of) {
			return path + " is another"
		}
		return ""
	}}
}
