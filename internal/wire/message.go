package wire

import (
	"encoding/binary"
	"os"
	"slices"
	"time"

	"github.com/gonso/gonso/internal/codec"
	"github.com/gonso/gonso/internal/sys"
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

// A Request is the payload of [Call]. Its files belong to the caller that has made it, by hand or
// with ParseRequest.
type Request struct {
	Name     string    // of the registered function
	Deadline time.Time // the deadline of its context, for the function to look at; the zero time is no deadline
	Value    codec.Value
	Place    sys.Place

	// MaxResult is how large the encoded result can be; 0 is [codec.MaxValue]. It does not cross.
	MaxResult int

	EndThread bool // the thread ends with the call, also where the function leaves it clean
}

// Close closes the files of r.
func (r *Request) Close() {
	r.Value.Close()
	r.Place.Close()
}

// Frame wraps r, without copying its value. The directories of its place are the last of the frame's files.
func (r *Request) Frame(id uint64) (Frame, error) {
	for _, cap := range []struct {
		what      string
		size, max int
	}{
		{"function name", len(r.Name), MaxName},
		{"value", len(r.Value.Bytes), codec.MaxValue},
		{"directory name", len(r.Place.Dir), MaxDir},
		{"descriptor list", len(r.Value.Files), codec.MaxFiles},
	} {
		if cap.size > cap.max {
			return Frame{}, &codec.SizeError{What: cap.what, Size: int64(cap.size), Max: int64(cap.max)}
		}
	}
	b := codec.AppendString(make([]byte, 0, binary.MaxVarintLen32+len(r.Name)+16), r.Name)
	b = appendDeadline(b, r.Deadline)
	b = r.appendPlace(b)
	files := r.Value.Files
	for _, dir := range []*os.File{r.Place.DirFile, r.Place.Root} {
		if dir != nil {
			files = append(slices.Clip(files), dir)
		}
	}
	return Frame{Type: Call, ID: id, Payload: b, Tail: r.Value.Bytes, Files: files}, nil
}

// ParseRequest reads a Call, and takes its files over: they are the request's, or closed if it
// fails. The value is part of the payload, not a copy.
func ParseRequest(f Frame) (r Request, err error) {
	defer func() {
		if err != nil {
			f.Close()
		}
	}()
	name, rest, err := cutString(f.Payload, MaxName)
	if err != nil {
		return Request{}, err
	}
	r = Request{Name: string(name), Value: codec.Value{Files: f.Files}}
	if r.Deadline, rest, err = cutDeadline(rest); err != nil {
		return Request{}, err
	}
	r.Value.Bytes, err = r.cutPlace(rest)
	if err == nil && len(r.Value.Bytes) > codec.MaxValue {
		err = violation("a value of %d bytes", len(r.Value.Bytes))
	}
	if err != nil {
		return Request{}, err
	}
	return r, nil
}

// cutString is codec.CutString, with an error of this package.
func cutString(b []byte, limit int) (s, rest []byte, err error) {
	s, rest, err = codec.CutString(b, limit)
	if err != nil {
		err = violation("%v", err)
	}
	return s, rest, err
}

// A deadline is seconds and nanoseconds: nanoseconds alone end in the year 2262.
const (
	deadlineSize = 12
	noDeadline   = 1<<32 - 1 // in place of the nanoseconds
)

func appendDeadline(b []byte, t time.Time) []byte {
	if t.IsZero() {
		b = binary.LittleEndian.AppendUint64(b, 0)
		return binary.LittleEndian.AppendUint32(b, noDeadline)
	}
	b = binary.LittleEndian.AppendUint64(b, uint64(t.Unix()))
	return binary.LittleEndian.AppendUint32(b, uint32(t.Nanosecond()))
}

func cutDeadline(b []byte) (t time.Time, rest []byte, err error) {
	if len(b) < deadlineSize {
		return t, nil, violation("request cut short")
	}
	switch sec, nsec := int64(binary.LittleEndian.Uint64(b)), binary.LittleEndian.Uint32(b[8:]); {
	case nsec == noDeadline && sec == 0:
	case nsec >= 1e9:
		return t, nil, violation("a deadline with %d nanoseconds", nsec)
	default:
		t = time.Unix(sec, int64(nsec))
	}
	return t, b[deadlineSize:], nil
}
