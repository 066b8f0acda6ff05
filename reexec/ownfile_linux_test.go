package reexec

import "testing"

func TestMappedFrom(t *testing.T) {
	const maps = "00400000-00401000 r--p 00000000 fe:01 11                                 /x/ld-linux.so\n" +
		"10000000-10002000 r-xp 00001000 fe:01 1234                               /a dir/with\\012lines (deleted)\n" +
		"20000000-20001000 rw-p 00000000 00:00 0 \n" +
		"30000000-30001000 r-xp 00000000 00:00 0                                  [vdso]\n" +
		"garbled\n"
	for addr, want := range map[uint64]struct {
		path string
		ino  uint64
	}{
		0x400000: {"/x/ld-linux.so", 11}, 0x10000000: {"/a dir/with\nlines (deleted)", 1234}, 0x10001fff: {"/a dir/with\nlines (deleted)", 1234},
		0x10002000: {}, 0x20000000: {}, 0x30000000: {}, 0: {},
	} {
		if path, ino := mappedFrom(maps, addr); path != want.path || ino != want.ino {
			t.Errorf("%#x: %q, %d; want %v", addr, path, ino, want)
		}
	}
}
