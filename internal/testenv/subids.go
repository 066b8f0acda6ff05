package testenv

import (
	"fmt"
	"os"
	"strconv"
	"strings"
)

// noSubIDs checks whether this user has entries in /etc/subuid and /etc/subgid.
func noSubIDs() string {
	uid := strconv.Itoa(os.Getuid())
	who := []string{uid + ":"}
	users, _ := os.ReadFile("/etc/passwd")
	for line := range strings.Lines(string(users)) {
		if f := strings.Split(line, ":"); len(f) > 2 && f[2] == uid {
			who = append(who, f[0]+":")
		}
	}
	for _, file := range []string{"/etc/subuid", "/etc/subgid"} {
		content, err := os.ReadFile(file)
		if err != nil {
			return err.Error()
		}
		found := false
		for line := range strings.Lines(string(content)) {
			for _, w := range who {
				found = found || strings.HasPrefix(line, w)
			}
		}
		if !found {
			return fmt.Sprintf("uid %s is not in %s", uid, file)
		}
	}
	return ""
}
