package codec

import (
	"errors"
	"fmt"
	"reflect"
	"sync"

	"github.com/fxamacker/cbor/v2"
)

// allModes are made when the first value is encoded or decoded. The linker leaves that code out of
// programs that encode and decode no values. It would keep a function that package init refers to.
var allModes modeSet

type modeSet struct {
	once                               sync.Once
	enc, encUTC, encFiles, encFilesUTC cbor.EncMode
	dec, decFiles                      cbor.DecMode
}

func modes() *modeSet {
	allModes.once.Do(makeModes)
	return &allModes
}

func makeModes() {
	tags, m := fileTags(), &allModes
	m.enc = must(encOptions(cbor.TimeRFC3339Nano).EncMode())
	m.encUTC = must(encOptions(cbor.TimeRFC3339NanoUTC).EncMode())
	m.encFiles = must(encOptions(cbor.TimeRFC3339Nano).EncModeWithTags(tags))
	m.encFilesUTC = must(encOptions(cbor.TimeRFC3339NanoUTC).EncModeWithTags(tags))
	m.dec = must(decOptions().DecMode())
	m.decFiles = must(decOptions().DecModeWithTags(tags))
}

func decOptions() cbor.DecOptions {
	return cbor.DecOptions{
		DupMapKey:         cbor.DupMapKeyEnforcedAPF,
		MaxNestedLevels:   decodeDepth,
		MaxArrayElements:  MaxValue, // an element has at least one byte; scan bounds the memory it takes
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
// Everything comes back as it was, also strings that are not UTF-8, and the difference of nil and
// empty. The exceptions:
//
//   - What several pointers share is copied for each.
//   - A time.Time loses its monotonic reading and the name of its zone, and its offset if that has
//     seconds.
//   - Behind a pointer, a nil slice, map or pointer and a zero time.Time come back as a nil
//     pointer.
//   - An interface without methods comes back as nil, bool, int64 (*big.Int if larger), float64,
//     string, []byte, []any, map[string]any (structs too), time.Time (nil if zero) or *big.Int. A
//     map in it whose keys are not strings is refused.
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
	mode := modes().enc
	var sh *shape
	if v != nil {
		sh = shapeOf(reflect.TypeOf(v))
		if sh.bad != nil {
			return nil, sh.bad
		}
		utc := false
		if sh.holds.has(surprise) {
			if utc, err = sh.lookAt(v); err != nil {
				return nil, err
			}
		}
		mode = sh.mode(utc)
	}
	b, err = mode.Marshal(v)
	if err != nil {
		return nil, &ValueError{Op: "encode", Type: fmt.Sprintf("%T", v), Why: shortWhy(err)}
	}
	if len(b) > MaxValue {
		return nil, &SizeError{What: "value", Size: int64(len(b)), Max: MaxValue}
	}
	if sh != nil { // refuse here what the other side would refuse
		if _, err := scan(b, sh, noLimit); err != nil {
			return nil, &ValueError{Op: "encode", Type: fmt.Sprintf("%T", v), Why: "decoded, " + shortWhy(err)}
		}
	}
	return b, nil
}

// maxWhy is how much of an error's text a ValueError keeps. The text may quote received bytes.
const maxWhy = 1 << 10

func shortWhy(err error) string { return Shorten(err.Error(), maxWhy) }

// lookAt looks at v, which is of shape sh. utc says that times must be encoded without offset.
func (sh *shape) lookAt(v any) (utc bool, err error) {
	var l look
	bad := l.at(reflect.ValueOf(v), sh, false, depth{})
	switch {
	case l.endless:
		return false, &SizeError{What: "value", Size: MaxValue + 1, Max: MaxValue}
	case bad != nil:
		bad.Root = sh.name()
		return false, bad
	}
	return l.utc, nil
}

func (sh *shape) mode(utc bool) cbor.EncMode {
	switch files := sh.holds.has(file); {
	case files && utc:
		return modes().encFilesUTC
	case files:
		return modes().encFiles
	case utc:
		return modes().encUTC
	}
	return modes().enc
}

const smallBytes = 4 << 10

// marshalBytes saves large byte slices a copy.
func marshalBytes(v []byte) ([]byte, error) {
	const head = 5 // bytes before a byte string with a length of 32 bits
	if len(v) > MaxValue-head {
		return nil, &SizeError{What: "value", Size: int64(len(v)) + head, Max: MaxValue}
	}
	n := len(v)
	b := make([]byte, head, head+n)
	b[0], b[1], b[2], b[3], b[4] = 2<<5|26, byte(n>>24), byte(n>>16), byte(n>>8), byte(n)
	return append(b, v...), nil
}

// UnmarshalWithin decodes what Marshal has encoded into the same type; v is a pointer to a zero
// value. b is not kept. It may take room bytes of memory at most, and returns the rest of room.
//
// b is not trusted: doubled keys, unknown fields, bytes behind the value, nesting beyond MaxDepth,
// and input that would occupy more than MaxDecoded, or much more than its size, are errors, which
// match ErrValue.
func UnmarshalWithin(b []byte, v any, room int64) (left int64, err error) {
	if t := reflect.TypeOf(v); t != nil && t.Kind() == reflect.Pointer && HasFiles(t.Elem()) {
		return room, &ValueError{Op: "decode", Type: t.Elem().String(), Why: errFilesHere}
	}
	var pay spending
	pay.room = room
	err = unmarshal(b, v, &pay)
	return room - pay.took, err
}

// A spending is the memory that a decode may take, and the memory that it takes.
type spending struct {
	room, took int64
	allow      func(n int64) error // asked before anything is decoded; nil allows all
}

func unmarshal(b []byte, v any, pay *spending) (err error) {
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
	pay.took, err = scan(b, sh, pay.room)
	if err == nil && pay.allow != nil {
		err = pay.allow(pay.took)
	}
	if err == nil {
		mode := modes().dec
		if sh.holds.has(file) {
			mode = modes().decFiles
		}
		err = mode.Unmarshal(b, v)
	}
	switch {
	case err == nil:
		return nil
	case err == errBusy:
		return err
	}
	return &ValueError{Op: "decode", Type: t.Elem().String(), Why: shortWhy(err), Large: errors.Is(err, ErrTooLarge)}
}

// catch turns a panic in a method of v's type, or in the codec, into an error.
func catch(b *[]byte, err *error, op string, v any) {
	if r := recover(); r != nil {
		if b != nil {
			*b = nil
		}
		*err = &ValueError{Op: op, Type: fmt.Sprintf("%T", v), Why: Shorten("panic: "+Sprint(r), maxWhy)}
	}
}
