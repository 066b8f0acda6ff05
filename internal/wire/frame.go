package wire

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"strconv"
	"sync"
	"time"

	"github.com/gonso/gonso/internal/codec"
	"github.com/gonso/gonso/internal/errtree"
	"github.com/gonso/gonso/internal/sys"
)

// MaxSpin is the longest for which either side looks for a frame before it sleeps.
const MaxSpin = time.Millisecond

// Version of the protocol. Parent and worker are the same binary: if the versions differ, the peer
// is another program.
const Version = 6

// Caps. Both sides check them, when writing and when reading.
const (
	MaxPayload = codec.MaxValue + 2<<20 // bytes of a frame after its header: a value, and everything else
	MaxFiles   = codec.MaxFiles + 2     // descriptors of a frame: a value's, and two directories
	MaxName    = 1 << 10                // bytes of a function's name
	maxControl = 64                     // payload of the frames that carry no value
	headerSize = 20                     // see PROTOCOL.md
	magic      = 'g'                    // first byte of every frame
	trustedLen = 1 << 20                // bytes of a larger payload that must come first
)

// ErrProtocol is matched by every error about bytes that no peer following PROTOCOL.md sends.
// Nothing can be read after it.
var ErrProtocol = errors.New("wire: protocol violated")

// registerOnce registers ErrProtocol, for every program that has a connection.
var registerOnce sync.Once

func registerProtocol() { errtree.RegisterSentinel("wire.ErrProtocol", ErrProtocol) }

func violation(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrProtocol, fmt.Sprintf(format, args...))
}

// FrameType is the kind of a frame.
type FrameType uint8

// The dialogue. The worker sends [Alive] from package init and [Ready] once main has called Init;
// from then on the parent sends [Call], [Cancel] and [Expire], and the worker answers every Call with
// one [Result]. The end of the connection ends the worker.
const (
	Alive  FrameType = 1 + iota // worker: this binary speaks the protocol; a [Hello]
	Ready                       // worker: main called Init; a [Hello]
	Result                      // worker: what became of call ID; an [Outcome]
	Call                        // parent: run a function; a [Request]
	Cancel                      // parent: the context of call ID was cancelled; empty
	Expire                      // parent: the context of call ID is over its deadline; empty

	endOfTypes
)

func (t FrameType) String() string {
	switch t {
	case Alive:
		return "Alive"
	case Ready:
		return "Ready"
	case Result:
		return "Result"
	case Call:
		return "Call"
	case Cancel:
		return "Cancel"
	case Expire:
		return "Expire"
	}
	return "FrameType(" + strconv.Itoa(int(t)) + ")"
}

// limits of a type: the largest payload and the most descriptors.
func (t FrameType) limits() (payload, files int) {
	switch t {
	case Result, Call:
		return MaxPayload, MaxFiles
	case Cancel, Expire:
		return 0, 0
	}
	return maxControl, 0
}

// A Frame is one message.
type Frame struct {
	Type    FrameType
	ID      uint64 // of the call; 0 in a frame without a call
	Payload []byte

	// Tail follows Payload on the wire, so that a large value is neither copied nor encoded again
	// to be put behind a few bytes of envelope. A frame that was read has everything in Payload.
	Tail []byte

	// Files travel with the frame. If the frame was read, they belong to the reader, which must
	// close them. If it is to be written, they stay the caller's, who must keep them open until
	// Write returns.
	Files []*os.File

	// Lost says why a frame that was read has none of its files: this process may open no more. If
	// the gate has refused the frame, it lacks its payload too, and Lost is the gate's reason. The
	// conversation goes on.
	Lost error
}

// Close closes the files of a frame that was read.
func (f *Frame) Close() { sys.CloseReceived(f.Files) }

type header struct {
	typ    FrameType
	files  int
	length int
	id     uint64
}

// check is the same for headers to be written and headers that were read.
func (h header) check() error {
	if h.typ == 0 || h.typ >= endOfTypes {
		return violation("unknown %v", h.typ)
	}
	payload, files := h.typ.limits()
	if h.length > payload {
		return &codec.SizeError{What: h.typ.String() + " payload", Size: int64(h.length), Max: int64(payload)}
	}
	if h.files > files {
		return &codec.SizeError{What: h.typ.String() + " descriptor list", Size: int64(h.files), Max: int64(files)}
	}
	return nil
}

func (h header) append(b []byte) []byte {
	b = append(b, magic, Version, byte(h.typ), 0)
	b = binary.LittleEndian.AppendUint16(b, uint16(h.files))
	b = append(b, 0, 0)
	b = binary.LittleEndian.AppendUint32(b, uint32(h.length))
	return binary.LittleEndian.AppendUint64(b, h.id)
}

func parseHeader(b []byte) (header, error) {
	_ = b[headerSize-1]
	if b[0] != magic {
		return header{}, violation("a frame cannot start with %#02x", b[0])
	}
	if b[1] != Version {
		return header{}, violation("version %d where this program speaks %d", b[1], Version)
	}
	if b[3]|b[6]|b[7] != 0 {
		return header{}, violation("reserved bits set")
	}
	length := binary.LittleEndian.Uint32(b[8:])
	if length > MaxPayload { // before it becomes an int, which has 32 bits on some machines
		return header{}, fmt.Errorf("%w: %w", ErrProtocol, &codec.SizeError{What: "payload", Size: int64(length), Max: MaxPayload})
	}
	h := header{
		typ:    FrameType(b[2]),
		files:  int(binary.LittleEndian.Uint16(b[4:])),
		length: int(length),
		id:     binary.LittleEndian.Uint64(b[12:]),
	}
	if err := h.check(); err != nil {
		if !errors.Is(err, ErrProtocol) {
			err = fmt.Errorf("%w: %w", ErrProtocol, err)
		}
		return header{}, err
	}
	return h, nil
}
