package gonso

import (
	"context"
	"fmt"
	"os/exec"
	"slices"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/gonso/gonso/internal/testenv"
)

// runc#4390: whoever joins the user namespace first has lost the right to the
// others, if it does not own them; whoever joins it last has none to those that
// it does. Who owns what is up to who made it: here util-linux and iproute2.

// unshareProgram has unshare(1) make namespaces, and gives those of the types.
func unshareProgram(t testing.TB, types Type, args ...string) *Set {
	t.Helper()
	return owned(t)(FromPID(sleeps(t, exec.Command("unshare", append(args, "sleep", "600")...)), types))
}

// ipNetns has ip(8) make a net namespace.
func ipNetns(t testing.TB) *Set {
	t.Helper()
	testenv.Need(t, testenv.IPRoute2)
	ip, err := testenv.LookPath("ip")
	if err != nil {
		t.Fatal(err)
	}
	var s *Set
	err = unshare(t, Mount).Run(func() error {
		if err := unix.Mount("tmpfs", "/run", "tmpfs", 0, ""); err != nil {
			return err
		}
		if out, err := exec.Command(ip, "netns", "add", "host").CombinedOutput(); err != nil {
			return fmt.Errorf("%w: %s", err, out)
		}
		var err error
		s, err = FromDir("/run/netns")
		return err
	})
	return owned(t)(s, err)
}

// together makes one Set of several, the later ones preferred.
func together(t testing.TB, sets ...*Set) *Set {
	t.Helper()
	s := sets[0]
	for _, o := range sets[1:] {
		s = owned(t)(s.With(o))
	}
	return s
}

// wantOrder checks the plan, and that the kernel agrees.
func wantOrder(t testing.TB, s *Set, order ...Type) {
	t.Helper()
	r := s.Plan().Functions
	if !slices.Equal(r.Join, order) {
		t.Errorf("planned is %v, want %v", r.Join, order)
	}
	p := goIn(t, s)
	for typ, want := range foreign(t, s) {
		if p.NS[typ] != want {
			t.Errorf("the worker is in %s, want %s", p.NS[typ], want)
		}
	}
}

func TestUserNamespaceFirstCannotLoseTheOthers(t *testing.T) {
	testenv.Need(t, testenv.UserNS, testenv.Process, testenv.UtilLinux("unshare"), testenv.Tool("sleep"))
	testenv.Leaks(t)
	root := []string{"--user", "--map-root-user"}
	user := unshareProgram(t, User|UTS|IPC|Net, append(root, "--uts", "--ipc", "--net")...)

	t.Run("its own", func(t *testing.T) {
		wantOrder(t, user, User, IPC, Net, UTS)
	})
	t.Run("below it", func(t *testing.T) {
		// Of one program all user namespaces, and the net namespace of the last.
		below := unshareProgram(t, User|Net|UTS|IPC, slices.Concat(root, []string{"--uts", "--ipc", "unshare"}, root, []string{"--net"})...)
		outer := owned(t)(below.Parent(User))
		wantOrder(t, below, User, IPC, UTS, User, Net) // two steps
		wantOrder(t, together(t, below, outer), User, IPC, Net, UTS)
	})
	t.Run("an ancestor's", func(t *testing.T) {
		testenv.Need(t, testenv.Root)
		wantOrder(t, together(t, user, ipNetns(t)), Net, User, IPC, UTS)
		host := unshareProgram(t, UTS|Mount|IPC|Cgroup, "--uts", "--mount", "--ipc", "--cgroup")
		wantOrder(t, together(t, user, host), Cgroup, IPC, UTS, Mount, User, Net)
		// The user namespace is two below the owner, and owns nothing of it.
		inner := unshareProgram(t, User, slices.Concat(root, []string{"unshare"}, root)...)
		wantOrder(t, together(t, inner, host), Cgroup, IPC, UTS, Mount, User)
	})
	t.Run("a sibling's", func(t *testing.T) {
		sibling := unshareProgram(t, User|Net, append(root, "--net")...)
		s := together(t, user, owned(t)(sibling.Without(User)))
		if !testenv.Has(testenv.Root) {
			// Who is root in the one is nobody in the other.
			_, err := where.Do(context.Background(), s, struct{}{})
			wantError(t, "a plain user", err, unix.EPERM, "setns net", "CAP_SYS_ADMIN")
			return
		}
		wantOrder(t, s, Net, User, IPC, UTS)
		all := together(t, s, unshareProgram(t, Mount, "--mount"))
		wantOrder(t, all, Net, Mount, User, IPC, UTS)
	})
}

// Where the kernel does not tell who owns what (it does since Linux 4.9, unless a
// filter keeps it), everything is tried before the user namespace, and what was
// refused after it.
func TestUnknownOwnersCannotKeepFromJoining(t *testing.T) {
	testenv.Need(t, testenv.UserNS, testenv.Process, testenv.UtilLinux("unshare"), testenv.Tool("sleep"))
	testenv.Leaks(t)
	forget := func(s *Set) *Set {
		s.c.facts()
		(s.c.foreign &^ User).each(func(i int, _ Type) { s.c.known.level[i] = levelUnknown })
		return s
	}
	user := unshareProgram(t, User|UTS|IPC, "--user", "--map-root-user", "--uts", "--ipc")
	wantOrder(t, forget(owned(t)(user.Dup())), IPC, UTS, User)

	// Of nested ones those that the user namespace in between owns are lost to
	// plain users then.
	nested := owned(t)(owned(t)(user.Unshare(User | Net)).Without(IPC | UTS))
	wantOrder(t, forget(nested), Net, User)

	if testenv.Has(testenv.Root, testenv.IPRoute2) {
		host := together(t, ipNetns(t), unshareProgram(t, Mount|Cgroup, "--mount", "--cgroup"))
		wantOrder(t, forget(together(t, user, host)), Cgroup, IPC, Net, UTS, Mount, User)
	}

	// One that can be joined from neither side is an error, and not left out.
	if !testenv.Has(testenv.Root) {
		sibling := unshareProgram(t, User|Net, "--user", "--map-root-user", "--net")
		s := forget(together(t, user, owned(t)(sibling.Without(User))))
		_, err := where.Do(context.Background(), s, struct{}{})
		wantError(t, "a sibling's", err, unix.EPERM, "setns net")
	}
}
