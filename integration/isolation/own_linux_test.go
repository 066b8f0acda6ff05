package isolation

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/gonso/gonso/gonso"
	"github.com/gonso/gonso/internal/testenv"
)

// CVE-2019-5736 in a Set of one's own, which somebody takes for a sandbox: a command inside that is this
// user opens what the worker executes, and writes to it when it has ended. Of a
// helper that is a copy; this program's own file cannot be written to while it runs (ETXTBSY).
func TestCommandInOnesOwnSetCannotOverwriteTheHelper(t *testing.T) {
	needUserNS(t)
	needTool(t, "tools", "sh")
	b, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	helper := filepath.Join(t.TempDir(), "helper")
	if err := os.WriteFile(helper, b, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, types := range []gonso.Type{gonso.User | gonso.Mount, gonso.User | gonso.Mount | gonso.Net, gonso.User | gonso.Mount | gonso.UTS} {
		t.Run(types.String(), func(t *testing.T) {
			s, err := gonso.Unshare(types)
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			works, err := s.Dup()
			if err != nil {
				t.Fatal(err)
			}
			defer works.Close()
			if err := works.SetWorker(gonso.Worker{Path: helper, Env: append(os.Environ(), testenv.ProgramEnv+"=gonso.Init")}); err != nil {
				t.Fatal(err)
			}
			worker, err := pid.Do(t.Context(), works, struct{}{}, gonso.InProcess())
			if err != nil {
				t.Fatal(err)
			}
			c := s.Command(t.Context(), "sh", "-c", fmt.Sprintf(
				"exec 3</proc/%d/exe; echo open; read line; echo overwritten >>/proc/self/fd/3 && echo written", worker))
			var errs bytes.Buffer
			c.Stderr = &errs
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
			r := bufio.NewReader(out)
			if line, err := r.ReadString('\n'); line != "open\n" {
				t.Errorf("%q, %v", line, err)
			}
			works.Close() // the worker is gone
			io.WriteString(in, "\n")
			rest, _ := io.ReadAll(r)
			c.Wait()
			if len(rest) != 0 || errs.Len() == 0 {
				t.Errorf("%q: %s", rest, &errs)
			}
			if after, err := os.ReadFile(helper); err != nil || !bytes.Equal(after, b) {
				t.Errorf("the helper was changed: %v, %d bytes, were %d", err, len(after), len(b))
			}
		})
	}
}
