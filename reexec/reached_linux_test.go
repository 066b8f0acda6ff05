package reexec

import "testing"

func TestRefusedTasks(t *testing.T) {
	const own, above, top = "/sys/fs/cgroup/a/b/pids.max", "/sys/fs/cgroup/a/pids.max", "/sys/fs/cgroup/pids.max"
	for name, tt := range map[string]struct {
		files map[string]string
		most  uint64
		file  string
	}{
		"own":                {map[string]string{own: "7\n", "/sys/fs/cgroup/a/b/pids.events": "max 3\n", above: "100\n"}, 7, own},
		"above":              {map[string]string{own: "max\n", "/sys/fs/cgroup/a/b/pids.events": "max 1\n", above: "100\n"}, 100, above},
		"above, counted":     {map[string]string{own: "max\n", "/sys/fs/cgroup/a/b/pids.events": "max 0\n", above: "9\n", "/sys/fs/cgroup/a/pids.events": "max 1\n"}, 9, above},
		"none was refused":   {map[string]string{own: "7\n", "/sys/fs/cgroup/a/b/pids.events": "max 0\n"}, 0, ""},
		"no limit":           {map[string]string{own: "max\n", "/sys/fs/cgroup/a/b/pids.events": "max 2\n"}, 0, ""},
		"no such controller": {nil, 0, ""},
	} {
		if most, file := refusedTasks([]string{own, above, top}, func(f string) string { return tt.files[f] }); most != tt.most || file != tt.file {
			t.Errorf("%s: %d, %q", name, most, file)
		}
	}
}
