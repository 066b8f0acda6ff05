// Package price measures what an import of gonso costs a program: bytes, and time and descriptors before
// main. Its test holds the bounds and prints the table.
package price
