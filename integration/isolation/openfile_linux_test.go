package isolation

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/gonso/gonso/internal/testenv"
)

// Root inside a container chooses what a name means by which this program opens a file there, and
// this program may open more than root inside.

// opening is a container, and a program that opens files in it.
type opening struct {
	*box
	t   *testing.T
	in  *json.Encoder
	out *json.Decoder
}

type openRequest struct {
	Op    string
	Name  string
	Flag  int
	Perm  os.FileMode
	Any   bool
	Write string
	For   time.Duration
}

type openAnswer struct {
	Err     string
	Denied  bool
	Type    string
	Content string
	TTY     bool

	Times, Opened int
	Strange       []string
}

// inBoxes runs a test in every kind of container, with a Set of the mount namespace alone, which
// a thread enters, and with a Set of all that the container has. Without a user namespace of its
// own both are opened in by a thread.
func inBoxes(t *testing.T, f func(t *testing.T, o *opening)) {
	needBuild(t)
	needTool(t, "tools", "nsenter")
	dir := t.TempDir()
	build(t, "opener", dir+"/opener")
	build(t, "inside", dir+"/inside")
	for _, k := range some(nouns, uns, hostpid, plain) {
		t.Run(string(k), func(t *testing.T) {
			b := newBox(t, k)
			b.furnish(t, dir+"/inside")
			for name, types := range map[string]string{"mnt": "mnt", "all": ""} {
				if types != "" && k == plain {
					continue // it takes privileges
				}
				t.Run(name, func(t *testing.T) { f(t, b.opener(t, dir+"/opener", types)) })
			}
		})
	}
}

// furnish puts into a box what engines, or their users, put into containers.
func (b *box) furnish(t *testing.T, inside string) {
	t.Helper()
	b.put(t, inside, "/bin/inside")
	for name, dev := range map[string]uint64{"null": unix.Mkdev(1, 3), "kmsg": unix.Mkdev(1, 11), "tty": unix.Mkdev(5, 0)} {
		if err := unix.Mknod(b.rootfs+"/work/"+name, unix.S_IFCHR|0o666, int(dev)); err != nil {
			t.Fatal(err)
		}
	}
	for name, content := range map[string]string{"file": "in the container", "pattern": "", "bound": "", "environ": ""} {
		if err := os.WriteFile(b.rootfs+"/work/"+name, []byte(content), 0o666); err != nil {
			t.Fatal(err)
		}
		if err := os.Chown(b.rootfs+"/work/"+name, b.uid, b.uid); err != nil {
			t.Fatal(err)
		}
	}
	b.sh(t, "mkdir /dev/pts")
	for _, args := range []string{
		"mount -t devpts -o newinstance,ptmxmode=0666 devpts /dev/pts",
		"mount -o bind /proc/sys/kernel/core_pattern /work/pattern",
	} {
		c := exec.Command("nsenter", append([]string{"-t", fmt.Sprint(b.pid), "-m", "/bin/busybox"}, strings.Fields(args)...)...)
		if out, err := c.CombinedOutput(); err != nil {
			t.Fatalf("%s: %v\n%s", args, err, out)
		}
	}
	b.bind(t, "/sys", "/sys")
}

// bind mounts what is the host's in the box.
func (b *box) bind(t *testing.T, from, to string) {
	t.Helper()
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // for good
		done <- func() error {
			tree, err := unix.OpenTree(unix.AT_FDCWD, from, unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC)
			if err != nil {
				return err
			}
			defer unix.Close(tree)
			ns, err := unix.Open(fmt.Sprintf("/proc/%d/ns/mnt", b.pid), unix.O_RDONLY|unix.O_CLOEXEC, 0)
			if err != nil {
				return err
			}
			defer unix.Close(ns)
			if err := unix.Unshare(unix.CLONE_FS); err != nil {
				return err
			}
			if err := unix.Setns(ns, unix.CLONE_NEWNS); err != nil {
				return err
			}
			return unix.MoveMount(tree, "", unix.AT_FDCWD, to, unix.MOVE_MOUNT_F_EMPTY_PATH)
		}()
	}()
	if err := <-done; err != nil {
		t.Fatalf("bind %s: %v", from, err)
	}
}

// opener starts the program, as the leader of a session without a terminal.
func (b *box) opener(t *testing.T, path, types string) *opening {
	t.Helper()
	exe, err := os.MkdirTemp("/tmp", "gonso-opener-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(exe) })
	copied, err := os.ReadFile(path)
	if err == nil {
		err = os.WriteFile(exe+"/opener", copied, 0o755)
	}
	if err == nil {
		err = os.Chmod(exe, 0o755)
	}
	if err != nil {
		t.Fatal(err)
	}
	c := exec.Command(exe+"/opener", fmt.Sprint(b.pid), types)
	c.Env = append(os.Environ(), "SECRET=of the host")
	c.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if b.kind == plain {
		c.SysProcAttr.Credential = &syscall.Credential{Uid: plainUID, Gid: plainUID}
	}
	var stderr strings.Builder
	c.Stderr = &stderr
	in, err := c.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		in.Close()
		if err := c.Wait(); err != nil {
			t.Errorf("%v\n%s", err, stderr.String())
		}
	})
	return &opening{b, t, json.NewEncoder(in), json.NewDecoder(out)}
}

func (o *opening) ask(r openRequest) (a openAnswer) {
	o.t.Helper()
	if err := o.in.Encode(r); err != nil {
		o.t.Fatal(err)
	}
	if err := o.out.Decode(&a); err != nil {
		o.t.Fatal(err)
	}
	return a
}

func (o *opening) open(name string, flag int) openAnswer {
	o.t.Helper()
	return o.ask(openRequest{Op: "open", Name: name, Flag: flag, Perm: 0o600})
}

// script is root inside's.
func (o *opening) script(script string) {
	o.t.Helper()
	o.sh(o.t, script)
}

// refuses says that a name was not opened, and that the error says what it is, after the name,
// and what to do, after that.
func (o *opening) refuses(name string, flag int, what string) {
	o.t.Helper()
	a := o.open(name, flag)
	if a.TTY {
		o.t.Errorf("%s: it has become the controlling terminal", name)
	}
	at := -1
	for _, word := range []string{"open " + name + ": ", what, "AnyFile"} {
		i := strings.Index(a.Err, word)
		if a.Err == "" || i <= at || !a.Denied {
			o.t.Errorf("%s, flags %#x: a %s with %.20q, error %q; want %q, in order", name, flag, a.Type, a.Content, a.Err, word)
			return
		}
		at = i
	}
}

// keeps has root inside run a program that goes on until the test ends, and gives its first line.
func (o *opening) keeps(args ...string) string {
	o.t.Helper()
	c := o.exec(args...)
	in, err := c.StdinPipe()
	if err != nil {
		o.t.Fatal(err)
	}
	out, err := c.StdoutPipe()
	if err != nil {
		o.t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		o.t.Fatal(err)
	}
	o.t.Cleanup(func() {
		in.Close()
		c.Wait()
	})
	line, err := bufio.NewReader(io.LimitReader(out, 256)).ReadString('\n')
	if err != nil {
		o.t.Fatalf("%v: %q, %v", args, line, err)
	}
	return strings.TrimSpace(line)
}

// A session leader that opens a terminal gets it as its controlling one, and is killed by its
// hang-up: open(2), O_NOCTTY.
func TestRootInsideCannotGiveOpenFileATerminal(t *testing.T) {
	inBoxes(t, func(t *testing.T, o *opening) {
		n := o.keeps("/bin/inside", "pty", "/dev/pts/ptmx")
		o.script(fmt.Sprintf(`rm -f /work/link* /work/chain*
			ln -s /dev/pts/%s /work/link
			ln -s ../work/link /work/chain
			ln -s /work/chain /work/chain2`, n))
		o.refuses("/dev/pts/ptmx", os.O_RDWR, "a character device 5:2")
		for _, name := range []string{"/dev/pts/" + n, "/work/link", "/work/chain", "/work/chain2"} {
			for _, flag := range []int{os.O_RDONLY, os.O_RDWR, os.O_RDWR | os.O_CREATE, os.O_WRONLY | os.O_TRUNC | os.O_CREATE} {
				o.refuses(name, flag, "a character device 136:")
			}
		}
		if o.kind != nouns {
			o.script("mount -o bind /dev/pts/" + n + " /work/bound")
			o.refuses("/work/bound", os.O_RDWR, "a character device 136:")
			o.script("umount /work/bound")
		}
		// With the option it is opened, and all the same not taken as controlling terminal.
		if a := o.ask(openRequest{Op: "open", Name: "/work/link", Flag: os.O_RDWR, Any: true, Write: "x"}); a.Err != "" || !strings.HasPrefix(a.Type, "device 136:") || a.TTY {
			t.Errorf("%+v", a)
		}
	})
}

// core_pattern is the host's in every mount namespace, and this program may write to it; environ
// shows the environment of the process that opens it.
func TestRootInsideCannotHaveKernelFilesOpened(t *testing.T) {
	inBoxes(t, func(t *testing.T, o *opening) {
		o.script(`rm -f /work/k* /work/new; cd /work
			ln -s /proc/sys/kernel/core_pattern k1
			ln -s ../work/k1 k2; ln -s /work/k2 k3
			ln -s /proc/sys/kernel k4
			ln -s /proc/self/environ k5
			ln -s /proc/thread-self/environ k6
			ln -s /proc/1/root/work/file k7
			ln -s /sys/power k8
			ln -s /proc k9`)
		const procfs, sysfs = "procfs", "sysfs"
		for _, name := range []string{"/proc/sys/kernel/core_pattern", "/work/k1", "/work/k2", "/work/k3", "/work/k4/core_pattern",
			"/work/k9/sys/kernel/core_pattern", "/work/pattern", "/work/../proc/sys//kernel/core_pattern"} {
			for _, flag := range []int{os.O_WRONLY, os.O_WRONLY | os.O_CREATE, os.O_WRONLY | os.O_CREATE | os.O_TRUNC, os.O_RDONLY, unix.O_PATH} {
				o.refuses(name, flag, procfs)
			}
		}
		for _, name := range []string{"/proc/version", "/proc", "/proc/sys", "/work/k9"} {
			o.refuses(name, os.O_RDONLY, procfs)
			if name != "/proc/version" {
				o.refuses(name, os.O_RDONLY|unix.O_DIRECTORY, procfs)
				o.refuses(name, unix.O_PATH|unix.O_DIRECTORY, procfs)
			}
		}
		for _, name := range []string{"/sys/power/state", "/sys", "/work/k8/state", "/sys/kernel/uevent_helper"} {
			if a := o.open(name, os.O_RDONLY); !strings.Contains(a.Err, "no such file") {
				o.refuses(name, os.O_RDONLY, sysfs)
			}
		}
		for _, name := range []string{"/proc/self/environ", "/work/k5", "/work/k6", "/proc/self/root/work/file", "/proc/1/root/work/file", "/work/k7", "/proc/self/exe"} {
			for _, flag := range []int{os.O_RDONLY, unix.O_PATH} {
				if a := o.open(name, flag); a.Err == "" || strings.Contains(a.Content, "SECRET") {
					t.Errorf("%s: %+v", name, a)
				}
			}
		}
		// Nothing is made there either, nor where links that lead nowhere lead.
		for _, name := range []string{"/proc/new", "/work/k9/new", "/dev/pts/new", "/sys/new"} {
			for _, flag := range []int{os.O_CREATE | os.O_RDWR, os.O_CREATE | os.O_EXCL | os.O_RDWR} {
				o.refuses(name, flag, "fs")
			}
		}
		o.refuses("/proc", unix.O_TMPFILE|os.O_RDWR, procfs)
	})
}

// A container's device cgroup does not bind this program.
func TestRootInsideCannotHaveDevicesOpened(t *testing.T) {
	inBoxes(t, func(t *testing.T, o *opening) {
		o.script(`rm -rf /work/d*; mkdir /work/d; ln -s /work/null /work/d/1; ln -s ../d/1 /work/d/2; mkfifo /work/d/fifo`)
		names := []string{"/work/null", "/work/kmsg", "/work/tty", "/work/d/1", "/work/d/2"}
		if o.kind == nouns { // it has CAP_MKNOD, and its device cgroup lets it make but not open
			o.script("busybox mknod /work/d/kmsg c 1 11; busybox mknod /work/d/loop b 7 0")
			names = append(names, "/work/d/kmsg")
			o.refuses("/work/d/loop", os.O_RDONLY, "a block device 7:0")
		} else {
			o.script("mount -o bind /work/null /work/bound")
			o.refuses("/work/bound", os.O_RDWR|os.O_TRUNC, "a character device 1:3")
			o.script("umount /work/bound")
		}
		for _, name := range names {
			for _, flag := range []int{os.O_RDONLY, os.O_RDWR | os.O_TRUNC, os.O_WRONLY | os.O_CREATE, unix.O_PATH} {
				o.refuses(name, flag, "a character device")
			}
		}
		for _, flag := range []int{os.O_RDONLY, os.O_RDWR, os.O_WRONLY, os.O_RDWR | os.O_CREATE, unix.O_PATH} {
			o.refuses("/work/d/fifo", flag, "a FIFO")
		}
		for _, flag := range []int{os.O_RDONLY, os.O_WRONLY | os.O_CREATE} {
			if a := o.open("/work/d/1", flag|unix.O_NOFOLLOW); !strings.Contains(a.Err, "too many levels") {
				t.Errorf("%+v", a)
			}
			if a := o.open("/work/null", flag|unix.O_DIRECTORY); a.Err == "" {
				t.Errorf("%+v", a)
			}
		}
		if a := o.ask(openRequest{Op: "open", Name: "/work/d/2", Flag: os.O_RDWR, Any: true, Write: "x"}); a.Err != "" && !strings.Contains(a.Err, "permission denied") {
			t.Errorf("%+v", a)
		}
	})
}

// Between looking and opening, the name can come to mean something else.
func TestRootInsideCannotSwapWhatIsOpened(t *testing.T) {
	inBoxes(t, func(t *testing.T, o *opening) {
		opened := 0 // what is at the name when it is looked at is a matter of luck
		defer func() {
			if opened == 0 {
				t.Error("nothing was ever opened")
			}
		}()
		const swap, mount = "swap /work/s/a /work/s/b", "mount /proc/sys/kernel/core_pattern /work/s/a"
		for what, make := range map[string]string{
			"a mount":                 "",
			"a link to a kernel file": "ln -s /proc/sys/kernel/core_pattern /work/s/b",
			"a link to a device":      "ln -s /work/null /work/s/b",
			"a FIFO":                  "mkfifo /work/s/b",
			"a device":                "busybox mknod /work/s/b c 1 3 || ln -s /work/kmsg /work/s/b",
		} {
			if testing.Short() && what != "a device" && what != "a mount" {
				continue
			}
			by := swap
			if what == "a mount" {
				if by = mount; o.kind == nouns {
					continue // it may not mount
				}
			}
			func() {
				o.script("while umount /work/s/a 2>/dev/null; do :; done; rm -rf /work/s; mkdir /work/s; echo -n expected >/work/s/a\n" + make)
				c := o.exec(append([]string{"/bin/inside"}, strings.Fields(by)...)...)
				in, err := c.StdinPipe()
				if err != nil {
					t.Fatal(err)
				}
				out, err := c.StdoutPipe()
				if err != nil {
					t.Fatal(err)
				}
				if err := c.Start(); err != nil {
					t.Fatal(err)
				}
				defer func() {
					in.Close()
					c.Wait()
				}()
				if line, err := bufio.NewReader(out).ReadString('\n'); !strings.HasSuffix(line, "ing\n") {
					t.Fatalf("%q, %v", line, err)
				}
				for _, flag := range []int{os.O_RDONLY, os.O_RDWR | os.O_CREATE} {
					long := time.Duration(testenv.Times(400, 100)) * time.Millisecond
					if flag == os.O_RDONLY && what == "a device" && testenv.Full() {
						long = 2 * time.Second
					}
					a := o.ask(openRequest{Op: "repeat", Name: "/work/s/a", Flag: flag, Perm: 0o600, Write: "expected", For: long})
					t.Logf("%s: opened %d of %d times", what, a.Opened, a.Times)
					opened += a.Opened
					if len(a.Strange) > 0 {
						t.Errorf("%s: opened %d of %d times, and %q", what, a.Opened, a.Times, a.Strange)
					}
				}
			}()
		}
	})
}

// A file is made where its name says, and nowhere else.
func TestRootInsideCannotHaveFilesMadeElsewhere(t *testing.T) {
	inBoxes(t, func(t *testing.T, o *opening) {
		o.script(`rm -rf /work/c; mkdir -p /work/c/else; cd /work/c
			ln -s else/made dangling; ln -s dangling chain; ln -s /work/c/else/made absolute; ln -s else dir; ln -s loop loop`)
		for _, name := range []string{"dangling", "chain", "absolute"} {
			if a := o.open("/work/c/"+name, os.O_CREATE|os.O_RDWR); !strings.HasPrefix(a.Err, "open /work/c/"+name+": ") || !strings.Contains(a.Err, "too many levels of symbolic links") {
				t.Errorf("%s: %+v", name, a)
			}
			if a := o.open("/work/c/"+name, os.O_CREATE|os.O_EXCL|os.O_RDWR); !strings.Contains(a.Err, "file exists") {
				t.Errorf("%s: %+v", name, a)
			}
		}
		if _, err := os.Lstat(o.rootfs + "/work/c/else/made"); err == nil {
			t.Error("a file was made where a link led")
		}
		for _, step := range []struct {
			name string
			flag int
			want string
		}{
			{"/work/c/new", os.O_CREATE | os.O_RDWR, "file"},
			{"/work/c/new", os.O_CREATE | os.O_RDWR | os.O_TRUNC, "file"},
			{"/work/c/new", os.O_CREATE | os.O_RDWR | os.O_EXCL, "file exists"},
			{"/work/c/dir/new", os.O_CREATE | os.O_RDWR | os.O_EXCL, "file"},
			{"/work/c/./dir/../new2", os.O_CREATE | os.O_RDWR, "file"},
			{"work/c/relative", os.O_CREATE | os.O_RDWR, "no absolute path"},
			{"/work/c", unix.O_TMPFILE | os.O_RDWR, "file"},
			{"/work/c/missing", unix.O_TMPFILE | os.O_RDWR, "no such file"},
			{"/work/c", os.O_CREATE | os.O_RDWR, "is a directory"},
			{"/work/c/new/", os.O_CREATE | os.O_RDWR, "a directory"},
			{"/work/c/new3/", os.O_CREATE | os.O_RDWR, "is a directory"},
			{"/work/c/..", os.O_CREATE | os.O_RDWR | os.O_EXCL, "exists"},
			{"/work/c/..", os.O_CREATE | os.O_RDWR, "is a directory"},
			{"/work/c/no/new", os.O_CREATE | os.O_RDWR, "no such file"},
			{"/work/c/new/new", os.O_CREATE | os.O_RDWR, "not a directory"},
			{"/work/c/loop", os.O_CREATE | os.O_RDWR, "too many levels"},
			{"/work/c/missing", os.O_RDWR, "no such file"},
			{"", os.O_CREATE | os.O_RDWR, "no such file"},
			{"", os.O_RDWR, "no such file"},
		} {
			a := o.ask(openRequest{Op: "open", Name: step.name, Flag: step.flag, Perm: 0o640})
			if a.Type != step.want && (a.Err == "" || !strings.Contains(a.Err, step.want)) || a.Err != "" && !strings.HasPrefix(a.Err, "open "+step.name+": ") {
				t.Errorf("%q, flags %#x: %+v; want %s", step.name, step.flag, a, step.want)
			}
		}
		if _, err := os.Lstat(o.rootfs + "/work/c/else/new"); err != nil {
			t.Error(err)
		}
		if _, err := os.Lstat(o.rootfs + "/work/c/relative"); err == nil {
			t.Error("a relative name began at the root")
		}

		o.keeps("/bin/inside", "flicker", "/work/c/flicker", "/work/c/else/made")
		a := o.ask(openRequest{Op: "repeat", Name: "/work/c/flicker", Flag: os.O_CREATE | os.O_RDWR, Perm: 0o600, For: time.Second})
		t.Logf("opened %d of %d times", a.Opened, a.Times)
		if len(a.Strange) > 0 {
			t.Errorf("%q", a.Strange)
		}
		if _, err := os.Lstat(o.rootfs + "/work/c/else/made"); err == nil {
			t.Error("a file was made where a flickering link led")
		}
	})
}

// What containers have files for is opened as ever.
func TestOrdinaryFilesOfContainersAreOpened(t *testing.T) {
	inBoxes(t, func(t *testing.T, o *opening) {
		o.script(`rm -rf /work/o /dev/o; mkdir /work/o /dev/o; cd /work/o
			echo -n data >file; ln -s file link; ln -s /work/o/link chain; echo -n data >/dev/o/file; ln -s /dev/o dev`)
		for _, name := range []string{"/work/o/file", "/work/o/link", "/work/o/chain", "/dev/o/file", "/work/o/dev/file", "/work/o/../o//file"} {
			for _, flag := range []int{os.O_RDONLY, os.O_RDWR, os.O_RDWR | os.O_CREATE, os.O_RDWR | os.O_APPEND} {
				if a := o.open(name, flag); a.Err != "" || a.Type != "file" || a.Content != "data" {
					t.Errorf("%s, flags %#x: %+v", name, flag, a)
				}
			}
			if a := o.open(name, unix.O_PATH); a.Err != "" || a.Type != "file" || a.Content != "" {
				t.Errorf("%s: %+v", name, a)
			}
			if a := o.open(name, os.O_RDONLY|unix.O_DIRECTORY); !strings.Contains(a.Err, "not a directory") {
				t.Errorf("%s: %+v", name, a)
			}
		}
		for _, name := range []string{"/", "/work", "/work/o/dev", "/dev", "/work/."} {
			for _, flag := range []int{os.O_RDONLY, os.O_RDONLY | unix.O_DIRECTORY, unix.O_PATH, unix.O_PATH | unix.O_DIRECTORY} {
				if a := o.open(name, flag); a.Err != "" || a.Type != "directory" {
					t.Errorf("%s, flags %#x: %+v", name, flag, a)
				}
			}
			if a := o.open(name, os.O_RDWR); !strings.Contains(a.Err, "is a directory") {
				t.Errorf("%s: %+v", name, a)
			}
		}
		if a := o.open("/work/o/link", unix.O_PATH|unix.O_NOFOLLOW); a.Err != "" || a.Type != "link" {
			t.Errorf("%+v", a)
		}
		if a := o.open("/proc/self/root", unix.O_PATH|unix.O_NOFOLLOW); a.Err == "" {
			t.Errorf("%+v", a)
		}
		if a := o.ask(openRequest{Op: "open", Name: "/work/o/link", Flag: os.O_WRONLY | os.O_TRUNC, Write: "written"}); a.Err != "" {
			t.Errorf("%+v", a)
		}
		if b, err := os.ReadFile(o.rootfs + "/work/o/file"); string(b) != "written" {
			t.Errorf("%q, %v", b, err)
		}
	})
}

// A socket of the host's can be in a container, to be seen there and not to be connected to by
// root inside; and this program may connect.
func TestRootInsideCannotHaveSocketsDialled(t *testing.T) {
	inBoxes(t, func(t *testing.T, o *opening) {
		path := filepath.Join(o.rootfs, "work", "host.sock")
		os.Remove(path)
		l, err := net.Listen("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		if err := os.Chmod(path, 0o600); err != nil { // and root's
			t.Fatal(err)
		}
		accepted := make(chan struct{}, 16)
		go func() {
			for {
				c, err := l.Accept()
				if err != nil {
					return
				}
				accepted <- struct{}{}
				io.WriteString(c, "the host")
				c.Close()
			}
		}()
		o.script("rm -rf /work/l; mkdir /work/l; ln -s /work/host.sock /work/l/link; ln -s link /work/l/chain; ln -s /proc/1/root/work/host.sock /work/l/magic; ln -s /work/l/sock /work/l/good; ln -s /work/null /work/l/null")
		o.keeps("/bin/inside", "listen", "/work/l/sock")
		for _, name := range []string{"/work/l/sock", "/work/l/good"} {
			if a := o.ask(openRequest{Op: "dial", Name: name}); a.Content != "inside" {
				t.Errorf("%s: %+v", name, a)
			}
		}
		for _, name := range []string{"/work/host.sock", "/work/l/link", "/work/l/chain"} {
			a := o.ask(openRequest{Op: "dial", Name: name})
			// With the mount namespace alone this program is who it is, as everywhere.
			if asRoot := strings.HasSuffix(t.Name(), "/mnt") || o.kind == nouns; asRoot != (a.Err == "") || !asRoot && !strings.Contains(a.Err, "permission denied") {
				t.Errorf("%s: %+v", name, a)
			}
		}
		for _, name := range []string{"/work/l/magic", "/work/l/null", "/work/file", "/work", "/proc/version", "/work/pattern", "/dev/pts/ptmx"} {
			if a := o.ask(openRequest{Op: "dial", Name: name}); a.Err == "" || !strings.Contains(a.Err, "dial unix") {
				t.Errorf("%s: %+v", name, a)
			}
		}
		for _, name := range []string{"/proc/sock", "/work/l/magic/sock", "/dev/pts/sock", "/work/l/link", "/proc/1/root/work/sock", "/work/l/sub/"} {
			if a := o.ask(openRequest{Op: "listen", Name: name}); a.Err == "" || !strings.Contains(a.Err, "listen unix") {
				t.Errorf("listen at %s: %+v", name, a)
			}
		}
		o.script("rm -f /work/mine /work/l/mine")
		for _, name := range []string{"/work/mine", "/work/l/mine"} {
			if a := o.ask(openRequest{Op: "listen", Name: name}); a.Err != "" {
				t.Errorf("listen at %s: %+v", name, a)
			}
		}
	})
}

var (
	_ = testenv.Long(TestOrdinaryFilesOfContainersAreOpened)
	_ = testenv.Long(TestRootInsideCannotGiveOpenFileATerminal)
	_ = testenv.Long(TestRootInsideCannotHaveDevicesOpened)
	_ = testenv.Long(TestRootInsideCannotHaveFilesMadeElsewhere)
	_ = testenv.Long(TestRootInsideCannotHaveKernelFilesOpened)
	_ = testenv.Long(TestRootInsideCannotHaveSocketsDialled)
	_ = testenv.Long(TestRootInsideCannotSwapWhatIsOpened)
)
