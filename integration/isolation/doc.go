// Package isolation has the tests that need programs of their own: what somebody
// who is root inside a container can see of a program that works in it with
// gonso, and how programs behave that use gonso wrongly.
package isolation
