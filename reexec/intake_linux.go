package reexec

import (
	"fmt"
	"os"
	"sync"

	"github.com/gonso/gonso/internal/codec"
	"github.com/gonso/gonso/internal/wire"
)

// Frames of a worker are not trusted. The memory that they may take in this process has one bound
// for all calls in flight: the intake's. The intake checks the header of a frame. If nobody waits
// for the frame, or it is larger than the result of its call may be, its payload is not kept.
type intake struct {
	payloads *codec.Budget // payloads that were received and not yet decoded
	decoded  *codec.Budget // values that are being decoded; its users wait for nobody else

	once sync.Once
	shut chan struct{} // closed when the worker is to end
}

// uncounted is the size of frames that are too small to be counted.
const uncounted = 64 << 10

func newIntake() *intake {
	return &intake{
		payloads: codec.NewBudget(wire.MaxPayload),
		decoded:  codec.NewBudget(codec.MaxDecoded),
		shut:     make(chan struct{}),
	}
}

// end wakes the goroutines that wait for room.
func (in *intake) end() { in.once.Do(func() { close(in.shut) }) }

// admit is the gate of a worker's frames. The goroutine that reads them calls it.
func (p *process) admit(typ wire.FrameType, id uint64, length int) error {
	switch typ {
	case wire.Alive, wire.Ready: // small, and only comeUp takes them
		return nil
	case wire.Result:
	default:
		return unexpected(typ, id)
	}
	p.mu.Lock()
	c := p.calls[id]
	p.mu.Unlock()
	if c == nil {
		return unexpected(typ, id)
	}
	if length > c.most {
		return fmt.Errorf("%w: the worker sent %d bytes for call %d, whose result has at most %d", wire.ErrProtocol, length, id, c.most)
	}
	if length <= uncounted {
		return nil
	}
	if most := p.owner.opts.MaxResult; int64(length) > most {
		return &wire.Refusal{Err: &codec.SizeError{What: ResultTooLarge, Size: int64(length), Max: most}}
	}
	charge, err := p.intake.payloads.Take(int64(length), p.intake.shut)
	if err != nil {
		return os.ErrClosed
	}
	c.charge = charge
	return nil
}

func unexpected(typ wire.FrameType, id uint64) error {
	return fmt.Errorf("%w: the worker sent a %v frame for call %d, which nobody waits for", wire.ErrProtocol, typ, id)
}
