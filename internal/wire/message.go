package wire

import (
	"encoding/binary"
	"os"
)

// Hello is the payload of [Alive] and [Ready].
type Hello struct {
	Protocol uint32 // [Version]
	PID      uint32 // as the worker sees itself
}

// Frame wraps h in a frame of type t.
func (h Hello) Frame(t FrameType) Frame {
	b := binary.LittleEndian.AppendUint32(make([]byte, 0, 8), h.Protocol)
	return Frame{Type: t, Payload: binary.LittleEndian.AppendUint32(b, h.PID)}
}

// ParseHello reads the payload of Alive and Ready, and refuses a peer of another version.
func ParseHello(payload []byte) (Hello, error) {
	if len(payload) != 8 {
		return Hello{}, violation("a greeting of %d bytes", len(payload))
	}
	h := Hello{binary.LittleEndian.Uint32(payload), binary.LittleEndian.Uint32(payload[4:])}
	if h.Protocol != Version {
		return Hello{}, violation("the peer speaks version %d, this program %d", h.Protocol, Version)
	}
	return h, nil
}

// A Request is the payload of [Call].
type Request struct {
	Name     string     // of the registered function
	Deadline int64      // of its context, in nanoseconds since the Unix epoch; 0 is none
	Value    []byte     // its encoded argument
	Files    []*os.File // in Value, and the root of Place; they travel beside the payload
	Place    Place
}

// Frame wraps r, without copying its value.
func (r Request) Frame(id uint64) (Frame, error) {
	if len(r.Name) > MaxName {
		return Frame{}, &SizeError{What: "function name", Size: int64(len(r.Name)), Max: MaxName}
	}
	if len(r.Value) > MaxValue {
		return Frame{}, &SizeError{What: "value", Size: int64(len(r.Value)), Max: MaxValue}
	}
	if len(r.Place.Dir) > MaxDir {
		return Frame{}, &SizeError{What: "directory name", Size: int64(len(r.Place.Dir)), Max: MaxDir}
	}
	if len(r.Files) > MaxFiles {
		return Frame{}, &SizeError{What: "descriptor list", Size: int64(len(r.Files)), Max: MaxFiles}
	}
	b := appendString(make([]byte, 0, binary.MaxVarintLen32+len(r.Name)+16), r.Name)
	b = binary.LittleEndian.AppendUint64(b, uint64(r.Deadline))
	b = r.Place.append(b)
	return Frame{Type: Call, ID: id, Payload: b, Tail: r.Value, Files: r.Files}, nil
}

// ParseRequest reads the payload of Call. The value is part of payload, not a copy.
func ParseRequest(payload []byte) (Request, error) {
	name, rest, err := cutString(payload, MaxName)
	if err != nil {
		return Request{}, err
	}
	if len(rest) < 8 {
		return Request{}, violation("request cut short")
	}
	deadline := int64(binary.LittleEndian.Uint64(rest))
	place, rest, err := cutPlace(rest[8:])
	if err != nil {
		return Request{}, err
	}
	if len(rest) > MaxValue {
		return Request{}, violation("a value of %d bytes", len(rest))
	}
	return Request{Name: string(name), Deadline: deadline, Place: place, Value: rest}, nil
}

func appendString[S ~string | ~[]byte](b []byte, s S) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

// cutString takes what appendString has put in front of b; it is not copied.
func cutString(b []byte, limit int) (s, rest []byte, err error) {
	n, used := binary.Uvarint(b)
	if used <= 0 || n > uint64(len(b)-used) {
		return nil, nil, violation("string cut short")
	}
	if n > uint64(limit) {
		return nil, nil, violation("string of %d bytes where %d are allowed", n, limit)
	}
	end := used + int(n)
	return b[used:end:end], b[end:], nil
}
