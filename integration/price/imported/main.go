// Command imported imports gonso, and uses nothing of it.
package main

import _ "github.com/gonso/gonso/gonso"

func main() {}
