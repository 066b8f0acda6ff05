package testenv

import (
	"os"
	"os/exec"
	"strings"
)

// UtilLinux is a program of util-linux: other programs of the same name can do less.
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

// SameProcessor reports whether an executable is for the same processor as this program: both files
// begin alike.
func SameProcessor(path string) bool {
	const machine = 18 // its offset in the ELF header, see elf(5)
	header := func(path string) (h [machine + 2]byte) {
		if f, err := os.Open(path); err == nil {
			defer f.Close()
			f.ReadAt(h[:], 0) // zeros are no processor
		}
		return h
	}
	a, b := header(path), header("/proc/self/exe")
	return a[0] != 0 && a[4] == b[4] && a[5] == b[5] && string(a[machine:]) == string(b[machine:])
}
