//go:build linux

package launcher

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// A List is a sequence of system calls for a launcher to make, one after the other. It is data:
// making, printing and encoding it calls nothing. The zero List has no steps; each method that is
// named after a system call, or after its purpose, appends one step or several. Mistakes are
// reported by Encode.
//
// The launcher stops at the first step that does not have the expected result, and exits with
// status 127. The expected result is success, unless the method says otherwise. At the end of the
// list it exits with status 0.
type List struct {
	steps   []*Step
	encoded []byte // by Finish
}

// A Step is one system call of a List.
type Step struct {
	list      *List
	index     int
	name      string
	nr        uintptr
	args      []arg
	low, span uintptr // expected are results from low to low+span
	exact     bool    // expected is low
	want      string  // if not exact: the expected result in words
	tolerate  [2]syscall.Errno
	tolerates int // errors
	when      *Step
	out       uintptr // field of the header that gets the result, if not 0
	reports   bool    // writes a record
}

// A Value is an argument of a step: an FD, or a Step, which stands for its own result.
type Value interface{ arg() arg }

// An FD is the number of a descriptor of the launcher.
type FD int

func (fd FD) arg() arg {
	if fd == unix.AT_FDCWD {
		return symbol(unix.AT_FDCWD, "AT_FDCWD")
	}
	return number(int(fd))
}

func (s *Step) arg() arg { return arg{result: s} }

// Index returns the place of s in its list, from 0: see [StepError].
func (s *Step) Index() int { return s.index }

// Tolerate makes the launcher go on when the step fails with one of errnos, at most two, and returns s.
func (s *Step) Tolerate(errnos ...syscall.Errno) *Step {
	for _, e := range errnos {
		if s.tolerates < len(s.tolerate) { // else Encode says so
			s.tolerate[s.tolerates] = e
		}
		s.tolerates++
	}
	return s
}

// When makes the launcher skip s if the result of an earlier step is 0, and returns s. For most calls, other results are
// tolerated failures; for Clone, they are what the original process sees. The result of a skipped step is 0.
func (s *Step) When(earlier *Step) *Step {
	s.when = earlier
	return s
}

// When is Step.When for the steps from an index on that have no condition yet.
func (l *List) When(from int, earlier *Step) {
	for _, s := range l.steps[from:] {
		if s.when == nil {
			s.when = earlier
		}
	}
}

// String returns s as strace would print it.
func (s *Step) String() string {
	var b strings.Builder
	if s.when != nil {
		fmt.Fprintf(&b, "if #%d: ", s.when.index)
	}
	b.WriteString(s.name + "(")
	for i, a := range s.args {
		if i > 0 {
			b.WriteString(", ")
		}
		b.WriteString(a.String())
	}
	b.WriteString(")" + s.want)
	if s.exact {
		b.WriteString(" = " + strconv.Itoa(int(s.low)))
	}
	for _, e := range s.tolerate[:min(s.tolerates, len(s.tolerate))] {
		b.WriteString(" or " + errnoName(e))
	}
	return b.String()
}

// String returns l with one line a step: its index, the call, the result that is expected, and failures that are tolerated.
// #3 means the result of step 3.
func (l *List) String() string {
	var b strings.Builder
	for i, s := range l.steps {
		fmt.Fprintf(&b, "%d %v\n", i, s)
	}
	return b.String()
}

// Len returns the number of steps.
func (l *List) Len() int { return len(l.steps) }

// add appends a step that is expected to succeed with result 0.
func (l *List) add(name string, nr uintptr, args ...arg) *Step {
	s := &Step{list: l, index: len(l.steps), name: name, nr: nr, args: args, exact: true}
	l.steps, l.encoded = append(l.steps, s), nil
	return s
}

// gives makes n the expected result.
func (s *Step) gives(n int) *Step {
	s.expects(uintptr(n), 0, "").exact = true
	return s
}

const maxErrno = 4095

// givesAny makes every result expected that is no error: descriptors, ids.
func (s *Step) givesAny() *Step {
	return s.expects(0, ^uintptr(maxErrno), " >= 0")
}

// givesNone is for steps that do not return: every result is a failure.
func (s *Step) givesNone() *Step {
	return s.expects(1, 0, "") // no call returns 1 instead
}

// expects makes the results from low to low+span the expected ones; want says the same in words.
func (s *Step) expects(low, span uintptr, want string) *Step {
	s.low, s.span, s.want, s.exact = low, span, want, false
	return s
}

// arg is an argument: a constant, or the address of data, or the content of a header field, or the
// result of a step. Its text is made only when somebody prints it: nearly every list is made,
// encoded and never printed.
type arg struct {
	value  uintptr
	data   *data
	at     int // offset in data
	field  uintptr
	result *Step

	text  string        // as printed
	names []name        // or out of these, of all flags in value
	one   bool          // or of value itself
	print func() string // or this
}

// String returns a as strace would print it.
func (a arg) String() string {
	switch {
	case a.print != nil:
		return a.print()
	case a.text != "":
		return a.text
	case a.one:
		return nameOf(int(a.value), a.names)
	case a.names != nil:
		return flagNames(int(a.value), a.names)
	case a.result != nil:
		return "#" + strconv.Itoa(a.result.index)
	case a.data != nil:
		return strconv.Quote(string(a.data.bytes[:len(a.data.bytes)-1]))
	}
	return strconv.Itoa(int(a.value))
}

// data is memory of the launcher, with addresses in it.
type data struct {
	bytes    []byte
	pointers []pointer
	text     bool // only the last byte may be NUL
}

// pointer says that the word at an offset is the address of data, or of the result of a step.
type pointer struct {
	at     int
	data   *data
	result *Step
}

func number(n int) arg                      { return arg{value: uintptr(n)} }
func symbol(n int64, text string) arg       { return arg{text: text, value: uintptr(n)} }
func memory(d *data, text string) arg       { return arg{text: text, data: d} }
func field(offset uintptr, name string) arg { return arg{text: name, field: offset} }

// described is memory that is printed as fmt would.
func described(d *data, format string, args ...any) arg {
	return arg{data: d, print: func() string { return fmt.Sprintf(format, args...) }}
}

var (
	null    = symbol(0, "NULL")
	argv    = field(unsafe.Offsetof(header{}.argv), "argv")
	envp    = field(unsafe.Offsetof(header{}.envp), "envp")
	status  = field(unsafe.Offsetof(header{}.status), "status")
	scratch = symbol(dataBase+int64(unsafe.Offsetof(header{}.scratch)), "scratch")
)

func text(s string) arg {
	return memory(&data{bytes: append([]byte(s), 0), text: true}, "")
}

// textOrNull is for calls to which an absent string is NULL.
func textOrNull(s string) arg {
	if s == "" {
		return null
	}
	return text(s)
}

// words returns data of machine words.
func words(w ...uintptr) *data { return &data{bytes: appendWords(nil, w)} }

// quads returns data of numbers that have 64 bits on all architectures.
func quads(q ...uint64) *data {
	d := new(data)
	for _, v := range q {
		d.bytes = binary.NativeEndian.AppendUint64(d.bytes, v)
	}
	return d
}

// ints returns data of numbers that have 32 bits on all architectures.
func ints(i ...uint32) *data {
	d := new(data)
	for _, v := range i {
		d.bytes = binary.NativeEndian.AppendUint32(d.bytes, v)
	}
	return d
}

func appendWords(b []byte, words []uintptr) []byte {
	for _, w := range words {
		b = append(b, make([]byte, wordSize)...)
		putWord(b[len(b)-wordSize:], w)
	}
	return b
}

func putWord(b []byte, w uintptr) {
	if wordSize == 4 {
		binary.NativeEndian.PutUint32(b, uint32(w))
	} else {
		binary.NativeEndian.PutUint64(b, uint64(w))
	}
}

func getWord(b []byte) uintptr {
	if wordSize == 4 {
		return uintptr(binary.NativeEndian.Uint32(b))
	}
	return uintptr(binary.NativeEndian.Uint64(b))
}

// stepAddr returns the address of a step. The launcher names steps by their addresses in its
// records.
func stepAddr(index int) uintptr {
	return dataBase + unsafe.Sizeof(header{}) + uintptr(index)*unsafe.Sizeof(step{})
}

// Finish encodes l once for all later uses, also several at the same time. l must not be changed
// any more.
func (l *List) Finish() (err error) {
	l.encoded, err = l.Encode()
	return err
}

// Encode returns l as the launcher reads it.
func (l *List) Encode() ([]byte, error) {
	if l.encoded != nil {
		return l.encoded, nil
	}
	e := encoder{base: stepAddr(len(l.steps)), constants: make(map[uintptr]uintptr, len(l.steps)), memory: make(map[*data]uintptr), results: make(map[*Step]uintptr)}
	steps := make([]step, len(l.steps))
	for i, s := range l.steps {
		if err := e.encode(s, &steps[i]); err != nil {
			return nil, fmt.Errorf("launcher: step %d %v: %w", i, s, err)
		}
	}
	for i, s := range l.steps { // only now is it known which results are used
		addr, ok := e.results[s]
		switch {
		case s.out != 0:
			addr = dataBase + s.out
		case !ok:
			addr = scratch.value
		}
		steps[i].out = addr
	}
	h := header{end: e.end(), endSteps: e.base, status: uintptr(StatusFD)}
	list := appendWords(make([]byte, 0, e.end()-dataBase), (*[unsafe.Sizeof(h) / wordSize]uintptr)(unsafe.Pointer(&h))[:])
	for i := range steps {
		list = appendWords(list, (*[unsafe.Sizeof(step{}) / wordSize]uintptr)(unsafe.Pointer(&steps[i]))[:])
	}
	list = append(list, e.tail...)
	if len(list) > maxList {
		return nil, fmt.Errorf("launcher: list of %d steps takes %d bytes, more than %d", len(steps), len(list), maxList)
	}
	return list, nil
}

// encoder collects the data after the steps: constants, strings, results.
type encoder struct {
	base      uintptr // address of tail
	tail      []byte
	constants map[uintptr]uintptr // their addresses
	small     [64]uintptr         // the addresses of most of them
	memory    map[*data]uintptr   // several steps may refer to the same memory
	results   map[*Step]uintptr   // addresses of results that are referred to
}

func (e *encoder) end() uintptr { return e.base + uintptr(len(e.tail)) }

// add returns the address that b gets.
func (e *encoder) add(b []byte) uintptr {
	addr := e.end()
	e.tail = append(e.tail, b...)
	e.tail = append(e.tail, make([]byte, -len(e.tail)&(wordSize-1))...)
	return addr
}

func (e *encoder) constant(v uintptr) uintptr {
	if v < uintptr(len(e.small)) && e.small[v] != 0 {
		return e.small[v]
	}
	addr, ok := e.constants[v]
	if !ok {
		addr = e.end()
		e.constants[v] = addr
		e.tail = appendWords(e.tail, []uintptr{v})
	}
	if v < uintptr(len(e.small)) {
		e.small[v] = addr
	}
	return addr
}

func (e *encoder) result(of, in *Step) (uintptr, error) {
	if of.list != in.list || of.index >= in.index {
		return 0, errors.New("refers to a step that is not an earlier one of the same list")
	}
	if of.out != 0 {
		return dataBase + of.out, nil
	}
	addr, ok := e.results[of]
	if !ok {
		addr = e.add(make([]byte, wordSize))
		e.results[of] = addr
	}
	return addr, nil
}

func (e *encoder) data(d *data, in *Step) (uintptr, error) {
	if addr, ok := e.memory[d]; ok {
		return addr, nil
	}
	if d.text && strings.IndexByte(string(d.bytes), 0) != len(d.bytes)-1 {
		return 0, errors.New("NUL in string")
	}
	b := append([]byte(nil), d.bytes...)
	for _, p := range d.pointers {
		var addr uintptr
		var err error
		if p.result != nil {
			addr, err = e.result(p.result, in)
		} else {
			addr, err = e.data(p.data, in)
		}
		if err != nil {
			return 0, err
		}
		putWord(b[p.at:], addr)
	}
	e.memory[d] = e.add(b)
	return e.memory[d], nil
}

// arg returns the address of the word that holds a.
func (e *encoder) arg(a arg, in *Step) (uintptr, error) {
	switch {
	case a.result != nil:
		return e.result(a.result, in)
	case a.field != 0:
		return dataBase + a.field, nil
	case a.data != nil:
		addr, err := e.data(a.data, in)
		if err != nil {
			return 0, err
		}
		return e.constant(addr + uintptr(a.at)), nil
	}
	return e.constant(a.value), nil
}

func (e *encoder) encode(s *Step, to *step) (err error) {
	if s.tolerates > len(to.tolerate) {
		return fmt.Errorf("tolerates %d errors, more than %d", s.tolerates, len(to.tolerate))
	}
	*to = step{nr: s.nr, low: s.low, span: s.span, tolerate: [2]uintptr{s.low, s.low}}
	for i, errno := range s.tolerate[:s.tolerates] {
		to.tolerate[i] = -uintptr(errno)
	}
	if s.when == nil {
		to.when = e.constant(1)
	} else if to.when, err = e.result(s.when, s); err != nil {
		return err
	}
	args := s.kernelArgs()
	for i := range to.args {
		var a arg // calls with fewer arguments get zeros
		if i < len(args) {
			a = args[i]
		}
		if to.args[i], err = e.arg(a, s); err != nil {
			return err
		}
	}
	return nil
}
