// Package testenv is what gonso's own tests share: a Main that fails a run which
// leaves something behind, requirements with typed skips, and looks at
// namespaces from outside. It imports nothing of gonso, so that every package's
// tests may use it.
package testenv
