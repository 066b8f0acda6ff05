package isolation

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/gonso/gonso/internal/testenv"
)

// CVE-2019-5736 by way of Command: what Cmd.Exe names is a file of the host's, and whoever
// executes it inside has it as /proc/self/exe. Once nobody executes it any more, it could be written to.
func TestRootInsideCannotOverwriteWhatCommandsExecute(t *testing.T) {
	path := visitor(t, false)
	busybox, err := exec.LookPath("busybox")
	need(t, "tools", err)
	b, err := os.ReadFile(busybox)
	if err != nil {
		t.Fatal(err)
	}
	// The descriptor goes on to another program, which writes.
	const script = `exec 3</proc/self/exe || { echo closed; exit; }
exec /bin/sh -c 'cat </dev/null; echo overwritten >>/proc/self/fd/3 && echo written; true'`
	for _, k := range some(nouns, ptr, plain, uns) {
		t.Run(string(k), func(t *testing.T) {
			box := newBox(t, k)
			exe := filepath.Join(filepath.Dir(path), "exe-"+string(k))
			if err := os.WriteFile(exe, b, 0o755); err != nil {
				t.Fatal(err)
			}
			if k == uns { // where nobody is who may read the copy, try on
				if err := os.Chmod(exe, 0o777); err != nil {
					t.Fatal(err)
				}
			}
			if k == plain {
				if err := os.Chown(exe, plainUID, plainUID); err != nil {
					t.Fatal(err)
				}
			}
			for _, way := range []string{"exe", "exe, by path only", "exe, writable"} {
				v := box.visited(t, path, box.inside(), way, exe, "sh", "-c", script)
				if k == uns && !strings.Contains(v.Says, "Permission denied") || k != uns && !strings.Contains(v.Says, "Operation not permitted") {
					t.Errorf("%s: %+v", way, v)
				}
				if after, err := os.ReadFile(exe); err != nil || !bytes.Equal(after, b) {
					t.Fatalf("%s: the host's file was changed: %v, %d bytes, were %d; %+v", way, err, len(after), len(b), v)
				}
			}
			// What may not be executed is not executed as a copy, either.
			if err := os.Chmod(exe, 0o644); err != nil {
				t.Fatal(err)
			}
			if v := box.visited(t, path, box.inside(), "exe", exe, "sh", "-c", "echo ran"); v.Says != "" || !strings.Contains(v.Err, "permission denied") {
				t.Errorf("of mode 0644: %+v", v)
			}
		})
	}
}

var (
	_ = testenv.Long(TestRootInsideCannotOverwriteWhatCommandsExecute)
)
