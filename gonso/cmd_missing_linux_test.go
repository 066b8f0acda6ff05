package gonso

import (
	"context"
	"errors"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/gonso/gonso/internal/testenv"
)

// programsWithout fills a directory with programs that lack something.
func programsWithout(t *testing.T) (dir string) {
	t.Helper()
	dir = t.TempDir()
	for _, d := range []string{dir, filepath.Dir(dir)} {
		if err := os.Chmod(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	// With another loader, of a name as long.
	truth, err := os.ReadFile("/bin/true")
	if err != nil {
		t.Fatal(err)
	}
	dynamic := strings.Replace(string(truth), "/lib64/ld-", "/lib64/no-", 1)
	if dynamic == string(truth) {
		dynamic = strings.Replace(string(truth), "/lib/ld-", "/lib/no-", 1)
	}
	if dynamic == string(truth) {
		testenv.Found(t, "tools", errors.New("/bin/true has no loader"))
	}
	for name, content := range map[string]string{
		"gonso-script":  "#! /gonso/interpreter -x\n",
		"gonso-crlf":    "#!/bin/sh\r\necho\r\n",
		"gonso-second":  "#!" + dir + "/gonso-script\n",
		"gonso-dynamic": dynamic,
		"gonso-third":   "#!" + dir + "/gonso-dynamic\n",
	} {
		if err := os.WriteFile(dir+"/"+name, []byte(content), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(dir+"/gonso-plain", nil, 0o644); err != nil {
		t.Fatal(err)
	}
	return dir
}

// missingSets are those of commandSets, and those that count as somebody else's.
func missingSets(t *testing.T) map[string]*Set {
	t.Helper()
	own := commandSets(t)
	sets := maps.Clone(own)
	for name, s := range own {
		if s.Types()&Mount == 0 || os.Geteuid() != 0 {
			continue
		}
		var files []*os.File
		for _, typ := range singles(s.Types()) {
			f, err := s.File(typ)
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			files = append(files, f)
		}
		sets[name+", somebody else's"] = owned(t)(FromFiles(files...))
	}
	return sets
}

// The kernel says of a program without its interpreter what it says of one that is not there
// (execve(2), ENOENT), and it was then said to be missing in PATH.
func TestProgramThatIsThereCannotBeCalledMissing(t *testing.T) {
	testenv.Need(t, testenv.Process)
	dir := programsWithout(t)
	for name, s := range missingSets(t) {
		t.Run(name, func(t *testing.T) {
			testenv.Leaks(t)
			for prog, says := range map[string][]string{
				"gonso-script":  {"it is there, and the interpreter that its first line names, \"/gonso/interpreter\", is not"},
				"gonso-crlf":    {"it is there, and the interpreter that its first line names, \"/bin/sh\\r\", is not: the line ends with a carriage return"},
				"gonso-second":  {"the interpreter of \"" + dir + "/gonso-script\" that its first line names, \"/gonso/interpreter\", is not"},
				"gonso-dynamic": {"it is there, and the loader, \"/lib", "is not: a dynamically linked program needs"},
				"gonso-third":   {"it is there, and the loader of \"" + dir + "/gonso-dynamic\", \"/lib"},
			} {
				for _, path := range []string{prog, dir + "/" + prog, "./" + prog} {
					c := s.Command(context.Background(), path)
					c.Env = []string{"PATH=/gonso/none:" + dir + ":/gonso/other"}
					if path[0] == '.' {
						c.Dir = dir
					}
					err := c.Run()
					wantError(t, path, err, fs.ErrNotExist, says...)
					if errors.Is(err, exec.ErrNotFound) || strings.Contains(err.Error(), "PATH") {
						t.Errorf("%s: it is there: %v", path, err)
					}
				}
			}
		})
	}
}

// What is not found says where it was looked for, and where it could not be.
func TestNameThatIsNotFoundCannotHideWhereItWasLookedFor(t *testing.T) {
	testenv.Need(t, testenv.Process)
	dir := programsWithout(t)
	for name, s := range missingSets(t) {
		t.Run(name, func(t *testing.T) {
			testenv.Leaks(t)
			where := "it was looked for among the files of this program: the Set has no mnt namespace of its own"
			if s.Types()&Mount != 0 {
				where = "it was looked for inside, in the Set's mnt namespace"
			}
			for path, says := range map[string][]string{
				dir + ":/usr/bin:bin::" + dir + "/gonso-plain": {where + ", in " + dir + ", /usr/bin; ", `not in "bin", which is no absolute path`,
					`not in "", which is no absolute path`, `"` + dir + `/gonso-plain" is no directory`},
				"bin": {"no directory of PATH was looked at; not in \"bin\""},
				"":    {"PATH is empty, or not set"},
			} {
				c := s.Command(context.Background(), "gonso-no-such")
				c.Env = []string{"PATH=" + path}
				err := c.Run()
				wantError(t, "PATH="+path, err, exec.ErrNotFound, append(says, `exec: "gonso-no-such": executable file not found in $PATH`)...)
				if ee, ok := errors.AsType[*exec.Error](err); !ok || ee.Name != "gonso-no-such" {
					t.Errorf("%v has no exec.Error", err)
				}
			}
			c := s.Command(context.Background(), "gonso-plain")
			c.Env = []string{"PATH=" + dir}
			err := c.Run()
			wantError(t, "not executable", err, exec.ErrNotFound, dir+"/gonso-plain: permission denied", where)
			wantError(t, "not executable", err, fs.ErrPermission)
			wantError(t, "no such path", s.Command(context.Background(), "/gonso/none").Run(), fs.ErrNotExist, "start: exec /gonso/none", where)
			c = s.Command(context.Background(), "gonso-plain")
			c.Env, c.Chroot = []string{"PATH=/bin"}, dir
			if err := c.Run(); !errors.Is(err, unix.EPERM) { // in the zero Set of a plain user
				wantError(t, "in a Chroot", err, exec.ErrNotFound, "below the Chroot \""+dir+"\", in /bin")
			}
		})
	}
}

// In a Chroot paths are those below it.
func TestProgramInAChrootIsLookedForThere(t *testing.T) {
	testenv.Need(t, testenv.Process, testenv.UserNS)
	testenv.Leaks(t)
	root := programsWithout(t)
	for name, s := range map[string]*Set{"user": unshare(t, User), "user+mnt": unshare(t, User|Mount)} {
		for _, path := range []string{"/gonso-script", "gonso-script", "./gonso-script"} {
			c := s.Command(context.Background(), path)
			c.Env, c.Chroot = []string{"PATH=/"}, root
			wantError(t, name+" "+path, c.Run(), fs.ErrNotExist, "it is there", `"/gonso/interpreter"`)
		}
		c := s.Command(context.Background(), "/gonso-second") // names an interpreter that is not there below root
		c.Chroot = root
		wantError(t, name, c.Run(), fs.ErrNotExist, "it is there", root+`/gonso-script", is not`)
	}
}

// An Exe comes from outside, and its loader from inside.
func TestExeWithoutItsLoaderIsSaid(t *testing.T) {
	testenv.Need(t, testenv.Process, testenv.UserNS)
	testenv.Leaks(t)
	f, err := os.Open(programsWithout(t) + "/gonso-dynamic")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	c := unshare(t, User|Mount).Command(context.Background(), "dynamic")
	c.Exe = f
	wantError(t, "Exe", c.Run(), fs.ErrNotExist, `it is there, and the loader, "/lib`, "CGO_ENABLED=0")
}
