// Command cni runs a closure in a network namespace by the package of the CNI plugins.
package main

import (
	"os"

	"github.com/containernetworking/plugins/pkg/ns"
)

func main() {
	n, err := ns.GetNS(os.Args[1])
	if err == nil {
		err = n.Do(func(ns.NetNS) error { return nil })
	}
	if err != nil {
		println(err.Error())
		os.Exit(1)
	}
}
