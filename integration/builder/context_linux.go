package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/moby/patternmatcher"
	"github.com/moby/patternmatcher/ignorefile"

	"github.com/gonso/gonso/gonso"
)

// This file says which files a COPY or ADD names: all ways to a file of the build context go through choose, and obey
// .dockerignore.

// openContext opens the directory that is built from. What file.dockerignore says, or else .dockerignore, is not in it.
func (b *builder) openContext(ctx context.Context, dir, file string) error {
	real, err := absolute(dir)
	if err != nil {
		return err
	}
	if b.ignore, err = readIgnore(ctx, file+".dockerignore", filepath.Join(dir, ".dockerignore")); err != nil {
		return err
	}
	b.context, err = os.Open(real)
	return err
}

// readIgnore reads the first of the files that is there.
func readIgnore(ctx context.Context, files ...string) (patterns []string, err error) {
	for _, file := range files {
		b, err := readText(ctx, file)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		for i, line := range slices.Collect(strings.Lines(string(b))) {
			read, err := ignorefile.ReadAll(strings.NewReader(line))
			if err == nil && len(read) > 0 {
				err = checkPattern(read[0])
			}
			if err != nil {
				return nil, &at{file, i + 1, "", fmt.Errorf("%s: %w", strings.TrimSpace(line), err)}
			}
			patterns = append(patterns, read...)
		}
		return patterns, nil
	}
	return nil, nil
}

// checkPattern matches with a pattern, as that alone shows all that is wrong with it: once as it is, and once after a
// "*", without which an exception ("!") is not looked at.
func checkPattern(pattern string) error {
	for _, patterns := range [][]string{{pattern}, {"*", pattern}} {
		i, err := newIgnorer(patterns)
		if err == nil {
			_, err = i.matches("/x")
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// An ignorer knows what .dockerignore says.
type ignorer struct{ *patternmatcher.PatternMatcher }

func newIgnorer(patterns []string) (ignorer, error) {
	m, err := patternmatcher.New(patterns)
	return ignorer{m}, err
}

// matches says whether the file is excluded; name is absolute.
func (i ignorer) matches(name string) (bool, error) {
	if name == "/" {
		return false, nil
	}
	return i.MatchesOrParentMatches(strings.TrimPrefix(name, "/"))
}

// excludes says whether name is excluded with all that is below it: there may be exceptions ("!").
func (i ignorer) excludes(name string) (bool, error) {
	all, err := i.matches(name)
	if err != nil || !all || !i.Exclusions() {
		return all, err
	}
	err = filepath.WalkDir(name, func(sub string, _ fs.DirEntry, err error) error {
		if err == nil {
			all, err = i.matches(sub)
		}
		if err == nil && !all {
			return fs.SkipAll
		}
		return err
	})
	return all, err
}

var chooseFunc = gonso.Register("builder.choose", func(_ context.Context, c choice) ([]string, error) {
	i, err := newIgnorer(c.Ignore)
	if err != nil {
		return nil, err
	}
	return choose(c, i)
})

// A choice is what an instruction names below the root.
type choice struct {
	Sources []string // patterns
	Ignore  []string // lines of a .dockerignore
	Dest    string   // as it is written
}

// choose returns the paths of what is named, without links on them. So no link leads to what is excluded.
func choose(c choice, i ignorer) (found []string, err error) {
	for _, src := range c.Sources {
		names, err := filepath.Glob(path.Join("/", src))
		if err != nil {
			return nil, fmt.Errorf("%s: %w", src, err)
		}
		excluded, before := false, len(found)
		for _, name := range names {
			drop, err := i.excludes(name)
			if err == nil && !drop {
				if name, err = follow(name); err == nil {
					drop, err = i.excludes(name)
				}
			}
			if err != nil {
				return nil, err
			}
			if excluded = excluded || drop; !drop {
				found = append(found, name)
			}
		}
		switch {
		case len(found) > before || hasWildcard(src): // a pattern may match nothing
		case excluded:
			return nil, fmt.Errorf("%s is excluded by .dockerignore", src)
		default:
			return nil, fmt.Errorf("%s is not there", src)
		}
	}
	if len(found) > 1 {
		err = checkDest(c.Dest)
	}
	return found, err
}

func follow(name string) (string, error) {
	real, err := filepath.EvalSymlinks(name)
	if to, lerr := os.Readlink(name); err != nil && lerr == nil {
		err = fmt.Errorf("%s is a link to %s, which is not there: links lead nowhere outside", name[1:], to)
	}
	return real, err
}
