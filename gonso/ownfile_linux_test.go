package gonso

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/gonso/gonso/internal/testenv"
)

// What a program of a Set of one's own is, it finds, as outside; and its working directory.
func TestSelfIsTheFileItselfWhereTheSetIsOnesOwn(t *testing.T) {
	testenv.Need(t, testenv.UserNS, testenv.Process)
	testenv.Leaks(t)
	own := exe(t)
	dir := t.TempDir()
	t.Chdir(dir)
	sets := []Type{User, User | Mount, User | PID | Mount, User | Net | UTS}
	if testenv.Has(testenv.Root) {
		sets = append(sets, Mount, Mount|PID, Net, PID|Mount|User)
	}
	for _, types := range sets {
		c := unshare(t, types).Self(t.Context())
		c.Env = append(os.Environ(), testenv.ProgramEnv+"=whoami")
		out, err := c.CombinedOutput()
		if want := own + " " + dir; err != nil || strings.TrimSpace(string(out)) != want {
			t.Errorf("%v: %v, %s; want %s", types, err, out, want)
		}
		pwd := unshare(t, types).Command(t.Context(), "sh", "-c", "pwd -P")
		out, err = pwd.CombinedOutput()
		if err != nil || strings.TrimSpace(string(out)) != dir {
			t.Errorf("%v: %v, %s; want %s", types, err, out, dir)
		}
	}
}

// Where the directory is not there inside, it is the root.
func TestWorkingDirectoryThatIsNotInsideIsTheRoot(t *testing.T) {
	testenv.Need(t, testenv.Root)
	testenv.Leaks(t)
	dir := t.TempDir()
	if err := os.Mkdir(dir+"/below", 0o700); err != nil {
		t.Fatal(err)
	}
	for name, over := range map[string]func() error{
		"a mount": func() error { return unix.Mount("none", dir, "tmpfs", 0, "") },
		"a file": func() error {
			return errors.Join(unix.Mount("none", dir, "tmpfs", 0, ""), os.WriteFile(dir+"/below", nil, 0o600))
		},
		"a link to itself": func() error {
			return errors.Join(unix.Mount("none", dir, "tmpfs", 0, ""), os.Symlink("below", dir+"/below"))
		},
	} {
		s := unshare(t, Mount)
		if err := s.Run(over); err != nil {
			t.Fatal(err)
		}
		t.Chdir(dir + "/below")
		out, err := s.Command(t.Context(), "pwd", "-P").CombinedOutput()
		if err != nil || strings.TrimSpace(string(out)) != "/" {
			t.Errorf("%s: %v, %s", name, err, out)
		}
	}
}

func init() {
	testenv.Program("whoami", func() {
		path, err := os.Executable()
		checkProgram(err)
		dir, err := os.Getwd()
		checkProgram(err)
		_, err = os.Stat(path)
		checkProgram(err)
		fmt.Println(path, dir)
	})
}
