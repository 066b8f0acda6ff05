//go:build linux

// Command enter looks into a container: all namespaces of a process that this user may enter.
//
//	enter PID
package main

import (
	"bufio"
	"context"
	"fmt"
	"log"
	"os"
	"strconv"
	"strings"

	"github.com/gonso/gonso/gonso"
)

func main() {
	gonso.Init()
	ctx := context.Background()
	if len(os.Args) != 2 {
		log.Fatal("usage: enter PID")
	}
	pid, err := strconv.Atoi(os.Args[1])
	if err != nil {
		log.Fatal(err)
	}
	s, err := gonso.FromPID(pid) // all types; those that are this program's own are not entered
	if err != nil {
		log.Fatal(err)
	}
	defer s.Close()

	// A program of the container's, with its files, its network and its host name.
	out, err := s.Command(ctx, "hostname").CombinedOutput()
	fmt.Print("host: ", string(out))
	if err != nil {
		log.Fatal(err)
	}

	// A file of the container's. Only ordinary files are opened there.
	f, err := s.OpenFile(ctx, "/etc/passwd", os.O_RDONLY, 0)
	if err != nil {
		log.Fatal(err)
	}
	defer f.Close()
	user, err := bufio.NewReader(f).ReadString(':')
	fmt.Println("first user:", strings.TrimSuffix(user, ":"))
	if err != nil {
		log.Fatal(err)
	}

	// Its network, without a program.
	lo, err := s.InterfaceByName(ctx, "lo")
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("interface:", lo.Name)
}
