// Package testenv has the code that gonso's own tests share: a Main that fails a run which leaves
// something behind, requirements with typed skips, and functions that look at namespaces from
// outside. It imports nothing of gonso, so that every package's tests may use it.
package testenv
