// Loader is what root inside puts in the place of the dynamic loader. It says that it ran.
package main

import (
	"fmt"
	"os"
)

func main() {
	f, err := os.OpenFile("/work/ran", os.O_WRONLY|os.O_APPEND, 0)
	if err == nil {
		fmt.Fprintf(f, "loader, as %q, uid %d\n", os.Args, os.Getuid())
		f.Close()
	}
	fmt.Println("hijacked")
}
