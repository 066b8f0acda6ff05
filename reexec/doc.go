// Package reexec is for package gonso, and programs use gonso. It is the parent's side of the
// process backend. It makes namespaces that no thread of a Go program can make. It starts this
// program or others inside namespaces, and passes calls to such workers. Package gonso decides
// which namespaces are joined, in which order, and why.
//
// Which file owns what:
//
//   - reexec.go: the types for package gonso, and the errors that it distinguishes; words.go: the
//     words of errors
//   - compose_linux.go: the steps of a launch, from the start of the launcher to the program that
//     it becomes, or to its end; the launcher is the only code that runs before the program, see
//     internal/launcher
//   - launch_linux.go: the launch of a worker up to Init, and the causes of a failure;
//     helper_linux.go: workers that are another program; cgroup_linux.go: the start of the launcher
//     in a cgroup
//   - supervisor_linux.go: type Worker, which starts workers when they are needed;
//     backoff_linux.go: when the next start is due
//   - process_linux.go: one worker while it runs, and its end; stderr_linux.go: its output
//   - turn_linux.go: which goroutine reads the frames of a worker
//   - call_linux.go: the life of a call
//   - executable_linux.go, elf_linux.go, environment_linux.go: the executed file, and its
//     environment
//   - create_linux.go: making namespaces; idmaps_linux.go: reading id maps; tool_linux.go: the
//     programs that write id maps
//   - program_linux.go: a program of the user; witness_linux.go: the process that tells whether a
//     signal was for its process group
//
// internal/wire/PROTOCOL.md has the protocol between the two sides.
package reexec
