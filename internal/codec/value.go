package codec

import (
	"errors"
	"fmt"
	"os"
	"reflect"
	"time"

	"github.com/fxamacker/cbor/v2"
)

// MaxDepth is how deep arrays, maps and structs of a value may lie within each other.
const MaxDepth = 256

// decodeDepth leaves room for what the encoder need not look at: types whose depth is fixed.
const decodeDepth = MaxDepth + 64

// ErrValue is matched by every [ValueError].
var ErrValue = errors.New("value cannot cross")

// A ValueError tells which part of a value cannot cross, or did not. It matches [ErrValue].
type ValueError struct {
	Op   string // "encode" or "decode"
	Type string // the Go type that is to blame, or that was asked for
	Root string // the Go type of the whole value
	Path string // to the part within it, like "Hooks[].Run"; "" for the whole
	Why  string // may be ""

	Closed bool // a file is closed: it matches os.ErrClosed too
}

func (e *ValueError) Error() string {
	s := "cannot " + e.Op + " " + e.Type
	if e.Path != "" {
		s += " in field " + e.Path + " of " + e.Root
	}
	if e.Why != "" {
		s += ": " + e.Why
	}
	return s
}

func (e *ValueError) Is(target error) bool {
	return target == ErrValue || target == os.ErrClosed && e.Closed
}

// in puts a step of the path in front.
func (e *ValueError) in(step string) *ValueError {
	if e.Path != "" && e.Path[0] != '[' {
		step += "."
	}
	e.Path = step + e.Path
	return e
}

var (
	encMode         = must(encOptions(cbor.TimeRFC3339Nano).EncMode())
	encModeUTC      = must(encOptions(cbor.TimeRFC3339NanoUTC).EncMode())
	encModeFiles    = must(encOptions(cbor.TimeRFC3339Nano).EncModeWithTags(fileTags))
	encModeFilesUTC = must(encOptions(cbor.TimeRFC3339NanoUTC).EncModeWithTags(fileTags))
	decMode         = must(decOptions().DecMode())
	decModeFiles    = must(decOptions().DecModeWithTags(fileTags))
)

func decOptions() cbor.DecOptions {
	return cbor.DecOptions{
		DupMapKey:         cbor.DupMapKeyEnforcedAPF,
		MaxNestedLevels:   decodeDepth,
		MaxArrayElements:  MaxValue, // an element has a byte at least; what it becomes is bounded by scan
		MaxMapPairs:       MaxValue / 2,
		IndefLength:       cbor.IndefLengthForbidden,
		IntDec:            cbor.IntDecConvertSignedOrBigInt,
		ExtraReturnErrors: cbor.ExtraDecErrorUnknownField,
		DefaultMapType:    reflect.TypeFor[map[string]any](),
		UTF8:              cbor.UTF8DecodeInvalid,
		FieldNameMatching: cbor.FieldNameMatchingCaseSensitive,
		BigIntDec:         cbor.BigIntDecodePointer,
	}
}

func encOptions(t cbor.TimeMode) cbor.EncOptions {
	return cbor.EncOptions{
		NaNConvert:    cbor.NaNConvertNone,
		InfConvert:    cbor.InfConvertNone,
		BigIntConvert: cbor.BigIntConvertNone,
		Time:          t,
		TimeTag:       cbor.EncTagRequired,
		IndefLength:   cbor.IndefLengthForbidden,
		OmitEmpty:     cbor.OmitEmptyGoValue,
	}
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// Marshal encodes v. Struct fields are chosen and named as encoding/json does, tags included.
//
// Everything comes back as it was, strings that are not UTF-8 and the difference of nil and empty among it, but for: what
// several pointers share is copied for each; a time.Time loses its monotonic reading and the name of its zone (and the
// offset, if it has seconds); a nil slice or map, a nil pointer, or a zero time.Time behind a pointer comes back as a nil
// pointer. An interface without methods comes back as nil, bool, int64 (*big.Int if larger), float64, string, []byte,
// []any, map[string]any (structs too), time.Time (nil if zero) or *big.Int; a map in it whose keys are not strings is
// refused.
//
// Files need Encode. Errors match ErrValue, or ErrTooLarge above MaxValue.
func Marshal(v any) ([]byte, error) {
	if v != nil && HasFiles(reflect.TypeOf(v)) {
		return nil, &ValueError{Op: "encode", Type: fmt.Sprintf("%T", v), Why: errFilesHere}
	}
	return marshal(v)
}

const errFilesHere = "it holds files, which cannot cross here"

func marshal(v any) (b []byte, err error) {
	if v, ok := v.([]byte); ok && len(v) > smallBytes {
		return marshalBytes(v)
	}
	defer catch(&b, &err, "encode", v)
	mode, utc := encMode, encModeUTC
	if v != nil {
		sh := shapeOf(reflect.TypeOf(v))
		if sh.bad != nil {
			return nil, sh.bad
		}
		if sh.files {
			mode, utc = encModeFiles, encModeFilesUTC
		}
		if sh.walk {
			w := walker{}
			if err := w.walk(reflect.ValueOf(v), sh, false, 0, 0); err != nil {
				if w.tooLarge {
					return nil, &SizeError{What: "value", Size: MaxValue + 1, Max: MaxValue}
				}
				err.Root = reflect.TypeOf(v).String()
				return nil, err
			}
			if w.utc {
				mode = utc
			}
		}
	}
	b, err = mode.Marshal(v)
	if err != nil {
		return nil, &ValueError{Op: "encode", Type: fmt.Sprintf("%T", v), Why: err.Error()}
	}
	if len(b) > MaxValue {
		return nil, &SizeError{What: "value", Size: int64(len(b)), Max: MaxValue}
	}
	return b, nil
}

const smallBytes = 4 << 10

// marshalBytes saves large byte slices a copy.
func marshalBytes(v []byte) ([]byte, error) {
	const head = 5 // of a byte string with a length of 32 bits
	if len(v) > MaxValue-head {
		return nil, &SizeError{What: "value", Size: int64(len(v)) + head, Max: MaxValue}
	}
	n := len(v)
	b := make([]byte, head, head+n)
	b[0], b[1], b[2], b[3], b[4] = 2<<5|26, byte(n>>24), byte(n>>16), byte(n>>8), byte(n)
	return append(b, v...), nil
}

// Unmarshal decodes what Marshal has encoded into the same type; v is a pointer to a zero value. b is not kept.
//
// b is not trusted: doubled keys, unknown fields, bytes behind the value, nesting beyond MaxDepth, and input that would
// occupy more than MaxDecoded are errors, which match ErrValue.
func Unmarshal(b []byte, v any) error {
	if t := reflect.TypeOf(v); t != nil && t.Kind() == reflect.Pointer && HasFiles(t.Elem()) {
		return &ValueError{Op: "decode", Type: t.Elem().String(), Why: errFilesHere}
	}
	return unmarshal(b, v)
}

func unmarshal(b []byte, v any) (err error) {
	t := reflect.TypeOf(v)
	if t == nil || t.Kind() != reflect.Pointer || reflect.ValueOf(v).IsNil() {
		return &ValueError{Op: "decode", Type: fmt.Sprintf("%T", v), Why: "not a pointer to decode into"}
	}
	defer catch(nil, &err, "decode", v)
	sh := shapeOf(t.Elem())
	if sh.bad != nil {
		bad := *sh.bad
		bad.Op = "decode"
		return &bad
	}
	err = scan(b, sh)
	if err == nil {
		mode := decMode
		if sh.files {
			mode = decModeFiles
		}
		err = mode.Unmarshal(b, v)
	}
	if err != nil {
		return &ValueError{Op: "decode", Type: t.Elem().String(), Why: err.Error()}
	}
	return nil
}

// catch makes an error of a panic in a method of v's type, or of the codec.
func catch(b *[]byte, err *error, op string, v any) {
	if r := recover(); r != nil {
		if b != nil {
			*b = nil
		}
		*err = &ValueError{Op: op, Type: fmt.Sprintf("%T", v), Why: "panic: " + Sprint(r)}
	}
}

// A walker looks through a value before it is encoded, at those parts whose type does not tell everything.
type walker struct {
	nodes    int
	tooLarge bool
	utc      bool // an offset that RFC 3339 has no room for
}

// walk visits v. untyped says that v is decoded without knowing its type; hops counts pointers and interfaces since the
// last container, which the encoding does not show.
func (w *walker) walk(v reflect.Value, sh *shape, untyped bool, depth, hops int) *ValueError {
	if !sh.walk && !untyped {
		return nil
	}
	if w.nodes++; w.nodes > MaxValue { // each is a byte at least; a graph of shared pointers may unfold without end
		w.tooLarge = true
		return sh.fault("")
	}
	if depth > MaxDepth || hops > MaxDepth {
		return sh.fault(fmt.Sprintf("nested deeper than %d, or a cycle", MaxDepth))
	}
	if sh.t == typeTime {
		return w.time(v, sh)
	}
	switch sh.kind {
	case reflect.Interface:
		if v.IsNil() {
			return nil
		}
		v = v.Elem()
		if k := v.Kind(); k <= reflect.Uint64 || k == reflect.Float64 || k == reflect.String {
			return nil
		}
		dyn := shapeOf(v.Type())
		if dyn.bad != nil {
			bad := *dyn.bad
			return &bad
		}
		if dyn.files {
			return dyn.fault("files cannot cross within interfaces")
		}
		return w.walk(v, dyn, true, depth, hops+1)
	case reflect.Pointer:
		if v.IsNil() {
			return nil
		}
		return w.walk(v.Elem(), sh.elem, untyped, depth, hops+1)
	case reflect.Struct:
		for _, f := range sh.fields {
			d := depth + 1
			if f.embedded {
				d = depth
			}
			if err := w.walk(v.Field(f.index), f.shape, untyped, d, 0); err != nil {
				return err.in(f.name)
			}
		}
	case reflect.Slice, reflect.Array:
		if untyped && sh.elem.plain() {
			return nil
		}
		for i := range v.Len() {
			if err := w.walk(v.Index(i), sh.elem, untyped, depth+1, 0); err != nil {
				return err.in("[]")
			}
		}
	case reflect.Map:
		for it := v.MapRange(); it.Next(); {
			k := it.Key()
			if untyped && k.Kind() != reflect.String && !(k.Kind() == reflect.Interface && k.Elem().Kind() == reflect.String) {
				return sh.fault("within an interface only maps with string keys can be decoded")
			}
			if err := w.walk(k, sh.key, false, depth+1, 0); err != nil {
				return err.in("[key]")
			}
			if err := w.walk(it.Value(), sh.elem, untyped, depth+1, 0); err != nil {
				return err.in("[]")
			}
		}
	}
	return nil
}

func (w *walker) time(v reflect.Value, sh *shape) *ValueError {
	t := v.Interface().(time.Time)
	const day = 24 * 60 * 60
	if _, offset := t.Zone(); offset%60 != 0 || offset <= -day || offset >= day {
		w.utc = true
	}
	for _, t := range [...]time.Time{t, t.UTC()} {
		if y := t.Year(); y < 0 || y > 9999 {
			return sh.fault("year outside of 0 to 9999")
		}
	}
	return nil
}

func (sh *shape) fault(why string) *ValueError {
	return &ValueError{Op: "encode", Type: sh.t.String(), Why: why}
}
