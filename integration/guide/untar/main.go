//go:build linux

// Command untar unpacks an archive with files of several owners, as a plain user.
package main

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"os"
	"path/filepath"
	"syscall"

	"github.com/gonso/gonso/gonso"
)

// unpack is the argument of unpacked: an archive, and where it goes to.
type unpack struct {
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
	ctx := context.Background()
	s, err := gonso.Unshare(gonso.User|gonso.Mount, gonso.SubIDs())
	if err != nil {
		log.Fatal(err)
	}
	defer s.Close()
	dir, err := os.MkdirTemp("", "untar-")
	if err != nil {
		log.Fatal(err)
	}
	defer func() { // root inside may remove what it has made
		if err := s.Command(ctx, "rm", "-r", dir).Run(); err != nil {
			log.Print(err)
		}
	}()

	files, err := unpacked.Do(ctx, s, unpack{Archive: archive(), Dir: dir})
	fmt.Println(files, "files", err)
	ls := s.Command(ctx, "stat", "-c", "%n: %u", "roots", "www-datas")
	ls.Dir = dir
	out, err := ls.Output()
	fmt.Print(string(out))
	if err != nil {
		log.Print(err)
	}
	info, err := os.Stat(filepath.Join(dir, "www-datas"))
	if err == nil {
		fmt.Println("another user outside:", int(info.Sys().(*syscall.Stat_t).Uid) != os.Getuid())
	}
}

// archive has a file of root's and one of www-data's.
func archive() io.Reader {
	var b bytes.Buffer
	t := tar.NewWriter(&b)
	for name, uid := range map[string]int{"roots": 0, "www-datas": 33} {
		if err := t.WriteHeader(&tar.Header{Name: name, Uid: uid, Gid: uid, Mode: 0o600}); err != nil {
			log.Fatal(err)
		}
	}
	if err := t.Close(); err != nil {
		log.Fatal(err)
	}
	return &b
}
