//go:build linux

package launcher

import (
	"bytes"
	"debug/elf"
	"errors"
	"io"
	"os"
	"os/exec"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestELF(t *testing.T) {
	text := []byte("some text")
	type format struct {
		machine elf.Machine
		class   elf.Class
		data    elf.Data
	}
	wants := map[string]format{
		"386":      {elf.EM_386, elf.ELFCLASS32, elf.ELFDATA2LSB},
		"amd64":    {elf.EM_X86_64, elf.ELFCLASS64, elf.ELFDATA2LSB},
		"arm":      {elf.EM_ARM, elf.ELFCLASS32, elf.ELFDATA2LSB},
		"arm64":    {elf.EM_AARCH64, elf.ELFCLASS64, elf.ELFDATA2LSB},
		"loong64":  {elf.EM_LOONGARCH, elf.ELFCLASS64, elf.ELFDATA2LSB},
		"mips64le": {elf.EM_MIPS, elf.ELFCLASS64, elf.ELFDATA2LSB},
		"ppc64le":  {elf.EM_PPC64, elf.ELFCLASS64, elf.ELFDATA2LSB},
		"riscv64":  {elf.EM_RISCV, elf.ELFCLASS64, elf.ELFDATA2LSB},
		"s390x":    {elf.EM_S390, elf.ELFCLASS64, elf.ELFDATA2MSB},
	}
	if len(wants) != len(architectures) {
		t.Errorf("%d architectures are tested, and there are %d", len(wants), len(architectures))
	}
	for _, a := range architectures {
		arch, want := a.name, wants[a.name]
		image := elfImage(a, text)
		f, err := elf.NewFile(bytes.NewReader(image))
		if err != nil {
			t.Fatal(err)
		}
		if (format{f.Machine, f.Class, f.Data}) != want || f.Type != elf.ET_EXEC {
			t.Errorf("%s: header %+v", arch, f.FileHeader)
		}
		if len(f.Progs) != 3 {
			t.Fatalf("%s: %d segments", arch, len(f.Progs))
		}
		code, memory, stack := f.Progs[0], f.Progs[1], f.Progs[2]
		got := make([]byte, len(text))
		if _, err := code.ReadAt(got, int64(f.Entry-code.Vaddr)); err != nil || !bytes.Equal(got, text) {
			t.Errorf("%s: at the entry is %q, %v", arch, got, err)
		}
		if code.Filesz != uint64(len(image)) || code.Filesz != code.Memsz {
			t.Errorf("%s: text segment %+v of %d bytes", arch, code.ProgHeader, len(image))
		}
		if memory.Vaddr != dataBase || memory.Filesz != 0 || memory.Memsz < maxList {
			t.Errorf("%s: data segment %+v", arch, memory.ProgHeader)
		}
		if stack.Type != elf.PT_GNU_STACK {
			t.Errorf("%s: %+v", arch, stack.ProgHeader)
		}
		for i, want := range []elf.ProgFlag{elf.PF_R | elf.PF_X, elf.PF_R | elf.PF_W, elf.PF_R | elf.PF_W} {
			p := f.Progs[i]
			if p.Flags != want {
				t.Errorf("%s: segment %d is %v", arch, i, p.Flags)
			}
			if p.Type == elf.PT_LOAD && (p.Align != 64<<10 || (p.Vaddr-p.Off)%p.Align != 0) {
				t.Errorf("%s: segment %d is not aligned for pages of 64 KiB: %+v", arch, i, p.ProgHeader)
			}
		}
	}
}

// freshImage makes the test start without a cached image, and gives others theirs back.
func freshImage(t *testing.T) {
	file, refused := image.file, image.refused
	image.file, image.refused = nil, false
	t.Cleanup(func() {
		if image.file != nil {
			image.file.Close()
		}
		image.file, image.refused = file, refused
	})
}

func refuseMemfd(t *testing.T, err error) {
	old := memfdCreate
	memfdCreate = func(string, int) (int, error) { return -1, err }
	t.Cleanup(func() { memfdCreate = old })
}

func TestImageIsMadeOnce(t *testing.T) {
	needLauncher(t)
	freshImage(t)
	a, done, err := image.get()
	if err != nil {
		t.Fatal(err)
	}
	done()
	if b, done, err := image.get(); b != a || err != nil {
		t.Errorf("second image %v, %v", b, err)
	} else {
		done()
	}
	checkSealed(t, a)
}

func TestImageFailureIsNotKept(t *testing.T) {
	needLauncher(t)
	freshImage(t)
	refuse := true
	create, dirs := memfdCreate, tempDirs
	defer func() { memfdCreate, tempDirs = create, dirs }()
	memfdCreate = func(name string, flags int) (int, error) {
		if refuse {
			return -1, unix.EACCES
		}
		return create(name, flags)
	}
	tempDirs = func() []string { return []string{"/proc/self"} }
	_, err := Start(&Cmd{List: new(List)})
	if err == nil || !errors.Is(err, unix.EACCES) || !strings.Contains(err.Error(), "memfd refused: ") ||
		!strings.Contains(err.Error(), "O_TMPFILE refused: ") {
		t.Fatalf("got %v", err)
	}
	refuse = false
	expectExit(t, run(t, &Cmd{List: new(List)}), 0)
}

func TestImageWithoutMemfd(t *testing.T) {
	freshImage(t)
	refuseMemfd(t, unix.EACCES)
	expectExit(t, run(t, &Cmd{List: new(List)}), 0)
	checkUnnamedImages(t)
	expectExit(t, run(t, &Cmd{List: new(List)}), 0)
}

// checkUnnamedImages wants an image of its own for each launch, gone with that.
func checkUnnamedImages(t *testing.T) {
	t.Helper()
	if image.file != nil {
		t.Error("one image is kept for others")
	}
	a, doneA, err := image.get()
	if err != nil {
		t.Fatal(err)
	}
	b, doneB, err := image.get()
	if err != nil {
		t.Fatal(err)
	}
	checkUnnamed(t, a, 0o555)
	checkUnnamed(t, b, 0o555)
	one, err := a.Stat()
	if err != nil {
		t.Fatal(err)
	}
	if other, err := b.Stat(); err != nil || os.SameFile(one, other) {
		t.Errorf("two launches have one image, %v", err)
	}
	doneA()
	doneB()
	if _, err := a.Stat(); !errors.Is(err, os.ErrClosed) {
		t.Errorf("it stays: %v", err)
	}
}

// A policy may refuse when it comes to execution.
func TestImageMemfdNotExecutable(t *testing.T) {
	freshImage(t)
	f, err := newMemfd("not executable", 0o444, strings.NewReader("#!"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	image.file = f
	expectExit(t, run(t, &Cmd{List: new(List)}), 0)
	checkUnnamedImages(t)
	expectExit(t, run(t, &Cmd{List: new(List)}), 0)
}

// Who can try only once gets a launcher that can be executed.
func TestPrepareMemfdNotExecutable(t *testing.T) {
	needLauncher(t)
	freshImage(t)
	proven.Store(false)
	f, err := newMemfd("not executable", 0o444, strings.NewReader("#!"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	image.file = f
	p, err := Prepare(new(List), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	c := exec.Cmd{Path: p.Path, ExtraFiles: p.Files}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	started, err := p.Started(c.Process)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(started.Close(), c.Wait()); err != nil {
		t.Error(err)
	}
}

func TestMemfdBeforeLinux63(t *testing.T) {
	freshImage(t)
	create := memfdCreate
	defer func() { memfdCreate = create }()
	memfdCreate = func(name string, flags int) (int, error) {
		if flags&unix.MFD_EXEC != 0 {
			return -1, unix.EINVAL
		}
		return create(name, flags)
	}
	expectExit(t, run(t, &Cmd{List: new(List)}), 0)
	checkSealed(t, image.file)
}

func checkSealed(t *testing.T, f *os.File) {
	t.Helper()
	if !Sealed(f) {
		t.Error("not sealed")
	}
	for what, err := range map[string]error{
		"write":    second(f.WriteAt([]byte("x"), 0)),
		"truncate": f.Truncate(0),
		"grow":     f.Truncate(1 << 30),
		"add seal": second(unix.FcntlInt(f.Fd(), unix.F_ADD_SEALS, unix.F_SEAL_WRITE)),
	} {
		if !errors.Is(err, unix.EPERM) {
			t.Errorf("%s: %v", what, err)
		}
	}
}

func second[T any](_ T, err error) error { return err }

func checkUnnamed(t *testing.T, f *os.File, mode os.FileMode) {
	t.Helper()
	if Sealed(f) {
		t.Error("sealed")
	}
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil || st.Nlink != 0 || os.FileMode(st.Mode&0o7777) != mode {
		t.Errorf("%d links, mode %o, %v", st.Nlink, st.Mode, err)
	}
	if _, err := f.WriteAt([]byte("x"), 0); err == nil {
		t.Error("can be written to")
	}
}

func TestSealedCopy(t *testing.T) {
	needLauncher(t)
	exe := openSelf(t)
	want, err := io.ReadAll(exe) // and now its offset is at the end
	if err != nil {
		t.Fatal(err)
	}
	check := func(t *testing.T, mode os.FileMode) *os.File {
		f, err := SealedCopy(exe, "copy", mode)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { f.Close() })
		got, err := io.ReadAll(io.NewSectionReader(f, 0, 1<<40))
		if err != nil || !bytes.Equal(got, want) {
			t.Errorf("%d bytes, want %d, %v", len(got), len(want), err)
		}
		var l List
		l.Cloexec(StatusFD)
		l.Execveat(FirstFileFD)
		dumpable := output(t, &Cmd{List: &l, Args: []string{helper + "dumpable"}, Files: []*os.File{f}})
		if hidden := mode&0o444 == 0 && os.Getuid() != 0; hidden == (dumpable == "1") {
			t.Errorf("mode %o: dumpable %s", mode, dumpable)
		}
		return f
	}
	for _, mode := range []os.FileMode{0o111, 0o555} {
		t.Run("memfd", func(t *testing.T) { checkSealed(t, check(t, mode)) })
		t.Run("unnamed", func(t *testing.T) {
			refuseMemfd(t, unix.EACCES)
			checkUnnamed(t, check(t, mode), mode)
		})
	}
	t.Run("unreadable", func(t *testing.T) {
		closed := openSelf(t)
		closed.Close()
		if f, err := SealedCopy(closed, "copy", 0o111); err == nil {
			f.Close()
			t.Error("copied")
		}
	})
}

func BenchmarkSealedCopy(b *testing.B) {
	exe := openSelf(b)
	info, err := exe.Stat()
	if err != nil {
		b.Fatal(err)
	}
	b.SetBytes(info.Size())
	for b.Loop() {
		f, err := SealedCopy(exe, "copy", 0o111)
		if err != nil {
			b.Fatal(err)
		}
		f.Close()
	}
}
