package isolation

import (
	"strings"
	"testing"
)

// What is on /proc hides something, is another pid namespace's, or nothing.

// asUser has the program run as a user of no account after a script of root's.
const asUser = `
	exec setpriv --reuid 65534 --regid 65534 --clear-groups "$1" `

// A /proc that hides processes or sysctls keeps nothing from working, and of what it hides it is said that it does.
func TestProcfsThatHidesIsNamed(t *testing.T) {
	needRoot(t)
	needUserNS(t)
	path := openPath(t)
	root, user := said(t, apart(t, `exec "$1" calls probe`, path)), said(t, apart(t, asUser+"calls probe", path))
	for option, value := range map[string]string{"hidepid=1": "hidepid=noaccess", "hidepid=2": "hidepid=invisible", "hidepid=4": "hidepid=ptraceable", "subset=pid": "subset=pid"} {
		t.Run(option, func(t *testing.T) {
			mount := "mount -t proc -o " + option + " proc /proc\n"
			lines := said(t, apart(t, mount+`exec "$1" calls probe`, path))
			matrix(t, lines, root)
			if fact := lines["fact /proc"]; !strings.Contains(fact, value) && !strings.Contains(fact, option) {
				t.Errorf("the fact: %q", fact)
			}
			matrix(t, said(t, apart(t, mount+asUser+"calls probe", path)), user)
			expect(t, said(t, apart(t, mount+asUser+"own opened", path)), nil)
		})
	}
	// The shell is root's, and what it executes another user's: of the shell's parent, which is root's too, nothing is seen.
	const join = asUser + `join=$PPID:net open=/proc/$PPID/ns/net join=999999:net`
	for option, hidden := range map[string]bool{"hidepid=0": false, "hidepid=1": true, "hidepid=2": true, "hidepid=4": true} {
		t.Run("processes of others with "+option, func(t *testing.T) {
			lines := said(t, apart(t, `mount -t proc -o `+option+` proc /proc
				sh -e -c '`+strings.ReplaceAll(join, `"$1"`, `"$0"`)+`' "$1"`, path))
			if len(lines) != 3 {
				t.Fatalf("%q", lines)
			}
			for what, came := range lines {
				named := strings.Contains(came, "/proc, mounted with hidepid=") && strings.Contains(came, "remount,hidepid=0")
				switch {
				case strings.HasPrefix(what, "join=999999"):
					if !strings.Contains(came, "no such process") || strings.Contains(came, "hidepid") {
						t.Errorf("who is not there: %q", came)
					}
				case named != hidden || came == "ok" || strings.Contains(came, "dumpable"):
					t.Errorf("%s: %q", what, came)
				}
			}
		})
	}
}

// A limit that cannot be read is a possibility, and one that can be is a fact.
func TestSysctlThatProcfsHidesIsNamed(t *testing.T) {
	needRoot(t)
	needUserNS(t)
	needTool(t, "tools", "unshare")
	for options, want := range map[string][]string{
		"subset=pid": {"possibly a limit of namespaces is reached: the sysctl user.max_net_namespaces", "/proc is mounted with subset=pid"},
		"hidepid=0":  {"the sysctl user.max_net_namespaces is 0"},
	} {
		t.Run(options, func(t *testing.T) {
			lines := said(t, apart(t, `exec unshare --user --map-root-user --mount --pid --fork sh -e -c '
				echo 0 >/proc/sys/user/max_net_namespaces
				mount -t proc -o '"$2"' proc /proc
				exec "$0" unshare=net unshare=user,uts' "$1"`, openPath(t), options))
			hints(t, lines, map[string][]string{"unshare=net": want})
			if lines["unshare=user,uts"] != "ok" {
				t.Errorf("%q", lines)
			}
		})
	}
}

// Where /proc is nobody's, or another's, all that needs it says so. It cannot be known what else is forbidden.
func TestProcfsThatIsNoneIsNamed(t *testing.T) {
	needRoot(t)
	needUserNS(t)
	path := openPath(t)
	const none, foreign = "no procfs is mounted on /proc", "a procfs of another pid namespace is mounted on /proc"
	for name, c := range map[string]struct{ script, want string }{
		"missing": {`while mountpoint -q /proc; do umount -l /proc; done
			`, none},
		"a tmpfs": {`mount -t tmpfs none /proc
			`, none},
		"of others": {"", foreign},
	} {
		for user, exec := range map[string]string{"root": `exec "$1" `, "user": asUser} {
			t.Run(name+", "+user, func(t *testing.T) {
				run := apart(t, c.script+exec+"calls probe", path)
				if c.want == foreign { // the program starts when it is mounted, and cat ends with the shell that started that
					run = apart(t, `mkfifo "$2/hold"
						unshare --pid --fork sh -e -c 'mount -t proc proc /proc; echo mounted; exec cat' <"$2/hold" | {
							exec 3>"$2/hold"
							read line
							(exec 3>&-; `+exec+`calls probe)
						}`, path, t.TempDir())
				}
				lines := said(t, run)
				all := func(string) bool { return true }
				matrix(t, lines, said(t, apart(t, exec+"calls probe", path)), refusals{
					set(all).without(calls("open file", "ping sockets")), []string{c.want, "mount -t proc proc /proc", "--mount-proc"}, []string{"possibly", "seccomp"}})
				if lines["open file"] != "ok" {
					t.Errorf("%q", lines["open file"])
				}
			})
		}
	}
	// The look-alike: /proc is that of the pid namespace above, as after "unshare --pid", and does.
	t.Run("of those above", func(t *testing.T) {
		c := apart(t, `exec "$1" calls probe`, path)
		c.Args = append([]string{c.Args[0], "--pid", "--fork"}, c.Args[1:]...)
		matrix(t, said(t, c), said(t, apart(t, `exec "$1" calls probe`, path)))
	})
}
