package main

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/gonso/gonso/internal/testenv"
)

var _ = testenv.Long(TestTreesAreThoseOfBuildah)

// What buildah 1.28 of Debian builds, too. It does not know heredocs, zstd, and ids of cache mounts.
var buildahKnows = []string{"whiteouts", "opaque", "owners", "plain", "multistage", "hardlinks", "sparse", "names", "modes", "user", "onbuild",
	"args", "shell", "ignore", "config", "xattrs"}

// A tree is what the files of an image are: type, mode, owner, size, link target, digest and extended attributes by path.
func tree(t *testing.T, root string) map[string]string {
	t.Helper()
	all := make(map[string]string)
	inodes := make(map[uint64]string)
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		rel, _ := filepath.Rel(root, path)
		if err != nil || rel == "." {
			return err
		}
		st, err := d.Info()
		if err != nil {
			return err
		}
		sys := st.Sys().(*unixStat)
		what := fmt.Sprintf("%v %d:%d", st.Mode(), sys.Uid, sys.Gid)
		switch {
		case st.Mode().IsRegular():
			h := sha256.New()
			f, err := os.Open(path)
			if err != nil {
				return err
			}
			defer f.Close()
			if _, err := io.Copy(h, f); err != nil {
				return err
			}
			what += fmt.Sprintf(" %d bytes %x", st.Size(), h.Sum(nil))
			if first, ok := inodes[sys.Ino]; ok {
				what += " linked with " + first
			} else if sys.Nlink > 1 {
				inodes[sys.Ino] = rel
			}
		case st.Mode()&fs.ModeSymlink != 0:
			to, err := os.Readlink(path)
			if err != nil {
				return err
			}
			what += " -> " + to
		}
		value := make([]byte, 100)
		if n, err := unix.Lgetxattr(path, "user.color", value); err == nil {
			what += fmt.Sprintf(" color %q", value[:n])
		}
		all[rel] = what
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// A cost is what a program took, and its children: time, and memory at its peak.
type cost struct{ seconds, kB float64 }

func costOf(c *exec.Cmd, took time.Duration) cost {
	return cost{took.Seconds(), float64(c.ProcessState.SysUsage().(*syscall.Rusage).Maxrss)}
}

func TestTreesAreThoseOfBuildah(t *testing.T) {
	testenv.Need(t, testenv.Root) // whom umoci unpacks with all owners
	tools(t, "buildah", "umoci")
	s := newSite(t).withBase()
	var took cost // of the last program
	tool := func(name string, args ...string) string {
		t.Helper()
		c := exec.Command(name, args...)
		c.Dir = s.dir // the names of images that are pulled must have no capitals
		c.Env = append(os.Environ(), "HOME="+s.dir, "TMPDIR="+s.dir)
		var stderr bytes.Buffer
		c.Stderr = &stderr
		start := time.Now()
		out, err := c.Output()
		took = costOf(c, time.Since(start))
		if err != nil {
			t.Fatalf("%v: %v\n%s%s", c, err, out, stderr.String())
		}
		return string(bytes.TrimSpace(out))
	}
	buildah := func(args ...string) string {
		t.Helper()
		return tool("buildah", append([]string{"--root", filepath.Join(s.dir, "store"), "--runroot", filepath.Join(s.dir, "storerun"), "--storage-driver", "vfs"}, args...)...)
	}
	s.mustBuild("-o", "base.layout", filepath.Join(s.dir, "base"))
	policy := filepath.Join(s.dir, "policy.json")
	if err := os.WriteFile(policy, []byte(`{"default":[{"type":"insecureAcceptAnything"}]}`), 0o644); err != nil {
		t.Fatal(err)
	}
	buildah("tag", buildah("pull", "-q", "--signature-policy", policy, "oci:base.layout:latest"), "localhost/base")
	for _, name := range buildahKnows[:testenv.Times(len(buildahKnows), 1)] {
		dir := s.context(name)
		archives(t, dir)
		ours := filepath.Join(s.dir, name+".ours")
		args := special[name].args
		start := time.Now()
		build := s.command(append(append([]string{"build", "-cache", s.cache, "-t", name, "-o", ours}, args...), dir)...)
		if out, err := build.CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		mine := costOf(build, time.Since(start))
		theirs := filepath.Join(s.dir, name+".theirs")
		var options []string
		for _, a := range args {
			if a == "-build-arg" {
				a = "--build-arg"
			}
			options = append(options, a)
		}
		buildah(append(append([]string{"bud", "-q", "--format", "docker", "--isolation", "chroot", "--pull-never", "--signature-policy", policy, "-t", name}, options...), dir)...)
		t.Logf("%s: %.2f of buildah's time, %.2f of its memory", name, mine.seconds/took.seconds, mine.kB/took.kB)
		buildah("push", "-q", "--signature-policy", policy, name, "oci:"+theirs+":"+name)
		trees := make([]map[string]string, 2)
		for i, from := range []string{ours, theirs} {
			bundle := from + ".bundle"
			tool("umoci", "unpack", "--image", from+":"+name, bundle)
			trees[i] = tree(t, filepath.Join(bundle, "rootfs"))
		}
		paths := make(map[string]bool)
		for _, tree := range trees {
			for path := range tree {
				paths[path] = true
			}
		}
		for _, path := range slices.Sorted(maps.Keys(paths)) {
			a, b := trees[0][path], trees[1][path]
			if a == "" && slices.Contains([]string{"dev", "proc", "run", "sys", "etc/hostname", "etc/hosts", "etc/resolv.conf"}, path) {
				continue // the places on which buildah has mounted something
			}
			if a != b {
				t.Errorf("%s: /%s is\n\t%s\nand of buildah\n\t%s", name, path, a, b)
			}
		}
		t.Logf("%s: %d files", name, len(paths))
	}
}
