// Package codec encodes arguments and results of registered functions as CBOR, with the files in
// them beside the bytes, and decodes them.
//
// Whoever has made the bytes may be hostile: everything decoded has a cap on size, depth, memory
// and number of files, and malformed input is an error that matches [ErrValue], never a panic.
//
// What is where: value.go encodes and decodes; shape.go knows what a type is made of, and whether
// its values can cross; scan.go looks at bytes before they are decoded; files.go finds the files in
// a value, and has readers and writers connected to pipes. Errors have a package of their own
// (errtree), since they are no values: their types differ on the two sides.
package codec
