package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"path"
	"runtime"
	"slices"
	"strconv"
	"strings"

	"github.com/docker/go-connections/nat"
	"github.com/moby/buildkit/frontend/dockerfile/instructions"
	"github.com/moby/buildkit/frontend/dockerfile/parser"
	"github.com/moby/buildkit/frontend/dockerfile/shell"
	"github.com/moby/sys/signal"
)

// A plan is a Dockerfile that was read, with all that is unsupported refused already. It makes no system calls.
type plan struct {
	file   string
	stages []*stage
	escape rune
	args   map[string]string // of the command line
	global []string          // what is predefined, and ARG before the first FROM, K=V
}

type stage struct {
	instructions.Stage
	index int
	base  string // expanded
	from  *stage // that base names, or nil
	needs []int  // the stages before that it begins from or copies from
}

// at is an error with the place in the Dockerfile that it is about.
type at struct {
	file string
	line int
	what string // the instruction
	err  error
}

func (e *at) Error() string {
	if e.what == "" {
		return fmt.Sprintf("%s:%d: %v", e.file, e.line, e.err)
	}
	return fmt.Sprintf("%s:%d: %s: %v", e.file, e.line, e.what, e.err)
}
func (e *at) Unwrap() error { return e.err }

func line(r []parser.Range) int {
	if len(r) == 0 {
		return 0
	}
	return r[0].Start.Line
}

// in places err at the instruction, unless it has a place already.
func (p *plan) in(c instructions.Command, err error) error {
	var placed *at
	if err == nil || errors.As(err, &placed) {
		return err
	}
	return &at{p.file, line(c.Location()), strings.ToUpper(c.Name()), err}
}

func (p *plan) atStage(s *stage, err error) error {
	if err == nil {
		return nil
	}
	return &at{p.file, line(s.Location), "FROM " + s.BaseName, err}
}

// located turns an error of the parser into one with file and line.
func located(file string, err error) error {
	var l *parser.LocationError
	n := 0
	if errors.As(err, &l) && len(l.Locations) > 0 {
		n = line(l.Locations[0])
	}
	text := strings.TrimPrefix(err.Error(), fmt.Sprintf("dockerfile parse error on line %d: ", n))
	return &at{file, max(n, 1), "", errors.New(text)}
}

func unsupported(what string) error { return fmt.Errorf("%s is not supported", what) }

// readPlan reads a Dockerfile; target is the name or number of the last stage wanted, or "".
func readPlan(file string, r io.Reader, target string, args map[string]string) (p *plan, last *stage, err error) {
	text, err := io.ReadAll(r)
	if err != nil {
		return nil, nil, fmt.Errorf("%s: %w", file, err)
	}
	for i, line := range bytes.Split(text, []byte("\n")) { // the parser says another line
		if len(line) >= bufio.MaxScanTokenSize {
			return nil, nil, &at{file, i + 1, "", fmt.Errorf("a line longer than %d bytes is not supported", bufio.MaxScanTokenSize-1)}
		}
	}
	ast, err := parser.Parse(bytes.NewReader(text))
	if err != nil {
		return nil, nil, located(file, err)
	}
	p = &plan{file: file, escape: ast.EscapeToken, args: args}
	stages, meta, err := instructions.Parse(ast.AST, nil)
	if err != nil {
		return nil, nil, located(file, err)
	}
	declared := make(map[string]bool)
	for _, name := range proxies {
		declared[name], declared[strings.ToLower(name)] = true, true
	}
	if p.global, err = p.setArgs(nil, predefined(target, stages), nil, nil); err != nil {
		return nil, nil, err
	}
	for _, kv := range p.global {
		name, _, _ := strings.Cut(kv, "=")
		declared[name] = true
	}
	for i := range meta {
		if p.global, err = p.setArgs(p.global, meta[i].Args, nil, nil); err != nil {
			return nil, nil, p.in(&meta[i], err)
		}
		for _, a := range meta[i].Args {
			declared[a.Key] = true
		}
	}
	for i := range stages {
		s := &stage{Stage: stages[i], index: i}
		if s.base, err = p.expander(p.global)(s.BaseName); err != nil {
			return nil, nil, p.atStage(s, err)
		}
		if err := p.checkFrom(s); err != nil {
			return nil, nil, p.atStage(s, err)
		}
		for _, c := range s.Commands {
			if a, ok := c.(*instructions.ArgCommand); ok {
				for _, a := range a.Args {
					declared[a.Key] = true
				}
			}
			if err := p.check(c, s, false); err != nil {
				return nil, nil, p.in(c, err)
			}
		}
		p.stages = append(p.stages, s)
	}
	for name := range args {
		if !declared[name] {
			return nil, nil, fmt.Errorf("--build-arg %s: %s has no ARG of that name", name, file)
		}
	}
	if len(p.stages) == 0 {
		return nil, nil, &at{file, 1, "", errors.New("there is no FROM in it")}
	}
	last = p.stages[len(p.stages)-1]
	if target != "" {
		if last = p.stage(target, len(p.stages)); last == nil {
			return nil, nil, fmt.Errorf("--target %s: %s has no stage of that name", target, file)
		}
	}
	return p, last, nil
}

// stage finds one of the first n stages by its name or number.
func (p *plan) stage(name string, n int) *stage {
	for _, s := range slices.Backward(p.stages[:min(n, len(p.stages))]) {
		if strings.EqualFold(s.Name, name) && name != "" || strconv.Itoa(s.index) == name {
			return s
		}
	}
	return nil
}

func (s *stage) need(other *stage) {
	if !slices.Contains(s.needs, other.index) {
		s.needs = append(s.needs, other.index)
	}
}

func (p *plan) checkFrom(s *stage) error {
	if s.base == "" {
		return errors.New("the name is empty after expansion of its variables")
	}
	wanted, err := p.expander(p.global)(s.Platform)
	if err != nil {
		return err
	}
	if own := platform(); wanted != "" && wanted != own {
		return fmt.Errorf("--platform=%s is not supported; this machine is %s", wanted, own)
	}
	if s.from = p.stage(s.base, s.index); s.from != nil && !strings.EqualFold(s.from.Name, s.base) {
		s.from = nil // a number is no name here
	}
	if s.from != nil {
		s.need(s.from)
	}
	return nil
}

func platform() string { return "linux/" + runtime.GOARCH }

// predefined are the arguments that need no ARG before the first FROM. What they say that this builder cannot choose
// is empty.
func predefined(target string, stages []instructions.Stage) (args []instructions.KeyValuePairOptional) {
	add := func(key, value string) {
		args = append(args, instructions.KeyValuePairOptional{Key: key, Value: &value})
	}
	for _, side := range []string{"BUILD", "TARGET"} {
		add(side+"PLATFORM", platform())
		add(side+"OS", "linux")
		add(side+"ARCH", runtime.GOARCH)
		add(side+"OSVERSION", "")
		add(side+"VARIANT", "")
	}
	if target == "" && len(stages) > 0 {
		target = stages[len(stages)-1].Name
	}
	if target == "" {
		target = "default"
	}
	add("TARGETSTAGE", target)
	return args
}

// proxies need no ARG, also in small letters. A RUN has them, and neither its key nor the image.
var proxies = []string{"HTTP_PROXY", "HTTPS_PROXY", "FTP_PROXY", "NO_PROXY", "ALL_PROXY"}

// withProxies adds to env the proxies of the command line, under both of their names.
func (p *plan) withProxies(env []string) []string {
	for _, name := range proxies {
		lower := strings.ToLower(name)
		for _, given := range []string{name, lower} {
			if v, ok := p.args[given]; ok {
				env = setEnv(setEnv(env, name, v), lower, v)
			}
		}
	}
	return env
}

// check refuses, by name, what is not supported or wrong. It is asked before anything runs, when words with variables
// pass, and again by the step, when they are expanded.
func (p *plan) check(c instructions.Command, s *stage, expanded bool) error {
	// known is what a word means, if that is known yet.
	known := func(word string) (string, bool) {
		if expanded || strings.Contains(word, "$") {
			return word, expanded
		}
		word, err := p.expander(nil)(word) // quotes
		return word, err == nil
	}
	switch c := c.(type) {
	case *instructions.RunCommand:
		// The flags of mounts are read when variables are expanded. This is without, and so they may be wrong yet.
		if !expanded {
			if err := c.Expand(func(word string) (string, error) { return word, nil }); err != nil {
				if strings.Contains(c.String(), "$") {
					return nil
				}
				return err
			}
		}
		return checkRun(c)
	case *instructions.CopyCommand:
		if err := p.checkCopy(c, s); err != nil {
			return err
		}
		return checkPlaces(c.SourcesAndDest, c.Chown, c.Chmod, c.From == "", known)
	case *instructions.AddCommand:
		if err := checkAdd(c); err != nil {
			return err
		}
		return checkPlaces(c.SourcesAndDest, c.Chown, c.Chmod, true, known)
	case *instructions.ExposeCommand:
		if expanded || strings.Contains(strings.Join(c.Ports, ""), "$") { // a port may be several words, by a variable
			return nil
		}
		_, err := p.ports(c.Ports, nil)
		return err
	case *instructions.StopSignalCommand:
		name, ok := known(c.Signal)
		if n, err := signal.ParseSignal(name); ok && (err != nil || n < 1 || n > 64) {
			return fmt.Errorf("%s is no signal: write a name such as SIGTERM, or a number from 1 to 64", name)
		}
		return nil
	case *instructions.UserCommand:
		if name, ok := known(c.User); ok {
			return checkUser(name)
		}
		return nil
	case *instructions.OnbuildCommand:
		sub, err := parseTrigger(c.Expression)
		if err != nil {
			return err
		}
		return checkTrigger(p, sub, s)
	case *instructions.HealthCheckCommand:
		if c.Health.StartInterval != 0 {
			return unsupported("--start-interval")
		}
		return nil
	case *instructions.ArgCommand, *instructions.CmdCommand, *instructions.EntrypointCommand, *instructions.EnvCommand,
		*instructions.LabelCommand, *instructions.MaintainerCommand, *instructions.ShellCommand, *instructions.VolumeCommand,
		*instructions.WorkdirCommand:
		return nil
	}
	return unsupported("it")
}

func checkRun(c *instructions.RunCommand) error {
	if !c.PrependShell && (len(c.CmdLine) == 0 || c.CmdLine[0] == "") {
		return errors.New("there is no command")
	}
	for _, flag := range c.FlagsUsed {
		if flag != "mount" {
			return unsupported("--" + flag)
		}
	}
	for _, m := range instructions.GetMounts(c) {
		switch {
		case m.Type != instructions.MountTypeCache && m.Type != instructions.MountTypeTmpfs:
			return unsupported("--mount=type=" + string(m.Type))
		case m.From != "" || m.Source != "":
			return unsupported("from or source of --mount=type=" + string(m.Type))
		case m.CacheSharing != "" && m.CacheSharing != instructions.MountSharingShared:
			return unsupported("--mount=type=cache with sharing=" + string(m.CacheSharing))
		case m.ReadOnly:
			return unsupported("a read-only --mount=type=" + string(m.Type))
		case m.Mode != nil || m.UID != nil || m.GID != nil:
			return unsupported("mode, uid or gid of --mount=type=" + string(m.Type))
		case m.Target == "":
			return errors.New("--mount has no target")
		}
	}
	return nil
}

func (p *plan) checkCopy(c *instructions.CopyCommand, s *stage) error {
	switch {
	case c.Link:
		return unsupported("--link")
	case c.Parents:
		return unsupported("--parents")
	case len(c.ExcludePatterns) > 0:
		return unsupported("--exclude")
	}
	if c.From != "" {
		if len(c.SourceContents) > 0 {
			return unsupported("a heredoc along with --from")
		}
		if of := p.stage(c.From, s.index); of != nil {
			s.need(of)
		} else if n, err := strconv.Atoi(c.From); err == nil || strings.EqualFold(c.From, s.Name) {
			return fmt.Errorf("--from=%s: no stage before this one has that name or number (%d)", c.From, n)
		}
	}
	return nil
}

func checkAdd(c *instructions.AddCommand) error {
	switch {
	case c.Link:
		return unsupported("--link")
	case c.KeepGitDir != nil:
		return unsupported("--keep-git-dir")
	case c.Checksum != "":
		return unsupported("--checksum")
	case c.Unpack != nil:
		return unsupported("--unpack")
	case len(c.ExcludePatterns) > 0:
		return unsupported("--exclude")
	}
	for _, src := range c.SourcePaths {
		if strings.Contains(src, "://") || strings.HasPrefix(src, "git@") {
			return unsupported("the URL " + src)
		}
	}
	return nil
}

// checkPlaces checks what COPY and ADD have in common.
func checkPlaces(c instructions.SourcesAndDest, chown, chmod string, context bool, known func(string) (string, bool)) error {
	if chmod, ok := known(chmod); ok {
		if _, err := parseMode(chmod); err != nil {
			return err
		}
	}
	if chown, ok := known(chown); ok {
		if err := checkUser(chown); err != nil {
			return fmt.Errorf("--chown=%w", err)
		}
	}
	if context {
		if err := checkSources(c.SourcePaths); err != nil {
			return err
		}
	}
	n := len(c.SourcePaths) + len(c.SourceContents)
	if len(c.SourceContents) > 0 && n > len(c.SourceContents) {
		return unsupported("a heredoc along with files")
	}
	if dest, ok := known(c.DestPath); ok && n > 1 {
		return checkDest(dest)
	}
	return nil
}

// isDir says whether the end of a destination names a directory.
func isDir(dest string) bool {
	return strings.HasSuffix(dest, "/") || path.Base(dest) == "." || path.Base(dest) == ".."
}

// checkDest refuses a destination that could be a file.
func checkDest(dest string) error {
	if !isDir(dest) {
		return fmt.Errorf("with several sources %s has to end with /", dest)
	}
	return nil
}

// hasWildcard says whether a source is a pattern, which may match nothing.
func hasWildcard(src string) bool {
	escaped := false
	return strings.ContainsFunc(src, func(r rune) bool {
		meta := !escaped && strings.ContainsRune("*?[", r)
		escaped = !escaped && r == '\\'
		return meta
	})
}

// checkUser checks the form of a USER or --chown; whom it names only the image knows.
func checkUser(spec string) error {
	if strings.Count(spec, ":") > 1 {
		return fmt.Errorf("%s is no user: write USER or USER:GROUP, each a name or a number", spec)
	}
	return nil
}

// ports are the words of an EXPOSE as they are in images, where each is one port.
func (p *plan) ports(words, env []string) (ports []string, err error) {
	for _, word := range words {
		expanded, err := shell.NewLex(p.escape).ProcessWords(word, shell.EnvsFromSlice(env))
		if err != nil {
			return nil, err
		}
		for _, w := range expanded {
			all, err := nat.ParsePortSpec(w)
			if err != nil || strings.Contains(w, ":") {
				return nil, fmt.Errorf("%s is no port: write 80, 80/udp or 8000-8010, up to 65535", w)
			}
			for _, m := range all {
				ports = append(ports, string(m.Port))
			}
		}
	}
	return ports, nil
}

// parseMode reads a --chmod; without one there is no mode.
func parseMode(chmod string) (*uint32, error) {
	if chmod == "" {
		return nil, nil
	}
	mode, err := strconv.ParseUint(chmod, 8, 32)
	if err != nil || mode > 0o7777 {
		return nil, fmt.Errorf("--chmod=%s is not supported: write an octal number up to 7777", chmod)
	}
	m := uint32(mode)
	return &m, nil
}

// checkSources refuses "..", which older builders ignored.
func checkSources(paths []string) error {
	for _, src := range paths {
		if slices.Contains(strings.Split(src, "/"), "..") {
			return fmt.Errorf("%s leads outside of the build context, from which all is copied", src)
		}
	}
	return nil
}

// parseTrigger reads the instruction of an ONBUILD.
func parseTrigger(text string) (instructions.Command, error) {
	ast, err := parser.Parse(strings.NewReader(text))
	if err != nil {
		return nil, err
	}
	if len(ast.AST.Children) != 1 {
		return nil, fmt.Errorf("ONBUILD %q is not one instruction", text)
	}
	return instructions.ParseCommand(ast.AST.Children[0])
}

// checkTrigger is check for what an ONBUILD says: the stages that it could name are those of another Dockerfile.
func checkTrigger(p *plan, c instructions.Command, s *stage) error {
	switch c := c.(type) {
	case *instructions.OnbuildCommand:
		return errors.New("ONBUILD ONBUILD means nothing")
	case *instructions.CopyCommand:
		if c.From != "" {
			return unsupported("ONBUILD COPY --from")
		}
	}
	if err := p.check(c, s, false); err != nil {
		return fmt.Errorf("ONBUILD %s: %w", strings.ToUpper(c.Name()), err)
	}
	return nil
}

// expander replaces variables by what env has, a list of K=V.
func (p *plan) expander(env []string) instructions.SingleWordExpander {
	lex := shell.NewLex(p.escape)
	return func(word string) (string, error) {
		out, _, err := lex.ProcessWord(word, shell.EnvsFromSlice(env))
		return out, err
	}
}

// setArgs adds those of an ARG to args: by the command line, by the default, or by what is global. Defaults mean the
// variables of env, and those set before.
func (p *plan) setArgs(args []string, set []instructions.KeyValuePairOptional, global, env []string) ([]string, error) {
	for _, a := range set {
		v, ok := p.args[a.Key]
		if !ok && a.Value != nil {
			var err error
			if v, err = p.expander(slices.Concat(args, env))(*a.Value); err != nil {
				return nil, err
			}
			ok = true
		}
		if !ok {
			v, ok = lookEnv(global, a.Key)
		}
		if ok {
			args = setEnv(args, a.Key, v)
		}
	}
	return args, nil
}

// setEnv replaces or adds a variable, in a copy of env.
func setEnv(env []string, key, value string) []string {
	env = slices.Clone(env)
	for i, kv := range env {
		if k, _, _ := strings.Cut(kv, "="); k == key {
			env[i] = key + "=" + value
			return env
		}
	}
	return append(env, key+"="+value)
}

func lookEnv(env []string, key string) (string, bool) {
	for _, kv := range slices.Backward(env) {
		if k, v, ok := strings.Cut(kv, "="); ok && k == key {
			return v, true
		}
	}
	return "", false
}

// code is the instruction as history and progress show it.
func code(c instructions.Command) string {
	if s, ok := c.(fmt.Stringer); ok {
		return s.String()
	}
	return strings.ToUpper(c.Name())
}
