package errtree

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"github.com/gonso/gonso/internal/codec"
)

// ErrMalformed is matched by every error about bytes that [Marshal] does not make.
var ErrMalformed = errors.New("malformed error")

func malformation(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrMalformed, fmt.Sprintf(format, args...))
}

// Caps of an error tree. Beyond them an error loses its children or the end of its text, visibly.
const (
	MaxSize  = 1 << 20  // bytes of an encoded tree
	MaxText  = 64 << 10 // bytes of one error's text
	MaxDepth = 64       // errors wrapping each other
	MaxNodes = 256      // errors in a tree

	maxFields = 64 << 10 // of one error's encoded fields
	shortText = 256      // of the text of errors when there is no more room
	maxNode   = 2 << 10  // of a node whose text and fields are short; all MaxNodes of them have room
)

// Kinds of nodes, as PROTOCOL.md lists them.
const (
	nodeNil      = iota // no error: a wrapped error that is nil
	nodeErrno           // uvarint number
	nodeSentinel        // string name
	nodeTyped           // string name, string fields, string text, answers, children
	nodeOpaque          // string type, string text, answers, sentinels matched, no children
	nodeOne             // as nodeOpaque, and one child: Unwrap() error
	nodeMany            // as nodeOpaque, and children: Unwrap() []error
)

// Marshal encodes the tree of errors whose root is err. errors.Is and errors.As find the same
// errors in the decoded tree as in err:
//
//   - syscall.Errno and registered sentinels come back as themselves,
//   - registered types (fs.PathError, os.LinkError, os.SyscallError and what [RegisterType] was
//     told) as values of their type,
//   - all others as errors of a type of this package, with their text, the name of their type
//     ([TypeName]), what they wrap, what registered sentinel an Is method of theirs matches, and
//     what their Timeout and Temporary methods say. Other methods of theirs are gone.
//
// The text of every error in the tree stays the same. Marshal accepts every error, also an error
// that has a cycle, is too large, or has methods that panic.
func Marshal(err error) []byte {
	e := errorEncoder{nodes: MaxNodes, room: MaxSize - MaxNodes*maxNode}
	return e.append(nil, err, 0)
}

type errorEncoder struct {
	nodes int
	room  int // for texts longer than shortText
}

// take returns how many of n bytes have room.
func (e *errorEncoder) take(n, limit int) int {
	n = min(n, limit)
	if n > e.room {
		n = min(n, shortText)
	} else {
		e.room -= n
	}
	return n
}

func (e *errorEncoder) append(b []byte, err error, depth int) []byte {
	if err == nil {
		return append(b, nodeNil)
	}
	e.nodes--
	if no, ok := errnoOf(err); ok {
		return binary.AppendUvarint(append(b, nodeErrno), no)
	}
	if name := sentinelName(err); name != "" {
		return codec.AppendString(append(b, nodeSentinel), name)
	}
	text, ok := safeText(err)
	text = codec.Shorten(text, e.take(len(text), MaxText))
	opens := ok && depth < MaxDepth // the errors that it wraps are encoded, too
	if opens {
		if typed, ok := e.appendTyped(b, err, text, depth); ok {
			return typed
		}
	}
	return e.appendOpaque(b, err, text, opens, depth)
}

// appendTyped appends an error whose type is registered, if there is room for it.
func (e *errorEncoder) appendTyped(b []byte, err error, text string, depth int) ([]byte, bool) {
	et := typeOfError(err)
	if et == nil {
		return nil, false
	}
	fields, wrapped, ok := safeEncode(et, err)
	if !ok || len(wrapped) > e.nodes || e.take(len(fields), maxFields) != len(fields) {
		return nil, false
	}
	b = codec.AppendString(append(b, nodeTyped), et.name)
	b = codec.AppendString(b, fields)
	b = codec.AppendString(b, text)
	b = append(b, byte(answersOf(err)))
	return e.appendAll(b, wrapped, depth), true
}

// appendOpaque appends the facts that are known about every error.
func (e *errorEncoder) appendOpaque(b []byte, err error, text string, opens bool, depth int) []byte {
	kind, wrapped := byte(nodeOpaque), []error(nil)
	if opens {
		kind, wrapped = unwrap(err)
	}
	if len(wrapped) > e.nodes {
		wrapped = wrapped[:max(e.nodes, 0)]
	}
	if len(wrapped) == 0 {
		kind = nodeOpaque
	}
	b = codec.AppendString(append(b, kind), codec.Shorten(TypeName(err), shortText))
	b = codec.AppendString(b, text)
	b = append(b, byte(answersOf(err)))
	b = appendMatches(b, err)
	switch kind {
	case nodeOne:
		return e.append(b, wrapped[0], depth+1)
	case nodeMany:
		return e.appendAll(b, wrapped, depth)
	}
	return b
}

func (e *errorEncoder) appendAll(b []byte, errs []error, depth int) []byte {
	b = binary.AppendUvarint(b, uint64(len(errs)))
	e.nodes -= len(errs) // reserved, so that the first error leaves nodes for the others
	for _, err := range errs {
		e.nodes++
		b = e.append(b, err, depth+1)
	}
	return b
}

// maxMatches bounds the sentinels that one error can match.
const maxMatches = 8

func appendMatches(b []byte, err error) []byte {
	names := safeMatches(err)
	slices.Sort(names)
	names = names[:min(len(names), maxMatches)]
	b = append(b, byte(len(names)))
	for _, name := range names {
		b = codec.AppendString(b, name)
	}
	return b
}

func safeMatches(err error) (names []string) {
	defer func() {
		if recover() != nil {
			names = nil
		}
	}()
	if is, ok := err.(interface{ Is(error) bool }); ok {
		return matching(is.Is)
	}
	return nil
}

func safeEncode(et *errorType, err error) (fields []byte, wrapped []error, ok bool) {
	defer func() {
		if recover() != nil {
			ok = false
		}
	}()
	fields, wrapped, encErr := et.encode(err)
	return fields, wrapped, encErr == nil
}

// unwrap returns the errors that errors.Is would find inside err.
func unwrap(err error) (kind byte, wrapped []error) {
	defer func() {
		if recover() != nil {
			kind, wrapped = nodeOpaque, nil
		}
	}()
	switch err := err.(type) {
	case interface{ Unwrap() error }:
		if w := err.Unwrap(); w != nil {
			return nodeOne, []error{w}
		}
	case interface{ Unwrap() []error }:
		return nodeMany, slices.DeleteFunc(slices.Clone(err.Unwrap()), func(err error) bool { return err == nil })
	}
	return nodeOpaque, nil
}

// Unmarshal decodes an error that Marshal has encoded. decoded is nil if that error was nil. b is
// not trusted: if it is malformed, malformed matches ErrMalformed.
func Unmarshal(b []byte) (decoded, malformed error) {
	if len(b) > MaxSize {
		return nil, malformation("an error of %d bytes", len(b))
	}
	d := errorDecoder{b: b, nodes: MaxNodes, room: maxDecoded}
	err := d.node(0)
	if d.bad == nil && len(d.b) > 0 {
		d.fail("bytes behind an error")
	}
	if d.bad != nil {
		return nil, d.bad
	}
	return err, nil
}

type errorDecoder struct {
	b     []byte
	nodes int
	room  int64 // for fields
	bad   error // sticky
}

func (d *errorDecoder) fail(format string, args ...any) {
	if d.bad == nil {
		d.bad = malformation(format, args...)
	}
	d.b = nil
}

func (d *errorDecoder) byte() byte {
	if len(d.b) == 0 {
		d.fail("error cut short")
		return 0
	}
	c := d.b[0]
	d.b = d.b[1:]
	return c
}

func (d *errorDecoder) bytes(limit int) []byte {
	s, rest, err := codec.CutString(d.b, limit)
	if err != nil {
		d.fail("within an error: %v", err)
	}
	d.b = rest
	return s
}

func (d *errorDecoder) string(limit int) string { return string(d.bytes(limit)) }

func (d *errorDecoder) uvarint() uint64 {
	v, n := binary.Uvarint(d.b)
	if n <= 0 {
		d.fail("error cut short")
		return 0
	}
	d.b = d.b[n:]
	return v
}

func (d *errorDecoder) node(depth int) error {
	kind := d.byte()
	if kind == nodeNil {
		return nil
	}
	if d.nodes--; d.nodes < 0 || depth > MaxDepth {
		d.fail("errors nested too deep, or too many")
		return nil
	}
	switch kind {
	case nodeErrno:
		return d.errno()
	case nodeSentinel:
		return d.sentinel()
	case nodeTyped:
		name, fields, text := d.string(maxErrorName), d.bytes(maxFields), d.string(MaxText)
		return d.typed(name, fields, text, d.answers(), d.children(depth))
	case nodeOpaque, nodeOne, nodeMany:
		return d.opaque(kind, depth)
	}
	d.fail("error of unknown kind %d", kind)
	return nil
}

func (d *errorDecoder) errno() error {
	err := errnoError(d.uvarint())
	if text, ok := safeText(err); !ok {
		return &opaque{text: text, typ: "syscall.Errno"}
	}
	return err
}

func (d *errorDecoder) sentinel() error {
	name := d.string(maxErrorName)
	err := sentinel(name)
	if err == nil {
		d.fail("unknown error %.64q", name)
	}
	return err
}

func (d *errorDecoder) opaque(kind byte, depth int) error {
	o := opaque{typ: d.string(shortText), text: d.string(MaxText)}
	a := d.answers()
	o.matches = d.matches()
	switch kind {
	case nodeOne:
		w := d.node(depth + 1)
		if w == nil {
			d.fail("an error wraps nothing")
		}
		return a.give(&opaqueOne{o, w})
	case nodeMany:
		w := d.children(depth)
		if slices.Contains(w, nil) {
			d.fail("an error wraps nothing")
		}
		return a.give(&opaqueMany{o, w})
	}
	return a.give(&o)
}

func (d *errorDecoder) answers() answers {
	a := answers(d.byte())
	if !a.valid() {
		d.fail("answers %#x, which no error gives", byte(a))
		return 0
	}
	return a
}

func (d *errorDecoder) children(depth int) []error {
	n := d.uvarint()
	if n > uint64(min(len(d.b), max(d.nodes, 0))) {
		d.fail("an error wraps %d errors", n)
	}
	if d.bad != nil || n == 0 {
		return nil
	}
	errs := make([]error, n)
	for i := range errs {
		errs[i] = d.node(depth + 1)
	}
	return errs
}

func (d *errorDecoder) matches() (errs []error) {
	n := d.byte()
	if n > maxMatches {
		d.fail("an error matches %d others", n)
		return nil
	}
	for range n {
		err := d.sentinel()
		if err == nil {
			return nil
		}
		errs = append(errs, err)
	}
	return errs
}

// typed rebuilds an error of a registered type, and tries it out: our callers will print it.
// a counts if the error comes to be of no known type.
func (d *errorDecoder) typed(name string, fields []byte, text string, a answers, wrapped []error) (err error) {
	if d.bad != nil {
		return nil
	}
	et := typeNamed(name)
	if et == nil {
		d.fail("unknown type of error %.64q", name)
		return nil
	}
	unknown := func() error { // its text and the errors that it wraps remain
		wrapped = slices.DeleteFunc(wrapped, func(err error) bool { return err == nil })
		return a.give(&opaqueMany{opaque{text: text, typ: cmp.Or(et.goType, et.name)}, wrapped})
	}
	refuse := func(why string) error {
		if et.goType != "" {
			return unknown()
		}
		d.fail("error of type %s: %s", name, codec.Shorten(why, shortText))
		return nil
	}
	defer func() {
		if r := recover(); r != nil {
			err = refuse("panic: " + codec.Sprint(r))
		}
	}()
	err, bad := et.decode(fields, slices.Clone(wrapped), &d.room)
	if bad == errRoom {
		return unknown()
	}
	if bad == nil && err == nil {
		bad = errors.New("nothing decoded")
	}
	if bad != nil {
		return refuse(bad.Error())
	}
	got, ok := safeText(err)
	if !ok {
		return refuse(got)
	}
	if got != text {
		err = withText(err, text)
	}
	return answersOf(originalOf(err)).give(err)
}
