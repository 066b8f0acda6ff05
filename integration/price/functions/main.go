// Command functions calls a registered function in a user namespace.
package main

import (
	"context"
	"os"

	"github.com/gonso/gonso/gonso"
)

var uid = gonso.Register("uid", func(context.Context, struct{}) (int, error) { return os.Getuid(), nil })

func main() {
	gonso.Init()
	s, err := gonso.Unshare(gonso.User)
	if err == nil {
		_, err = uid.Do(context.Background(), s, struct{}{})
	}
	if err != nil {
		println(err.Error())
		os.Exit(1)
	}
}
