package codec

import (
	"bufio"
	"encoding/binary"
	"io"
	"reflect"
)

// Items are the values of a channel, each with its length before it. Items from a worker are not
// trusted: an item has a cap, and all items of one peer have a budget.

// MaxItem is how large the encoding of one value of a channel may be.
const MaxItem = 4 << 20

const (
	itemHead       = 4        // bytes of a length
	uncountedItem  = 64 << 10 // bytes of an item that is too small to be counted
	itemsBeingRead = 4 * MaxItem
)

// AppendItem appends the item of the value that p points to. It returns the errors of Marshal. For
// an item above MaxItem, the error matches ErrTooLarge.
func AppendItem(b []byte, p any) ([]byte, error) {
	encoded, err := Marshal(p)
	if err != nil {
		return b, err
	}
	if len(encoded) > MaxItem {
		return b, &SizeError{What: "value of a channel", Size: int64(len(encoded)), Max: MaxItem}
	}
	b = binary.LittleEndian.AppendUint32(b, uint32(len(encoded)))
	return append(b, encoded...), nil
}

// Items bound the memory that the items of all channels of one peer take: the items that are being
// read, and the items that wait for their receivers. Nil Items have no bound.
type Items struct {
	read    *Budget
	decoded *Budget
}

// NewItems makes the bounds for one peer.
func NewItems() *Items { return &Items{NewBudget(itemsBeingRead), NewBudget(MaxDecoded)} }

// An ItemReader reads the items of one channel.
type ItemReader struct {
	r     *bufio.Reader
	max   uint32
	of    Items
	small []byte // for items that are not counted
}

// NewItemReader reads items of values of type t, which holds no files.
func NewItemReader(r io.Reader, t reflect.Type, of *Items) *ItemReader {
	ir := &ItemReader{r: bufio.NewReader(r), max: uint32(min(MaxSize(t), MaxItem))}
	if of != nil {
		ir.of = *of
	}
	return ir
}

// Next decodes the next item into p, a pointer to a zero value. If it must wait for memory, it
// waits until stop is closed. The charge is for the value that p then holds. At the end the error
// is io.EOF, within an item io.ErrUnexpectedEOF.
func (ir *ItemReader) Next(p any, stop <-chan struct{}) (*Charge, error) {
	var head [itemHead]byte
	if _, err := io.ReadFull(ir.r, head[:]); err != nil {
		return nil, err
	}
	n := binary.LittleEndian.Uint32(head[:])
	if n > ir.max {
		return nil, &SizeError{What: "value of a channel", Size: int64(n), Max: int64(ir.max)}
	}
	item := Value{budget: ir.of.decoded, room: MaxDecoded}
	var err error
	if n <= uncountedItem {
		if ir.small == nil || len(ir.small) < int(n) {
			ir.small = make([]byte, max(n, 512))
		}
		item.Bytes = ir.small[:n]
	} else {
		if item.charge, err = ir.of.read.Take(int64(n), stop); err != nil {
			return nil, err
		}
		item.Bytes = make([]byte, n)
	}
	if _, err = io.ReadFull(ir.r, item.Bytes); err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	var held *Charge
	if err == nil {
		held, err = item.decode(p, func(n int64) (*Charge, error) { return item.budget.Take(n, stop) })
	}
	item.charge.Release()
	if err != nil {
		held.Release()
		return nil, err
	}
	return held, nil
}
