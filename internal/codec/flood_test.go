package codec

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math/big"
	"math/bits"
	"net/netip"
	"net/url"
	"reflect"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/gonso/gonso/internal/testenv"
)

// head is the beginning of a CBOR item.
func head(major byte, n int) []byte {
	return binary.BigEndian.AppendUint32([]byte{major<<5 | 26}, uint32(n))
}

func text(n int) []byte { return append(head(majorText, n), bytes.Repeat([]byte{'x'}, n)...) }

// items is an array of items that are made by their number.
func items(n int, item func(i int) []byte) []byte {
	b := head(majorArray, n)
	for i := range n {
		b = append(b, item(i)...)
	}
	return b
}

// zoned is an address with a zone that no other has.
func zoned(i int) []byte {
	addr := append(netip.MustParseAddr("fe80::1").AsSlice(), fmt.Sprintf("zone%06d", i)...)
	return append([]byte{majorBytes<<5 | 24, byte(len(addr))}, addr...)
}

func pairsOf(key []byte, n int) []byte {
	b := head(majorMap, n)
	for range n {
		b = append(append(b, key...), 1)
	}
	return b
}

// floods are inputs that cost their reader more than they cost their writer.
var floods = map[string]struct {
	b func() []byte
	v any
}{
	"text for a time":         {func() []byte { return append([]byte{0xc0}, text(60<<20)...) }, new(time.Time)},
	"text for a time in any":  {func() []byte { return append([]byte{0xc0}, text(60<<20)...) }, new(any)},
	"text for times":          {func() []byte { return items(16, func(int) []byte { return append([]byte{0xc0}, text(1<<20)...) }) }, new([]time.Time)},
	"untagged text for times": {func() []byte { return items(16, func(int) []byte { return text(1 << 20) }) }, new([]time.Time)},
	"quoted text for a time": {func() []byte {
		return append([]byte{0xc0}, append(head(majorText, 60<<20), bytes.Repeat([]byte{1}, 60<<20)...)...)
	}, new(time.Time)},
	"number for a time": {func() []byte {
		return append([]byte{0xc2}, append(head(majorBytes, 60<<20), make([]byte, 60<<20)...)...)
	}, new(time.Time)},

	"a key twice":          {func() []byte { return pairsOf(text(30<<20), 2) }, new(map[string]int)},
	"a key twice in any":   {func() []byte { return pairsOf(text(30<<20), 2) }, new(any)},
	"a field twice":        {func() []byte { return pairsOf(text(30<<20), 2) }, new(inner)},
	"a key of bytes twice": {func() []byte { return pairsOf(append(head(majorBytes, 30<<20), make([]byte, 30<<20)...), 2) }, new(map[any]int)},
	"a struct for a key":   {func() []byte { return pairsOf(append([]byte{0xa1, 0x61, 'B'}, text(30<<20)...), 2) }, new(map[inner]int)},
	"an array for a key":   {func() []byte { return pairsOf(append([]byte{0x82}, append(text(15<<20), text(15<<20)...)...), 2) }, new(map[[2]string]int)},
	"an address for a key": {func() []byte { return pairsOf(append(head(majorBytes, 30<<20), make([]byte, 30<<20)...), 2) }, new(map[netip.Addr]int)},
	"a number for a key": {func() []byte {
		return pairsOf(append([]byte{0xc2}, append(head(majorBytes, 30<<20), make([]byte, 30<<20)...)...), 2)
	}, new(map[any]int)},
	"keys, each of 512 KiB": {func() []byte { return pairsOf(text(512<<10), 100) }, new(map[string]int)},

	"empty arrays":  {func() []byte { return array(64<<10, 0x80) }, new([][1000]int64)},
	"no arrays":     {func() []byte { return array(64<<10, 0xf6) }, new([][1000]int64)},
	"arrays behind": {func() []byte { return array(64<<10, 0x80) }, new([]*[1000]int64)},
	"arrays in a map": {func() []byte {
		return append(head(majorMap, 16<<10), items(16<<10, func(i int) []byte { return []byte{0x19, byte(i >> 8), byte(i), 0x80} })[5:]...)
	}, new(map[int][1000]int64)},
	"arrays in structs":     {func() []byte { return array(64<<10, 0xa0) }, new([]struct{ A [1000]int64 })},
	"arrays in arrays":      {func() []byte { return array(64, array(1<<10, 0x80)...) }, new([][][1000]int64)},
	"arrays in a short one": {func() []byte { return items(64<<10, func(int) []byte { return []byte{0x81, 0x80} }) }, new([][1][1000]int64)},
	"structs left empty": {func() []byte { return array(64<<10, 0xa0) }, new([]struct {
		A [4 << 10]byte `json:",omitempty"`
		B string
	})},

	"zones":        {func() []byte { return items(2<<20, zoned) }, new([]netip.Addr)},
	"zones behind": {func() []byte { return items(2<<20, zoned) }, new([]*netip.Addr)},
	"zones with a port": {func() []byte {
		return items(1<<20, func(i int) []byte { z := zoned(i); z[1] += 2; return append(z, 0, 80) })
	}, new([]netip.AddrPort)},
	"a long zone": {func() []byte {
		return items(2, func(int) []byte { return append(head(majorBytes, 30<<20), make([]byte, 30<<20)...) })
	}, new([]netip.Addr)},
	"a long URL": {func() []byte { return append(head(majorBytes, 8<<20), bytes.Repeat([]byte{1}, 8<<20)...) }, new(url.URL)},
	"long URLs": {func() []byte {
		return items(60, func(int) []byte { return append(head(majorBytes, 1<<20), bytes.Repeat([]byte{1}, 1<<20)...) })
	}, new([]url.URL)},
	"wrong URLs": {func() []byte { return items(4<<20, func(int) []byte { return []byte{0x41, 1} }) }, new([]url.URL)},

	"texts for numbers":      {func() []byte { return array(24<<20, 0x60) }, new([]int)},
	"numbers for texts":      {func() []byte { return array(24<<20, 1) }, new([]string)},
	"numbers that are large": {func() []byte { return array(20<<20, 0x19, 1, 0) }, new([]int8)},
	"numbers below zero":     {func() []byte { return array(24<<20, 0x20) }, new([]uint)},
	"digits":                 {func() []byte { return array(2<<20, append([]byte{0xc2, 0x54}, bytes.Repeat([]byte{0xff}, 20)...)...) }, new([]int)},
	"unknown fields":         {func() []byte { return array(15<<20, 0xa1, 0x61, 'Z', 1) }, new([]inner)},
	"arrays for structs":     {func() []byte { return array(24<<20, 0x80) }, new([]inner)},
	"numbers for structs":    {func() []byte { return array(24<<20, 1) }, new([]struct{})},
	"maps for arrays":        {func() []byte { return array(24<<20, 0xa0) }, new([][0]int)},
	"numbers for bools":      {func() []byte { return array(24<<20, 1) }, new([]bool)},
	"large floats":           {func() []byte { return array(6<<20, 0xfb, 0x7f, 0xe0, 0, 0, 0, 0, 0, 0) }, new([]float32)},
	"numbers for fields":     {func() []byte { return array(10<<20, 0xa1, 0x61, 'A', 0x61, 'x') }, new([]inner)},
	"texts for addresses":    {func() []byte { return array(40<<20, 0x60) }, new([]netip.Addr)},
	"empty maps":             {func() []byte { return array(24<<20, 0xa0) }, new([]map[string]int)},
	"empty maps in any":      {func() []byte { return array(24<<20, 0xa0) }, new(any)},
	"arrays in any":          {func() []byte { return array(24<<20, 0x80) }, new(any)},
	"large numbers in any":   {func() []byte { return array(6<<20, 0x1b, 0xff, 0, 0, 0, 0, 0, 0, 0) }, new(any)},
	"times in any":           {func() []byte { return array(20<<20, 0xc1, 0) }, new(any)},
	"nothing in any":         {func() []byte { return array(24<<20, 0xf6) }, new(any)},
	"tags in any":            {func() []byte { return array(20<<20, 0xd8, 99, 0xf6) }, new(any)},
	"empty texts":            {func() []byte { return array(24<<20, 0x60) }, new([]string)},
	"nothing behind":         {func() []byte { return array(24<<20*smaller, 0xf6) }, new([]*int)},
	"zones of times": {func() []byte {
		return items(1<<20, func(i int) []byte {
			return append([]byte{0xc0, 0x78, 25}, fmt.Sprintf("2024-01-01T00:00:00+%02d:%02d", i%24, i%60)...)
		})
	}, new([]time.Time)},
}

// smaller is how often a machine word of this architecture is in one of 64 bits.
const smaller = 64 / bits.UintSize

// needMemory skips where the race detector has memory and time of its own.
func needMemory(t *testing.T) {
	if testenv.Race {
		testenv.Found(t, "norace", errors.New("it is on"))
	}
}

// ranAsRoot reports whether a test need not run for this user, because root has run it. It is the
// same for every user, and takes seconds on an emulated processor. A third of the tests run again.
func ranAsRoot(name string) bool {
	return testenv.Emulated && !testenv.Has(testenv.Root) && len(name)%3 > 0
}

// Bytes that are worth little may not cost the program that reads them much: memory, time, or text.
func TestFloodsCannotCostTheirReader(t *testing.T) {
	needMemory(t)
	for name, tt := range floods {
		if ranAsRoot(name) {
			continue
		}
		t.Run(name, func(t *testing.T) {
			b := tt.b()
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			start := time.Now()
			err := Unmarshal(b, tt.v)
			took := time.Since(start)
			runtime.ReadMemStats(&after)
			if !errors.Is(err, ErrValue) {
				t.Errorf("%d bytes: got %v", len(b), err)
			} else if n := len(err.Error()); n > 4<<10 {
				t.Errorf("an error of %d bytes", n)
			}
			if n := after.TotalAlloc - before.TotalAlloc; n > 40<<20 {
				t.Errorf("%d MiB for %d KiB", n>>20, len(b)>>10)
			}
			if took > 3*time.Second {
				t.Errorf("took %v", took)
			}
		})
	}
}

// What Encode takes, Decode gives back: no program finds out on the other side only.
func TestWhatEncodesDecodes(t *testing.T) {
	needMemory(t)
	type optional struct {
		A [4 << 10]byte `json:",omitempty"`
		P *int          `json:",omitempty"`
	}
	zones := make([]netip.Addr, 200_000)
	for i := range zones {
		zones[i] = netip.MustParseAddr("fe80::1").WithZone(fmt.Sprint("zone", i))
	}
	keys := map[string]bool{}
	numbers := map[int]int{}
	prefixes := make([]netip.Prefix, 1_000_000) // all routes of the Internet
	for i := range prefixes {
		if i < 200_000 {
			keys[fmt.Sprint("key", i)] = true
			numbers[i] = i
		}
		prefixes[i] = netip.PrefixFrom(netip.AddrFrom4([4]byte{byte(i >> 16), byte(i >> 8), byte(i)}), 24)
	}
	for name, tt := range map[string]struct {
		v     func() any // one at a time is alive, as 32 bits have no room for all
		large bool       // too large to be decoded
	}{
		"64 MiB of bytes":   {func() any { return make([]byte, MaxValue-5) }, false},
		"64 MiB of text":    {func() any { return strings.Repeat("x", MaxValue-5) }, false},
		"named bytes":       {func() any { return struct{ B []byte }{make([]byte, 60<<20)} }, false},
		"64 MiB in parts":   {func() any { return slicesRepeat(strings.Repeat("x", 1<<10), 60<<10) }, false},
		"short texts":       {func() any { return slicesRepeat("0123456789", 1_000_000) }, false},
		"structs":           {func() any { return slicesRepeat(inner{1e9, "some string"}, 500_000) }, false},
		"10 Mi numbers":     {func() any { return make([]int, 10<<20) }, false},
		"numbers":           {func() any { return make([]int, 14<<20*smaller) }, true},
		"texts":             {func() any { return make([]string, 14<<20) }, true},
		"nothing":           {func() any { return make([][]byte, 14<<20) }, true},
		"pointers":          {func() any { return make([]*int, 14<<20*smaller) }, true},
		"optional":          {func() any { return make([]optional, 4_000) }, false},
		"many optional":     {func() any { return make([]optional, 40_000) }, true},
		"any":               {func() any { return slicesRepeat[any](int64(1), 2_000_000) }, false},
		"much of any":       {func() any { return slicesRepeat[any](int64(1), 6_000_000) }, smaller == 1},
		"maps":              {func() any { return slicesRepeat(map[string]int{"a": 1}, 100_000) }, false},
		"many maps":         {func() any { return make([]map[string]int, 14<<20*smaller) }, true},
		"zones":             {func() any { return zones }, true},
		"some zones":        {func() any { return zones[:10_000] }, false},
		"prefixes":          {func() any { return prefixes }, false},
		"keys":              {func() any { return keys }, false},
		"numbers by number": {func() any { return numbers }, false},
		"long key":          {func() any { return map[string]int{strings.Repeat("x", 200<<10): 1} }, true},
		"not so long key":   {func() any { return map[string]int{strings.Repeat("x", 60<<10): 1, "": 2} }, false},
		"long URL":          {func() any { return []url.URL{{Path: "/" + strings.Repeat("x", 200<<10)}} }, true},
		"large number":      {func() any { return []*big.Int{new(big.Int).Lsh(big.NewInt(1), 8*100<<10)} }, true},
		"times":             {func() any { return slicesRepeat(time.Unix(1, 0).In(time.FixedZone("", 1800)), 200_000) }, false},
	} {
		if ranAsRoot(name) {
			continue
		}
		t.Run(name, func(t *testing.T) {
			v := tt.v()
			b, err := Marshal(v)
			if tt.large {
				if !errors.Is(err, ErrTooLarge) && !errors.Is(err, ErrValue) {
					t.Errorf("%d bytes: %v", len(b), err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			got := reflect.New(reflect.TypeOf(v))
			if err := Unmarshal(b, got.Interface()); err != nil {
				t.Fatal(err)
			}
			if name != "times" && !reflect.DeepEqual(got.Elem().Interface(), v) {
				t.Error("it came back as something else")
			}
		})
	}
}
