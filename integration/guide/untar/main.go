//go:build linux

// Command untar unpacks an archive with files of several owners, as a plain user.
//
//	untar DIR <ARCHIVE
package main

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"os"

	"github.com/gonso/gonso/gonso"
)

type unpack struct { // the argument of unpacked
	Archive io.Reader
	Dir     string
}

var unpacked = gonso.Register("unpacked", func(_ context.Context, u unpack) (files int, err error) {
	root, err := os.OpenRoot(u.Dir) // no name in the archive leads out of it
	if err != nil {
		return 0, err
	}
	defer root.Close()
	for t := tar.NewReader(u.Archive); ; files++ {
		h, err := t.Next()
		if err == io.EOF {
			return files, nil
		} else if err != nil {
			return files, err
		}
		f, err := root.OpenFile(h.Name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, h.FileInfo().Mode())
		if err != nil {
			return files, err
		}
		_, err = io.Copy(f, t)
		if err := errors.Join(err, f.Chown(h.Uid, h.Gid), f.Close()); err != nil {
			return files, err
		}
	}
})

func main() {
	gonso.Init()
	if len(os.Args) != 2 {
		log.Fatal("usage: untar DIR <ARCHIVE")
	}
	s, err := gonso.Unshare(gonso.User, gonso.SubIDs())
	if err != nil {
		log.Fatal(err)
	}
	defer s.Close()
	fmt.Println(unpacked.Do(context.Background(), s, unpack{Archive: os.Stdin, Dir: os.Args[1]}))
	c := s.Command(context.Background(), "sh", "-c", "stat -c '%n: %u' *") // the owners, as they are inside
	c.Dir, c.Stdout, c.Stderr = os.Args[1], os.Stdout, os.Stderr
	if err := c.Run(); err != nil {
		log.Fatal(err)
	}
}
