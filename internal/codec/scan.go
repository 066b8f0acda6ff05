package codec

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"reflect"
)

// Bytes are looked at before they are decoded: how much memory would they become?

const (
	smallInput = 64 << 10 // too short to do harm by digits
	maxBignum  = 8 << 10  // bytes; turning a number into text takes more than linear time
)

// scan refuses input for type sh that would decode into more than MaxDecoded, before any of it is
// decoded. For small input it costs a multiplication.
func scan(b []byte, sh *shape) error {
	if len(b) > MaxValue {
		return &SizeError{What: "value", Size: int64(len(b)), Max: MaxValue}
	}
	if len(b) <= smallInput && sh.worst < MaxDecoded/smallInput && !sh.holds.has(file) {
		return nil
	}
	s := scanner{b: b, left: MaxDecoded, worst: sh.worst, files: sh.holds.has(file)}
	return s.item(sh, 0)
}

type scanner struct {
	b     []byte // what is still to be seen
	left  int64
	worst int64
	files bool // the decoder knows about files
}

var errMalformed = errors.New("malformed")

const (
	majorUint = iota
	majorNegative
	majorBytes
	majorText
	majorArray
	majorMap
	majorTag
	majorSimple
)

const cborNull = 0xf6

const (
	tagBignum         = 2
	tagNegativeBignum = 3
)

func (s *scanner) charge(n int64) error {
	if s.left -= n; s.left < 0 {
		return fmt.Errorf("would take more than %d bytes of memory", MaxDecoded)
	}
	return nil
}

// chargeEach charges n times each.
func (s *scanner) chargeEach(n, each int64) error {
	if each > 0 && n > MaxDecoded/each {
		return s.charge(MaxDecoded + 1)
	}
	return s.charge(n * each)
}

func (s *scanner) head() (major byte, arg uint64, err error) {
	if len(s.b) == 0 {
		return 0, 0, io.ErrUnexpectedEOF
	}
	major, info := s.b[0]>>5, s.b[0]&31
	s.b = s.b[1:]
	if info < 24 {
		return major, uint64(info), nil
	}
	if info > 27 { // reserved, or of indefinite length
		return 0, 0, errMalformed
	}
	n := 1 << (info - 24)
	if len(s.b) < n {
		return 0, 0, io.ErrUnexpectedEOF
	}
	var arg8 [8]byte
	copy(arg8[8-n:], s.b[:n])
	s.b = s.b[n:]
	return major, binary.BigEndian.Uint64(arg8[:]), nil
}

// item passes one item, which is decoded into sh; nil if it is not decoded at all.
func (s *scanner) item(sh *shape, depth int) error {
	if depth > decodeDepth {
		return fmt.Errorf("nested deeper than %d", decodeDepth)
	}
	sh, err := s.open(sh)
	if err != nil {
		return err
	}
	major, arg, err := s.head()
	if err != nil {
		return err
	}
	switch major {
	case majorBytes, majorText:
		return s.string(arg)
	case majorArray:
		return s.array(sh, arg, depth+1)
	case majorMap:
		return s.pairs(sh, arg, depth+1)
	case majorTag:
		return s.tagged(sh, arg, depth+1)
	}
	return nil
}

// open charges for an empty value of sh, unless it will be nil, and gives what is behind its
// pointers.
func (s *scanner) open(sh *shape) (*shape, error) {
	if sh == nil || len(s.b) == 0 || s.b[0] == cborNull {
		return sh, nil
	}
	if err := s.charge(sh.own); err != nil {
		return nil, err
	}
	for hops := 0; sh.kind == reflect.Pointer && hops <= MaxDepth; hops++ {
		sh = sh.elem
	}
	return sh, nil
}

// string passes the n bytes of a string.
func (s *scanner) string(n uint64) error {
	if n > uint64(len(s.b)) {
		return io.ErrUnexpectedEOF
	}
	s.b = s.b[n:]
	return s.charge(int64(n))
}

// tagged passes what comes after a tag.
func (s *scanner) tagged(sh *shape, tag uint64, depth int) error {
	// The decoder would make a file of it wherever one fits.
	if tag == tagFile && s.files && (sh == nil || !sh.is.has(file)) {
		return errors.New("a file where none belongs")
	}
	if tag == tagBignum || tag == tagNegativeBignum {
		if err := s.checkBignum(); err != nil {
			return err
		}
	}
	return s.item(sh, depth)
}

// checkBignum looks at the large number that comes next.
func (s *scanner) checkBignum() error {
	ahead := scanner{b: s.b}
	major, n, err := ahead.head()
	if err != nil {
		return err
	}
	if major != majorBytes || n > maxBignum {
		return fmt.Errorf("a number of more than %d bytes", maxBignum)
	}
	return nil
}

func (s *scanner) array(sh *shape, n uint64, depth int) error {
	if n > uint64(len(s.b)) {
		return io.ErrUnexpectedEOF
	}
	var elem *shape
	if sh != nil {
		switch sh.kind {
		case reflect.Slice, reflect.Array:
			elem = sh.elem
		case reflect.Interface:
			elem = sh
		case reflect.Struct: // tag toarray: which field an element is for is not known here
			if err := s.chargeEach(int64(len(s.b)), s.worst); err != nil {
				return err
			}
		}
		if err := s.chargeEach(int64(n), sh.share()); err != nil {
			return err
		}
	}
	for range n {
		if err := s.item(elem, depth); err != nil {
			return err
		}
	}
	return nil
}

func (s *scanner) pairs(sh *shape, n uint64, depth int) error {
	if n > uint64(len(s.b))/2 {
		return io.ErrUnexpectedEOF
	}
	var key, elem *shape
	if sh != nil {
		switch sh.kind {
		case reflect.Map:
			key, elem = sh.key, sh.elem
		case reflect.Interface:
			key, elem = sh, sh
		}
		if err := s.chargeEach(int64(n), sh.share()); err != nil {
			return err
		}
	}
	for range n {
		if sh != nil && sh.kind == reflect.Struct {
			elem = sh.byName[string(s.name())]
		}
		if err := s.item(key, depth); err != nil {
			return err
		}
		if err := s.item(elem, depth); err != nil {
			return err
		}
	}
	return nil
}

// name is the string that comes next, if one does.
func (s *scanner) name() []byte {
	ahead := scanner{b: s.b}
	if major, n, err := ahead.head(); err == nil && (major == majorText || major == majorBytes) && n <= uint64(len(ahead.b)) {
		return ahead.b[:n]
	}
	return nil
}
