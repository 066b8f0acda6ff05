// Package single measures single calls of contestants. They live in a process of their own, the
// hand, which is pinned to CPUs from before its start, so that its Go runtime knows no others. What
// they have at the other end is pinned when it is there.
package single
