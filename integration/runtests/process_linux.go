package main

import (
	"bytes"
	"cmp"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// awake is held by main, but not while it waits for a process, and for good by who ends this program:
// so main starts and makes nothing any more.
var awake sync.Mutex

// endWhenTold ends this program, and all that it has started, on a signal.
func endWhenTold() {
	// Orphans come to this process, which so knows them all, whatever group or user they are in.
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		fmt.Fprintln(os.Stderr, "test.sh: no subreaper:", err)
	}
	awake.Lock()
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, unix.SIGINT, unix.SIGTERM, unix.SIGHUP, unix.SIGPIPE) // the last if nobody reads any more
	go func() {
		<-signals
		awake.Lock()
		clearStatus()
		for _, left := range leave() {
			fmt.Fprintln(os.Stderr, "test.sh: still there:", left)
		}
		fmt.Println("interrupted")
		os.Exit(130)
	}()
}

// leave removes all that there is of this run, and says what it could not.
func leave() (left []string) {
	for stop := time.Now().Add(10 * time.Second); time.Now().Before(stop); {
		if left = alone(0); len(left) == 0 {
			break
		}
	}
	return append(left, removeBelow(*work)...)
}

// alone waits until nothing is below this process, kills what there is after limit, and says what
// that was.
func alone(limit time.Duration) (left []string) {
	for stop := time.Now().Add(limit); ; time.Sleep(time.Millisecond) {
		for pid := 1; pid > 0; {
			pid, _ = unix.Wait4(-1, nil, unix.WNOHANG, nil)
		}
		pids := descendants()
		if len(pids) == 0 {
			return nil
		}
		if time.Now().Before(stop) {
			continue
		}
		for _, pid := range pids {
			cmdline, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
			left = append(left, fmt.Sprintf("process %d %q", pid, bytes.TrimRight(cmdline, "\x00")))
			unix.Kill(pid, unix.SIGKILL) //nolint:errcheck // it may have ended
		}
		return left
	}
}

func descendants() []int {
	children := make(map[int][]int)
	entries, _ := os.ReadDir("/proc")
	for _, e := range entries {
		stat, err := os.ReadFile("/proc/" + e.Name() + "/stat")
		if err != nil {
			continue
		}
		f := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
		pid, err := strconv.Atoi(e.Name())
		if parent, perr := strconv.Atoi(f[1]); err == nil && perr == nil {
			children[parent] = append(children[parent], pid)
		}
	}
	all := children[os.Getpid()]
	for i := 0; i < len(all); i++ {
		all = append(all, children[all[i]]...)
	}
	return all
}

// unmountBelow unmounts and lists what is mounted below dir.
func unmountBelow(dir string) (left []string) {
	mounts, _ := os.ReadFile("/proc/self/mountinfo")
	for line := range strings.Lines(string(mounts)) {
		if f := strings.Fields(line); len(f) > 4 && strings.HasPrefix(f[4], dir+"/") {
			left = append(left, unescape.Replace(f[4]))
		}
	}
	for _, at := range slices.Backward(left) {
		if err := unix.Unmount(at, unix.MNT_DETACH); err != nil {
			fmt.Fprintf(os.Stderr, "unmount %s: %v\n", at, err)
		}
	}
	return left
}

var unescape = strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`)

// removeBelow removes a folder, but nothing that is mounted there: that is somebody's files.
func removeBelow(dir string) (left []string) {
	unmountBelow(dir)
	if still := unmountBelow(dir); len(still) > 0 {
		return still
	}
	// Folders may be closed even to their owner.
	filepath.WalkDir(dir, func(path string, d os.DirEntry, _ error) error { //nolint:errcheck // RemoveAll tells
		if d != nil && d.IsDir() {
			os.Chmod(path, 0o700) //nolint:errcheck // as above
		}
		return nil
	})
	if err := os.RemoveAll(dir); err != nil {
		return []string{err.Error()}
	}
	return nil
}

// output is all that c prints.
func output(c *exec.Cmd) ([]byte, error) {
	var out bytes.Buffer
	c.Stdout, c.Stderr = &out, &out
	if err := c.Start(); err != nil {
		return nil, err
	}
	awake.Unlock()
	err := c.Wait()
	awake.Lock()
	return out.Bytes(), err
}

func (u *runner) command(dir, name string, args ...string) *exec.Cmd {
	c := exec.Command(name, args...)
	c.Dir, c.Env = dir, u.env
	if c.Env == nil {
		c.Env = os.Environ()
	}
	// Not the terminal's group: the tests have nothing to do with it.
	c.SysProcAttr = &syscall.SysProcAttr{Credential: u.cred, Setpgid: true}
	return c
}

// run runs a package's test binary and prints its line.
func (u *runner) run(p pkg, dir, promise string) (*report, error) {
	if _, err := os.Stat(p.binary); err != nil {
		return new(report), nil // was counted when it did not build
	}
	limit, err := strconv.Atoi(os.Getenv("GONSO_TEST_TIMEOUT"))
	if err != nil {
		limit = 600
	}
	temp := filepath.Join(*work, "tmp")
	if err := os.Mkdir(temp, 0o755); err != nil {
		return nil, err
	}
	defer removeBelow(temp)
	log, err := os.Create(filepath.Join(*work, "log"))
	if err != nil {
		return nil, err
	}
	defer log.Close()
	if u.cred != nil {
		if err := os.Chown(temp, int(u.cred.Uid), int(u.cred.Gid)); err != nil {
			return nil, err
		}
	}
	args := []string{"-test.v=test2json", "-test.paniconexit0", fmt.Sprintf("-test.timeout=%ds", limit), fmt.Sprintf("-test.count=%d", *count)}
	if *short {
		args = append(args, "-test.short")
	}
	if *pattern != "" {
		args = append(args, "-test.run="+*pattern)
	}
	c := u.command(dir, p.binary, args...)
	c.Env = append(c.Env, "GONSO_TEST_REQUIRE="+promise, "GONSO_DEBUG=threads", "TMPDIR="+temp)
	if *stress {
		c.Env = append(c.Env, "GONSO_TEST_STRESS=1")
	}
	c.Stdout, c.Stderr = log, log
	begin := time.Now()
	if err := c.Start(); err != nil {
		return nil, err
	}
	// Twice a limit: the test binary's own shows all goroutines, this one gets rid of a wedged one.
	kill := time.AfterFunc(time.Duration(limit+30)*time.Second, func() { unix.Kill(c.Process.Pid, unix.SIGKILL) }) //nolint:errcheck // it may have ended
	endStatus := showStatus(p.path, log.Name())
	awake.Unlock()
	end := reap(c.Process.Pid)
	awake.Lock()
	kill.Stop()
	endStatus()
	took := time.Since(begin)

	r := readLog(log.Name())
	wrong := ""
	switch {
	case end != 0:
		wrong = fmt.Sprintf("%v\n", describe(end))
	case !r.complete:
		wrong = "exit status 0 without PASS\n"
	}
	for _, left := range alone(2 * time.Second) {
		wrong += "left running: " + left + "\n"
	}
	for _, left := range unmountBelow(temp) {
		wrong += "left mounted: " + left + "\n"
	}
	if *verbose {
		os.Stdout.Write(r.all)
	} else if wrong != "" || r.failed > 0 {
		os.Stdout.Write(r.failures)
	}
	word := "ok  "
	if wrong != "" || r.failed > 0 {
		word = "FAIL"
		r.failed = max(r.failed, 1) // it crashed, or TestMain complained
	}
	fmt.Print(wrong)
	fmt.Printf("%s\t%s%s\t%.1f s\t%s\n", word, p.path, strings.TrimSuffix(" "+cmp.Or(*mode, *goarch), " "), took.Seconds(), r)
	return r, nil
}

// reap waits for pid, and for the orphans that come here until it ends.
func reap(pid int) unix.WaitStatus {
	for {
		var status unix.WaitStatus
		if got, err := unix.Wait4(-1, &status, 0, nil); got == pid || err == unix.ECHILD {
			return status
		}
	}
}

func describe(s unix.WaitStatus) string {
	if s.Signaled() {
		return "killed by " + unix.SignalName(s.Signal())
	}
	return fmt.Sprintf("exit status %d", s.ExitStatus())
}
