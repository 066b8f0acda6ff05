// Package codec encodes arguments and results of registered functions as CBOR, with the files in
// them beside the bytes, and decodes them.
//
// The sender of the bytes may be hostile: size, depth, memory and number of files have a cap in
// everything that is decoded, and malformed input is an error that matches [ErrValue], never a
// panic.
//
// What is where:
//
//   - value.go encodes values and decodes them; error.go has the error that says what cannot cross,
//     size.go the caps.
//   - shape.go knows what a type is made of, and whether its values can cross; cost.go what they
//     may take of memory.
//   - descend.go is the one way down a value. Two walks take it: look.go before a value is encoded,
//     and files.go to the files in it. stream.go connects readers and writers to files.
//   - scan.go looks at bytes before they are decoded. budget.go bounds what all that came from one
//     peer takes, within.go the time that decoding takes, maxsize.go what can come for a type.
//   - string.go puts a length before a string, for errors and messages; text.go makes text for
//     people of anything.
//
// Errors have their own package (errtree), because they are no values: their types differ on the
// two sides.
package codec
