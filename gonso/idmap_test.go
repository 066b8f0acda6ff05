package gonso

import (
	"errors"
	"fmt"
	"math"
	"os"
	"strings"
	"testing"

	"github.com/gonso/gonso/internal/testenv"
)

func TestCheckIDMaps(t *testing.T) {
	many := func(n int) (maps []IDMap) {
		for i := range uint32(n) {
			maps = append(maps, IDMap{i, 1000 + i, 1})
		}
		return maps
	}
	for name, c := range map[string]struct {
		maps []IDMap
		want string // in the error; "" means none
	}{
		"one id":               {[]IDMap{{0, 1000, 1}}, ""},
		"adjacent":             {[]IDMap{{0, 1000, 10}, {10, 1010, 10}}, ""},
		"adjacent, descending": {[]IDMap{{10, 1010, 10}, {0, 1000, 10}}, ""},
		"identity":             {[]IDMap{{0, 0, math.MaxUint32}}, ""},
		"last id":              {[]IDMap{{math.MaxUint32 - 1, math.MaxUint32 - 1, 1}}, ""},
		"340 lines":            {many(340), ""},
		"nil":                  {nil, "no lines"},
		"empty":                {[]IDMap{}, "no lines"},
		"341 lines":            {many(341), "341"},
		"count 0":              {[]IDMap{{0, 0, 1}, {1, 1, 0}}, "line 1 maps no ids"},
		"(uid_t) -1":           {[]IDMap{{math.MaxUint32, 0, 1}}, "line 0"},
		"outside (uid_t) -1":   {[]IDMap{{0, math.MaxUint32, 1}}, "line 0"},
		"past the end inside":  {[]IDMap{{1, 0, math.MaxUint32}}, "past the last id"},
		"past the end outside": {[]IDMap{{0, 1, math.MaxUint32}}, "past the last id"},
		"same inside":          {[]IDMap{{0, 1000, 1}, {0, 2000, 1}}, "lines 0 and 1 overlap inside"},
		"same outside":         {[]IDMap{{0, 1000, 1}, {1, 1000, 1}}, "lines 0 and 1 overlap outside"},
		"by one inside":        {[]IDMap{{0, 1000, 10}, {50, 3000, 1}, {9, 2000, 10}}, "lines 0 and 2 overlap inside"},
		"contained outside":    {[]IDMap{{0, 1000, 100}, {200, 1050, 2}}, "lines 0 and 1 overlap outside"},
		"containing outside":   {[]IDMap{{200, 1050, 2}, {0, 1000, 100}}, "lines 0 and 1 overlap outside"},
	} {
		err := checkIDMaps("gid", c.maps)
		switch {
		case c.want == "" && err != nil:
			t.Errorf("%s: %v", name, err)
		case c.want != "" && !errors.Is(err, os.ErrInvalid):
			t.Errorf("%s: %v, want an error matching os.ErrInvalid", name, err)
		case c.want != "" && (!strings.Contains(err.Error(), c.want) || !strings.HasPrefix(err.Error(), "gid map: ")):
			t.Errorf("%s: %v, want %q in it", name, err, c.want)
		}
	}
}

// map_write of kernel/user_namespace.c takes less than a page.
func TestIDMapsAreShorterThanAPage(t *testing.T) {
	page := os.Getpagesize()
	var maps []IDMap
	for i := uint32(0); len(formatIDMaps(maps)) < page && len(maps) < maxIDMapLines; i++ {
		maps = append(maps, IDMap{4000000000 + 10000*i, 4000000000 + 10000*i, 1000})
	}
	if len(formatIDMaps(maps)) < page {
		testenv.Found(t, "pages", fmt.Errorf("%d lines do not fill one of %d bytes", maxIDMapLines, page))
	}
	if err := checkIDMaps("gid", maps); !errors.Is(err, os.ErrInvalid) || !strings.Contains(err.Error(), fmt.Sprintf("page of %d bytes", page)) {
		t.Errorf("%d lines: %v", len(maps), err)
	}
	if err := checkIDMaps("gid", maps[:len(maps)-1]); err != nil {
		t.Errorf("a line less: %v", err)
	}
}

func TestFormatIDMaps(t *testing.T) {
	got := formatIDMaps([]IDMap{{0, 1000, 1}, {1, 100000, 65536}})
	if want := "0 1000 1\n1 100000 65536\n"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}

func TestUnshareOptionsAreChecked(t *testing.T) {
	own := []IDMap{{0, 0, 1}}
	twice := []IDMap{{0, 0, 1}, {0, 1, 1}}
	for name, c := range map[string]struct {
		types Type
		opts  []UnshareOption
		want  string
	}{
		"nothing":                      {Net, nil, ""},
		"a nil option":                 {Net, []UnshareOption{nil}, ""},
		"all that fits":                {User | Mount, []UnshareOption{IDMaps(own, own), Setgroups(false), Propagation(PropagationPrivate)}, ""},
		"zero types":                   {0, nil, "zero Type"},
		"unknown bits":                 {Net | 1, nil, "0x1"},
		"IDMaps without user":          {Net, []UnshareOption{IDMaps(own, own)}, "IDMaps needs user"},
		"NoIDMaps without user":        {Net, []UnshareOption{NoIDMaps()}, "NoIDMaps needs user"},
		"Setgroups without user":       {Net, []UnshareOption{Setgroups(true)}, "Setgroups needs user"},
		"Propagation without mnt":      {User, []UnshareOption{Propagation(PropagationSlave)}, "Propagation needs mnt"},
		"unknown Propagation":          {Mount, []UnshareOption{Propagation(99)}, "Propagation: 99"},
		"IDMaps and NoIDMaps":          {User, []UnshareOption{IDMaps(own, own), NoIDMaps()}, "exclude each other"},
		"empty maps":                   {User, []UnshareOption{IDMaps(nil, own)}, "uid map"},
		"a bad gid map, named as such": {User, []UnshareOption{IDMaps(own, twice)}, "gid map: lines 0 and 1"},
		"both maps bad, both said":     {User, []UnshareOption{IDMaps(twice, nil)}, "gid map: it has no lines"},
	} {
		_, err := unshareConfig(c.types, c.opts)
		var e *Error
		switch {
		case c.want == "" && err != nil:
			t.Errorf("%s: %v", name, err)
		case c.want != "" && (!errors.Is(err, os.ErrInvalid) || !errors.As(err, &e) || e.Op != "unshare" || !strings.Contains(err.Error(), c.want)):
			t.Errorf("%s: %v, want an unshare error with %q", name, err, c.want)
		}
	}
}
