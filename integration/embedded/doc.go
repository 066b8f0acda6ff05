// Package embedded has tests of gonso in programs that handle signals in their own way: programs of
// another language that load Go as a shared library, and programs that ask for SIGPIPE.
package embedded
