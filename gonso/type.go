package gonso

import (
	"fmt"
	"math/bits"
	"os"
	"strings"
)

// Type is one namespace type or several, as a bit set. The values are the CLONE_NEW* flags of
// clone(2). So an untyped constant such as unix.CLONE_NEWNET can be passed as a Type.
//
// In functions with variadic types, no argument means all types. An explicit zero is an error:
// flags that a program computed, and that came out empty, must not mean all types.
type Type uint32

// The namespace types of Linux; see namespaces(7).
const (
	Cgroup Type = 0x02000000 // CLONE_NEWCGROUP: the cgroup root directory
	IPC    Type = 0x08000000 // CLONE_NEWIPC: System V IPC and POSIX message queues
	Mount  Type = 0x00020000 // CLONE_NEWNS: mount points
	Net    Type = 0x40000000 // CLONE_NEWNET: network devices, stacks, ports
	PID    Type = 0x20000000 // CLONE_NEWPID: process ids
	Time   Type = 0x00000080 // CLONE_NEWTIME: boot and monotonic clocks (Linux 5.6)
	User   Type = 0x10000000 // CLONE_NEWUSER: user and group ids, capabilities
	UTS    Type = 0x04000000 // CLONE_NEWUTS: host name and NIS domain name

	// AllTypes is every type gonso knows.
	AllTypes = Cgroup | IPC | Mount | Net | PID | Time | User | UTS
)

// typeTable gives the types their order, the same as the order of the constants. It is
// alphabetical, as in lsns(8) and /proc/PID/ns.
var typeTable = [...]struct {
	typ  Type
	name string
}{
	{Cgroup, "cgroup"}, {IPC, "ipc"}, {Mount, "mnt"}, {Net, "net"},
	{PID, "pid"}, {Time, "time"}, {User, "user"}, {UTS, "uts"},
}

const numTypes = len(typeTable)

// index is the place of a single type in typeTable.
func (t Type) index() int {
	for i := range typeTable {
		if typeTable[i].typ == t {
			return i
		}
	}
	panic(fmt.Sprintf("gonso: %#x is not a single namespace type", uint32(t)))
}

// each calls f for every single type in t, in the order of typeTable.
func (t Type) each(f func(i int, single Type)) {
	for i := range typeTable {
		if t&typeTable[i].typ != 0 {
			f(i, typeTable[i].typ)
		}
	}
}

func (t Type) single() bool { return bits.OnesCount32(uint32(t)) == 1 && t&AllTypes != 0 }

// String returns the names of the types as in /proc/PID/ns, joined by "|": "mnt|net". Bits that
// belong to no type are shown as a number, and the empty set as "0".
func (t Type) String() string {
	if t == 0 {
		return "0"
	}
	var b strings.Builder
	t.each(func(_ int, single Type) {
		if b.Len() > 0 {
			b.WriteByte('|')
		}
		b.WriteString(typeTable[single.index()].name)
	})
	if rest := t &^ AllTypes; rest != 0 {
		if b.Len() > 0 {
			b.WriteByte('|')
		}
		fmt.Fprintf(&b, "%#x", uint32(rest))
	}
	return b.String()
}

// ParseType reads the text of [Type.String]: names as in /proc/PID/ns, joined by "|" or ",". It
// reads "mount" as "mnt", because unshare(1) and nsenter(1) use that name.
func ParseType(s string) (Type, error) {
	var t Type
	for _, name := range strings.FieldsFunc(s, func(r rune) bool { return r == '|' || r == ',' }) {
		single, ok := typeByName(strings.TrimSpace(name))
		if !ok {
			return 0, noType(name)
		}
		t |= single
	}
	if t == 0 {
		return 0, noType(s)
	}
	return t, nil
}

func noType(name string) error {
	names := strings.ReplaceAll(AllTypes.String(), "|", ", ")
	return fmt.Errorf("gonso: %.100q names no namespace type, which are %s: %w", name, names, os.ErrInvalid)
}

func typeByName(name string) (Type, bool) {
	if name == "mount" {
		return Mount, true
	}
	for i := range typeTable {
		if typeTable[i].name == name {
			return typeTable[i].typ, true
		}
	}
	return 0, false
}

// check refuses the empty set and bits that are no type.
func (t Type) check() error {
	switch {
	case t == 0:
		return fmt.Errorf("no namespace type given (a zero Type): %w", os.ErrInvalid)
	case t&^AllTypes != 0:
		return fmt.Errorf("unknown bits %#x in Type: those of %v are known: %w", uint32(t&^AllTypes), AllTypes, os.ErrInvalid)
	}
	return nil
}

// union joins variadic types. No argument means all types. A zero among them is an error.
func union(types []Type) (Type, error) {
	if len(types) == 0 {
		return AllTypes, nil
	}
	var all Type
	for _, t := range types {
		if err := t.check(); err != nil {
			return 0, err
		}
		all |= t
	}
	return all, nil
}
