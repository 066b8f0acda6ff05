// Bench measures gonso against floors: what the kernel and the Go runtime take
// for the same work without gonso. Everything of a row is measured in one run,
// in turns, because times of different runs of a machine do not compare; what
// counts is the ratio. Peers are measured in the same way.
//
//	go run ./bench [-rounds N] [-run REGEXP] [-short] [-cpuprofile FILE]
//
// Rows that a plain user cannot measure say so.
package main
