// Package reexec is for package gonso; programs use that. It is the parent's side of
// the process backend: it makes namespaces that no thread of a Go program can make,
// starts this program or others inside namespaces, and passes calls to such workers. It
// takes joins in the order it is given them; what to join, in which order and why is
// decided in package gonso.
//
// Which file owns what:
//
//   - reexec.go: what gonso asks for, and the errors that it tells apart; words.go
//     how errors say it
//   - compose_linux.go: the steps of a launch, which is what the launcher does from its
//     start to what it becomes or ends with; the launcher is all that runs before
//     the program does, see internal/launcher
//   - launch_linux.go: the launch of a worker, until it comes to Init or why it did not;
//     helper_linux.go for another program than this one; cgroup_linux.go the start of the
//     launcher in a cgroup
//   - supervisor_linux.go: Worker, who has a worker when one is needed, and its startups;
//     backoff_linux.go when the next one is due
//   - process_linux.go: one worker while it runs, and its end; stderr_linux.go what
//     it prints
//   - turn_linux.go: who reads what a worker sends
//   - call_linux.go: the life of a call
//   - executable_linux.go, elf_linux.go, environment_linux.go: what is executed, and its
//     environment
//   - create_linux.go: the making of namespaces, idmaps_linux.go the reading of id maps,
//     tool_linux.go the programs that write them
//   - program_linux.go: a program of the user's; witness_linux.go who tells whether a
//     signal was for its process group
//
// What crosses between the two sides is in internal/wire/PROTOCOL.md.
package reexec
