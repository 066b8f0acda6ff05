package isolation

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/gonso/gonso/gonso"
)

// A container of runc's is joined in full, its user namespace included, and what
// gonso says of it is what /proc says.
func TestContainerIsJoinedInFull(t *testing.T) {
	needRoot(t)
	needTool(t, "runc", "runc")
	needBuild(t)
	needUserNS(t)
	joiner := filepath.Join(t.TempDir(), "joiner")
	build(t, "joiner", joiner)
	t.Run("six namespaces", func(t *testing.T) { joinContainer(t, joiner, true, 6) })
	t.Run("and a pid namespace", func(t *testing.T) { joinContainer(t, joiner, false, 7) })
}

func joinContainer(t *testing.T, joiner string, hostPIDs bool, namespaces int) {
	dir := bundle(t, hostPIDs)
	sleeps(t, filepath.Join(dir, "config.json"))

	state := filepath.Join(dir, "state")
	name := "gonso-join-" + strconv.Itoa(os.Getpid())
	runc := func(args ...string) *exec.Cmd {
		return exec.Command("runc", append([]string{"--root", state}, args...)...)
	}
	pid := runContainer(t, runc, dir, name)
	want := make(map[string]string)
	foreign := 0
	for _, typ := range []string{"cgroup", "ipc", "mnt", "net", "pid", "time", "user", "uts"} {
		link, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/%s", pid, typ))
		if err != nil {
			continue // the kernel has no such type
		}
		want[typ] = link
		if home, _ := os.Readlink("/proc/self/ns/" + typ); home != link {
			foreign++
		}
	}
	if foreign != namespaces {
		t.Errorf("%d namespaces of the container are its own, want %d: %v", foreign, namespaces, want)
	}

	join := exec.Command(joiner, strconv.Itoa(pid))
	var stderr strings.Builder
	join.Stderr = &stderr
	out, err := join.Output()
	if err != nil {
		t.Fatalf("%v\n%s%s", err, out, stderr.String())
	}
	ids := []gonso.IDMap{{ContainerID: 0, HostID: firstHost, Size: 65536}}
	var ways []string
	for line := range strings.Lines(string(out)) {
		var a struct {
			Way, Set   string
			UIDs, GIDs []gonso.IDMap
			OwnerUID   int
			NetOwner   string
			Place      struct {
				NS       map[string]string
				UID, GID int
				Host     string
			}
		}
		if err := json.Unmarshal([]byte(line), &a); err != nil {
			t.Fatalf("%v: %s", err, line)
		}
		ways = append(ways, a.Way)
		for typ, link := range want {
			if a.Place.NS[typ] != link || !strings.Contains(a.Set, link) {
				t.Errorf("%s: in %s, the Set is %s, the container in %s", a.Way, a.Place.NS[typ], a.Set, link)
			}
		}
		if a.Place.UID != 0 || a.Place.GID != 0 || a.Place.Host != "gonso-isolation" {
			t.Errorf("%s: %+v", a.Way, a.Place)
		}
		if !slices.Equal(a.UIDs, ids) || !slices.Equal(a.GIDs, ids) || a.OwnerUID != 0 || a.NetOwner != "{"+want["user"]+"}" {
			t.Errorf("%s: id maps %v and %v, owned by %d, net owned by %s", a.Way, a.UIDs, a.GIDs, a.OwnerUID, a.NetOwner)
		}
	}
	if got := strings.Join(ways, " "); got != "FromPID FromPIDFD FromDir pinned" {
		t.Errorf("ways %s\n%s", got, out)
	}
}

// sleeps has a container wait, in a cgroup namespace too.
func sleeps(t *testing.T, path string) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var config map[string]any
	if err := json.Unmarshal(b, &config); err != nil {
		t.Fatal(err)
	}
	config["process"].(map[string]any)["args"] = []string{"/bin/busybox", "sleep", "600"}
	linux := config["linux"].(map[string]any)
	linux["namespaces"] = append(linux["namespaces"].([]any), map[string]any{"type": "cgroup"})
	if b, err = json.Marshal(config); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, b, 0o644); err != nil {
		t.Fatal(err)
	}
}
