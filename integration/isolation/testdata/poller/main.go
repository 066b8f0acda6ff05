// Poller is root inside a container that looks for a secret in whatever it can
// see: memory, environment, descriptors and executables of all processes. It
// reads the secret from its standard input, then the process id whose children
// count, polls until the input ends, and prints what it found.
//
// Started as "holder" it is a process of the container that has the secret:
// finding it shows that the search works.
package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
)

// Report is what the poller prints, see isolation_linux_test.go.
type Report struct {
	Rounds   int
	Workers  int            // distinct ones seen
	Readable []string       // what could be read of processes that are not the container's own
	Found    []string       // where the secret was
	Writable []string       // executables and files of others that could be written to
	Control  []string       // what was found in the holder
	Refused  map[string]int // by file and error, for workers
}

func main() {
	if len(os.Args) > 1 && os.Args[1] == "holder" {
		hold()
		return
	}
	in := bufio.NewReader(os.Stdin)
	secret, err := in.ReadString('\n')
	check(err)
	secret = strings.TrimSpace(secret)

	holder := startHolder(secret)
	p := &poller{secret: []byte(secret), own: map[int]bool{os.Getpid(): true}, holder: holder.Process.Pid,
		workers: make(map[int]bool), others: make(map[int]bool), exes: make(map[int]*os.File), seen: make(map[string]bool)}
	p.Refused = make(map[string]int)
	p.round()
	fmt.Println("ready")

	var over atomic.Bool
	go func() {
		line, _ := in.ReadString('\n')
		parent, _ := strconv.Atoi(strings.TrimSpace(line))
		p.parent.Store(int64(parent))
		io.Copy(io.Discard, in)
		over.Store(true)
	}()
	for !over.Load() {
		p.round()
	}
	// A program that runs cannot be written to; those of workers run no more.
	holder.Process.Kill()
	holder.Wait()
	p.writeExes()
	check(json.NewEncoder(os.Stdout).Encode(p.Report))
}

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "poller:", err)
		os.Exit(1)
	}
}

var held []byte

func hold() {
	line, err := bufio.NewReader(os.Stdin).ReadBytes('\n')
	check(err)
	held = bytes.TrimSpace(line)
	fmt.Println("holding")
	io.Copy(io.Discard, os.Stdin)
	os.Exit(len(held))
}

func startHolder(secret string) *exec.Cmd {
	// A copy of its own, so that it may be written to once it has ended.
	b, err := os.ReadFile("/proc/self/exe")
	check(err)
	check(os.WriteFile("/holder", b, 0o755))
	c := exec.Command("/holder", "holder")
	c.Env = []string{"HELD=" + secret}
	in, err := c.StdinPipe()
	check(err)
	out, err := c.StdoutPipe()
	check(err)
	c.Stderr = os.Stderr
	check(c.Start())
	_, err = fmt.Fprintln(in, secret)
	check(err)
	_, err = bufio.NewReader(out).ReadString('\n')
	check(err)
	return c
}

type poller struct {
	Report
	secret  []byte
	own     map[int]bool
	holder  int
	parent  atomic.Int64
	workers map[int]bool
	others  map[int]bool     // whose parent is somebody else
	exes    map[int]*os.File // of the holder and of workers, kept to write to
	seen    map[string]bool
}

func (p *poller) round() {
	p.Rounds++
	dir, err := os.Open("/proc")
	check(err)
	names, err := dir.Readdirnames(-1)
	check(err)
	dir.Close()
	all := p.Rounds%100 == 1 // what lives longer need not be looked at all the time
	for _, name := range names {
		pid, err := strconv.Atoi(name)
		if err != nil || p.own[pid] || pid == p.holder && p.Rounds > 1 {
			continue
		}
		if all {
			p.others[pid] = false
		}
		if p.others[pid] {
			continue
		}
		child := p.isChild(pid)
		p.others[pid] = !child
		if child || all {
			p.look(pid, child)
		}
	}
}

// isChild is true for children of the program that works in here, from fork on.
func (p *poller) isChild(pid int) bool {
	stat, _ := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	_, fields, _ := strings.Cut(string(stat), ") ")
	var state string
	var parent int64
	fmt.Sscan(fields, &state, &parent)
	return parent == p.parent.Load()
}

func (p *poller) look(pid int, child bool) {
	dir := fmt.Sprintf("/proc/%d/", pid)
	cmdline, _ := os.ReadFile(dir + "cmdline")
	// The launcher that is about to become one is called so, too.
	worker := child && string(cmdline) == "gonso-worker\x00"
	if worker && !p.workers[pid] {
		p.workers[pid] = true
		p.Workers++
	}
	refused := func(file string, err error) {
		if worker {
			if pe, ok := err.(*os.PathError); ok {
				err = pe.Err
			}
			p.Refused[file+": "+err.Error()]++
		}
	}
	if b, err := os.ReadFile(dir + "environ"); err != nil {
		refused("environ", err)
	} else if len(b) > 0 {
		p.readable(pid, "environ", cmdline)
		p.search(pid, "environ", b)
	}
	if mem, err := os.Open(dir + "mem"); err != nil {
		refused("mem", err)
	} else {
		// Threads of the kernel can be opened, and have no memory.
		if p.searchMemory(pid, dir, mem) > 0 {
			p.readable(pid, "mem", cmdline)
		}
		mem.Close()
	}
	if p.exes[pid] == nil && (worker || pid == p.holder) {
		if f, err := os.Open(dir + "exe"); err != nil {
			refused("exe", err)
		} else {
			p.exes[pid] = f
			p.readable(pid, "exe", cmdline)
		}
	}
	if f, err := os.OpenFile(dir+"exe", os.O_WRONLY, 0); err == nil {
		p.Writable = append(p.Writable, fmt.Sprintf("%d exe, while it runs (%q)", pid, cmdline))
		f.Close()
	}
	fds, err := os.ReadDir(dir + "fd")
	if err != nil {
		refused("fd", err)
	}
	for _, fd := range fds {
		if pid == p.holder {
			break
		}
		p.readable(pid, "fd", cmdline)
		name := dir + "fd/" + fd.Name()
		target, _ := os.Readlink(name)
		if !filepath.IsAbs(target) || strings.HasPrefix(target, "/dev/") {
			continue
		}
		if f, err := os.OpenFile(name, os.O_WRONLY, 0); err == nil {
			p.Writable = append(p.Writable, name+" "+target)
			f.Close()
		}
	}
}

// readable notes what was read of others.
func (p *poller) readable(pid int, what string, cmdline []byte) {
	if pid != p.holder {
		p.once(&p.Readable, fmt.Sprintf("%d %s (%q)", pid, what, cmdline))
	}
}

func (p *poller) once(list *[]string, s string) {
	if !p.seen[s] {
		p.seen[s] = true
		*list = append(*list, s)
	}
}

func (p *poller) search(pid int, what string, b []byte) {
	if !bytes.Contains(b, p.secret) {
		return
	}
	if pid == p.holder {
		p.once(&p.Control, what)
	} else {
		p.once(&p.Found, fmt.Sprintf("%d %s", pid, what))
	}
}

func (p *poller) searchMemory(pid int, dir string, mem *os.File) (read int) {
	maps, err := os.ReadFile(dir + "maps")
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(maps)) {
		var from, to int64
		var perm string
		if _, err := fmt.Sscanf(line, "%x-%x %s", &from, &to, &perm); err != nil || perm[0] != 'r' || to-from > 64<<20 {
			continue
		}
		b, _ := io.ReadAll(io.NewSectionReader(mem, from, to-from))
		read += len(b)
		p.search(pid, "mem", b)
	}
	return read
}

// writeExes writes to executables as CVE-2019-5736 does: by a descriptor that
// outlives the process.
func (p *poller) writeExes() {
	for pid, f := range p.exes {
		w, err := os.OpenFile(fmt.Sprintf("/proc/self/fd/%d", f.Fd()), os.O_WRONLY|os.O_APPEND, 0)
		if err == nil {
			_, err = w.Write([]byte("x"))
			w.Close()
		}
		switch {
		case err != nil:
			p.Refused["write to exe: "+err.Error()]++
		case pid == p.holder:
			p.once(&p.Control, "exe")
		default:
			p.Writable = append(p.Writable, fmt.Sprintf("%d exe, later", pid))
		}
		f.Close()
	}
}
