// Command empty is what the others are compared with.
package main

func main() {}
