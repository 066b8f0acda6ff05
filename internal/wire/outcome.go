package wire

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"strconv"

	"github.com/gonso/gonso/internal/codec"
	"github.com/gonso/gonso/internal/errtree"
)

// OutcomeKind says how a call ended.
type OutcomeKind uint8

// How a call can end.
const (
	Returned      OutcomeKind = 1 + iota // the function returned Value and Err, maybe both
	Panicked                             // the function panicked: Panic
	Goexited                             // the function ended its goroutine
	NotRegistered                        // no function of that name: Err says more
	Unserved                             // it did not run, or its result could not be encoded: Err

	endOfOutcomes
)

func (k OutcomeKind) String() string {
	switch k {
	case Returned:
		return "Returned"
	case Panicked:
		return "Panicked"
	case Goexited:
		return "Goexited"
	case NotRegistered:
		return "NotRegistered"
	case Unserved:
		return "Unserved"
	}
	return "OutcomeKind(" + strconv.Itoa(int(k)) + ")"
}

// An Outcome is the payload of [Result]. Both backends send the results of a function as an
// Outcome, so that both give the same results.
type Outcome struct {
	Kind  OutcomeKind
	Value codec.Value // the encoded result, of Returned
	Err   error
	Panic *Panic // of Panicked
}

// A Panic is the value that recover gave, and the place of the panic.
type Panic struct {
	// Value may have any type before it is encoded. A decoded Value is an error if it was one (see
	// [errtree.Marshal]). Otherwise it is the string that fmt.Sprint makes of it.
	Value any
	Stack []byte // of the goroutine
}

// MaxStack is how much of a panic's stack crosses; the rest is cut off.
const MaxStack = 256 << 10

// MaxOutcome is how large the payload of an outcome can be whose value has at most maxValue bytes; 0
// is codec.MaxValue.
func MaxOutcome(maxValue int) int {
	if maxValue == 0 {
		maxValue = codec.MaxValue
	}
	const head = 1 + 3*binary.MaxVarintLen32 + errtree.MaxSize // kind, error, and lengths
	const panicked = max(errtree.MaxSize, errtree.MaxText) + MaxStack
	return min(head+max(maxValue, panicked), MaxPayload)
}

// Close closes the files of o, which may be somebody else's.
func (o *Outcome) Close() { o.Value.CloseReceived() }

// Cross returns o as the other side of a connection would get it, and takes the files of o over. If
// the value is too large, the error matches codec.ErrTooLarge.
func (o *Outcome) Cross() (*Outcome, error) {
	if o.Kind == Returned && o.Err == nil && o.Value.Bytes == nil {
		return o, nil
	}
	f, err := o.Frame(0)
	if err != nil {
		o.Close()
		return nil, err
	}
	f.Payload, f.Tail = append(f.Payload, f.Tail...), nil
	return ParseOutcome(f)
}

// Frame wraps o without copying its value. It returns the same error as Cross.
func (o *Outcome) Frame(id uint64) (Frame, error) {
	b, err := o.appendHead(make([]byte, 0, outcomeHead))
	if err != nil {
		return Frame{}, err
	}
	return Frame{Type: Result, ID: id, Payload: b, Tail: o.Value.Bytes, Files: o.Value.Files}, nil
}

// outcomeHead is enough for an outcome without an error.
const outcomeHead = 8

// appendHead appends all but the value, which comes last and needs no length.
func (o *Outcome) appendHead(b []byte) ([]byte, error) {
	if n := len(o.Value.Bytes); n > codec.MaxValue {
		return nil, &codec.SizeError{What: "value", Size: int64(n), Max: codec.MaxValue}
	}
	b = append(b, byte(o.Kind))
	b = appendError(b, o.Err)
	if o.Kind != Panicked {
		return b, nil
	}
	p := o.Panic
	if p == nil {
		p = &Panic{}
	}
	if err, ok := p.Value.(error); ok {
		b = appendError(b, err)
	} else {
		b = appendError(b, nil)
		b = codec.AppendString(b, codec.Shorten(codec.Sprint(p.Value), errtree.MaxText))
	}
	stack := p.Stack
	if len(stack) > MaxStack {
		stack = []byte(codec.Shorten(string(stack), MaxStack))
	}
	return codec.AppendString(b, stack), nil
}

// appendError appends err with its length. For nil it appends only a length of zero.
func appendError(b []byte, err error) []byte {
	if err == nil {
		return append(b, 0)
	}
	return codec.AppendString(b, errtree.Marshal(err))
}

// ParseOutcome reads a Result, and takes its files over: they are the outcome's, or closed if it
// fails. Whether they were asked for is seen when the value is decoded, which is part of the
// payload, not a copy. The frame is not trusted: the error matches ErrProtocol.
func ParseOutcome(f Frame) (*Outcome, error) {
	o, err := parseOutcome(f.Payload)
	if err != nil {
		f.Close()
		return nil, err
	}
	o.Value.Files = f.Files
	return o, nil
}

func parseOutcome(b []byte) (*Outcome, error) {
	if len(b) == 0 {
		return nil, violation("outcome cut short")
	}
	o := &Outcome{Kind: OutcomeKind(b[0])}
	if o.Kind == 0 || o.Kind >= endOfOutcomes {
		return nil, violation("unknown %v", o.Kind)
	}
	var err error
	if o.Err, b, err = cutError(b[1:]); err != nil {
		return nil, err
	}
	if o.Kind == Panicked {
		if o.Panic, b, err = cutPanic(b); err != nil {
			return nil, err
		}
	}
	if len(b) > 0 {
		if o.Kind != Returned || len(b) > codec.MaxValue {
			return nil, violation("%v with a value of %d bytes", o.Kind, len(b))
		}
		o.Value.Bytes = b
	}
	return o, nil
}

func cutError(b []byte) (decoded error, rest []byte, err error) {
	tree, rest, err := cutString(b, errtree.MaxSize)
	if err != nil || len(tree) == 0 {
		return nil, rest, err
	}
	decoded, err = errtree.Unmarshal(tree)
	if err != nil {
		err = fmt.Errorf("%w: %w", ErrProtocol, err)
	}
	return decoded, rest, err
}

func cutPanic(b []byte) (p *Panic, rest []byte, err error) {
	value, b, err := cutError(b)
	if err != nil {
		return nil, nil, err
	}
	p = &Panic{Value: value}
	if value == nil {
		text, rest, err := cutString(b, errtree.MaxText)
		if err != nil {
			return nil, nil, err
		}
		p.Value, b = string(text), rest
	}
	stack, rest, err := cutString(b, MaxStack)
	p.Stack = bytes.Clone(stack) // a copy, so that the payload can be freed
	return p, rest, err
}
