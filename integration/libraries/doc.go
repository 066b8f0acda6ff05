// Package libraries has tests with libraries that programs use together with gonso.
package libraries
