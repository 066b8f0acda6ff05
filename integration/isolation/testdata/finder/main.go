// Command finder is root inside who looks below every process that it sees for a file of
// the host's, for some seconds, and says by which ways it was found, read and written. With a third
// argument it looks at nothing but the newest processes, of which it misses few.
package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

func main() {
	mark := os.Args[1]
	seconds, _ := strconv.ParseFloat(os.Args[2], 64)
	until := time.Now().Add(time.Duration(seconds * float64(time.Second)))
	found := make(map[string]bool)
	scans := 0
	for ; scans == 0 || time.Now().Before(until); scans++ {
		dirs := newest()
		if len(os.Args) < 4 {
			dirs, _ = filepath.Glob("/proc/[0-9]*")
		}
		for _, dir := range dirs {
			try(dir+"/root", mark, found)
			try(dir+"/cwd", mark, found)
			if fds, _ := os.ReadDir(dir + "/fd"); len(fds) > 0 {
				for _, fd := range fds {
					try(dir+"/fd/"+fd.Name(), mark, found)
				}
			}
		}
	}
	fmt.Println("looked", scans > 0)
}

// newest are the processes with the last ids that were given (proc_loadavg(5)).
func newest() (dirs []string) {
	b, _ := os.ReadFile("/proc/loadavg")
	fields := strings.Fields(string(b))
	last, _ := strconv.Atoi(fields[len(fields)-1])
	for pid := last; pid > last-4; pid-- {
		dirs = append(dirs, fmt.Sprint("/proc/", pid))
	}
	return dirs
}

// try is for a directory that may lead to the host's root, or to that of the file.
func try(dir, mark string, found map[string]bool) {
	for _, path := range []string{dir + mark, dir + "/" + filepath.Base(mark)} {
		if _, err := os.Stat(path); err != nil {
			continue
		}
		comm, _ := os.ReadFile(filepath.Dir(dir) + "/comm")
		if filepath.Base(filepath.Dir(dir)) == "fd" {
			comm, _ = os.ReadFile(filepath.Dir(filepath.Dir(dir)) + "/comm")
		}
		_, err := os.ReadFile(path)
		f, werr := os.OpenFile(path, os.O_WRONLY, 0)
		if werr == nil {
			f.Close()
		}
		what := fmt.Sprintf("found by %s of %.15s: read %v, written %v", filepath.Base(dir), comm, err == nil, werr == nil)
		if !found[what] {
			found[what] = true
			fmt.Println(what)
		}
	}
}
