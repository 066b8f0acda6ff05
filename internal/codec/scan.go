package codec

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"reflect"
	"strconv"
)

// The scanner checks bytes before they are decoded: how much memory would they take, and would the
// decoder accept them? The decoder goes on after an item that it cannot use, and such an item costs
// it more time than a good one. So the scanner refuses a long row of these items.

const (
	smallInput = 4 << 10  // too short to do harm
	maxBignum  = 64 << 10 // bytes
	maxKey     = 64 << 10 // bytes of a key of a map
)

// decodedLimit is the memory that n bytes may take when decoded. An encoded value seldom has less
// than an eighth of the value's size.
func decodedLimit(n int) int64 { return min(MaxDecoded, baseDecoded+8*int64(n)) }

// scan refuses input for type sh that would take more memory than limit, before any of it is
// decoded. It returns how much the input takes at most. For small input it costs one
// multiplication, unless the limit is small.
func scan(b []byte, sh *shape, limit int64) (takes int64, err error) {
	if len(b) > MaxValue {
		return 0, &SizeError{What: "value", Size: int64(len(b)), Max: MaxValue}
	}
	exact := limit < baseDecoded
	limit = min(limit, decodedLimit(len(b)))
	files := sh.holds.has(file)
	if worst := sh.worst * int64(len(b)); len(b) <= smallInput && worst <= limit && !files && !exact {
		return worst, nil
	}
	s := scanner{b: b, left: limit, limit: limit, worst: sh.worst, files: files}
	err = s.item(sh, 0)
	return limit - s.left, err
}

type scanner struct {
	b           []byte // the bytes that are still to be scanned
	left, limit int64
	worst       int64
	files       bool // the decoder knows about files
}

var (
	errMalformed = errors.New("malformed")
	errStrayFile = errors.New("a file where none belongs")
	errDeep      = errors.New("nested deeper than " + strconv.Itoa(decodeDepth))
)

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

var majorNames = [...]string{"number", "negative number", "byte string", "text string", "array", "map", "tag", "simple value"}

const (
	cborNull      = 0xf6
	cborUndefined = 0xf7
	lastSmallUint = 0x17 // the largest number that fits in one byte with its head
)

const (
	tagTime           = 0
	tagEpoch          = 1
	tagBignum         = 2
	tagNegativeBignum = 3
)

func (s *scanner) charge(n int64) error {
	if s.left -= n; s.left < 0 {
		s.left = 0
		return fmt.Errorf("would take more than %d bytes of memory: %w", s.limit, ErrTooLarge)
	}
	return nil
}

// chargeEach charges n times each.
func (s *scanner) chargeEach(n, each int64) error {
	if each > 0 && n > s.limit/each {
		return s.charge(s.limit + 1)
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

// item passes one item, which is decoded into sh. sh is nil if the item is not decoded at all.
func (s *scanner) item(sh *shape, depth int) error {
	if depth > decodeDepth {
		return errDeep
	}
	if len(s.b) > 0 && (s.b[0] == cborNull || s.b[0] == cborUndefined) {
		s.b = s.b[1:]
		return nil
	}
	sh, err := s.open(sh)
	if err != nil {
		return err
	}
	if sh != nil && sh.kind == reflect.Invalid && !sh.is.has(file) {
		return s.leaf(sh, depth)
	}
	first := s.b
	major, arg, err := s.head()
	if err != nil {
		return err
	}
	if sh != nil && major != majorTag {
		if err := s.fits(sh, first[0], major, arg); err != nil {
			return err
		}
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

// open charges for an empty value of sh, and returns the shape behind its pointers.
func (s *scanner) open(sh *shape) (*shape, error) {
	if sh == nil {
		return nil, nil
	}
	if sh.own > 0 {
		if err := s.charge(sh.own); err != nil {
			return nil, err
		}
	}
	for hops := 0; sh.kind == reflect.Pointer && hops <= MaxDepth; hops++ {
		sh = sh.elem
	}
	return sh, nil
}

func (s *scanner) mismatch(sh *shape, major byte) error {
	return fmt.Errorf("a %s cannot become a %v", majorNames[major], sh.t)
}

// fits refuses an item that the decoder would not accept for sh. It looks at the item's first byte
// and argument. It also charges for the memory that an interface points to.
func (s *scanner) fits(sh *shape, first, major byte, arg uint64) error {
	var ok bool
	switch sh.kind {
	case reflect.Bool:
		ok = first == 0xf4 || first == 0xf5
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		ok = isNumber(first, major) && arg <= 1<<(sh.t.Bits()-1)-1
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		ok = isNumber(first, major) && major != majorNegative && arg <= math.MaxUint64>>(64-sh.t.Bits())
	case reflect.Float32:
		f := math.Abs(math.Float64frombits(arg))
		ok = isNumber(first, major) || isFloat(first) && (first != 0xfb || !(f > math.MaxFloat32) || math.IsInf(f, 0))
	case reflect.Float64:
		ok = isNumber(first, major) || isFloat(first)
	case reflect.String:
		ok = major == majorText
	case reflect.Slice, reflect.Array:
		ok = major == majorArray || major == majorBytes && sh.elem.t.Kind() == reflect.Uint8
	case reflect.Map:
		ok = major == majorMap
	case reflect.Struct:
		ok = major == majorMap || major == majorArray
	case reflect.Interface:
		return s.box(major, arg)
	default:
		ok = true
	}
	if !ok {
		return s.mismatch(sh, major)
	}
	return nil
}

func isFloat(first byte) bool { return first >= 0xf9 && first <= 0xfb }

// isNumber reports whether an item is a number. A simple value without a meaning is a number, too.
func isNumber(first, major byte) bool {
	return major <= majorNegative || major == majorSimple && (first < 0xf4 || first == 0xf8)
}

// box charges for the memory behind an interface. The pairs of a map are charged for when they are
// scanned.
func (s *scanner) box(major byte, arg uint64) error {
	n := int64(boxed)
	switch {
	case major <= majorNegative && arg > math.MaxInt64:
		n = boxedBig
	case major == majorMap && arg == 0:
		n = emptyMap + 8
	case major == majorMap:
		n = emptyMap + 8 + smallMap*(1+2*ifaceSize)
	case major <= majorNegative && arg < 256:
		n = 0 // the runtime has these
	}
	return s.charge(n)
}

// string passes the n bytes of a string.
func (s *scanner) string(n uint64) error {
	if n > uint64(len(s.b)) {
		return io.ErrUnexpectedEOF
	}
	s.b = s.b[n:]
	return s.charge(int64(n))
}

// leaf passes an item that sh decodes as a whole.
func (s *scanner) leaf(sh *shape, depth int) error {
	var tag uint64
	for {
		major, n, err := s.head()
		if err != nil {
			return err
		}
		if major != majorTag {
			return s.content(sh, major, n, tag, depth)
		}
		if tag = n; tag == tagFile && s.files {
			return errStrayFile
		}
		if depth++; depth > decodeDepth {
			return errDeep
		}
		if err := s.checkTag(tag); err != nil {
			return err
		}
	}
}

// content passes an item for a leaf. The item's head and tag have been passed.
func (s *scanner) content(sh *shape, major byte, n, tag uint64, depth int) error {
	var fits bool
	switch plain := major <= majorNegative || major == majorSimple; {
	case sh.cbor:
		fits = true
	case sh.t == typeTime():
		fits = plain || major == majorText
	case sh.t == typeBigInt():
		fits = plain || major == majorBytes && (tag == tagBignum || tag == tagNegativeBignum)
	default:
		fits = major == majorBytes
	}
	if !fits {
		return s.mismatch(sh, major)
	}
	takes, before := sh.whole.each, len(s.b)
	switch major {
	case majorBytes, majorText:
		if n > uint64(len(s.b)) {
			return io.ErrUnexpectedEOF
		}
		if sh.t == typeTime() && n > 0 && s.b[n-1] != 'Z' {
			takes += zoneSize
		}
		s.b = s.b[n:]
	case majorArray, majorMap:
		pass := s.array
		if major == majorMap {
			pass = s.pairs
		}
		if err := pass(nil, n, depth+1); err != nil {
			return err
		}
	}
	size := int64(before - len(s.b))
	if size > sh.whole.most {
		return fmt.Errorf("%d bytes for a %v, where %d are allowed", size, sh.t, sh.whole.most)
	}
	if sh.whole.dear > 0 && size > sh.whole.dear {
		takes += dearly
	}
	return s.charge(takes + size)
}

// tagged passes the item after a tag.
func (s *scanner) tagged(sh *shape, tag uint64, depth int) error {
	// The decoder would make a file of it in every place where a file fits.
	if tag == tagFile && s.files && (sh == nil || !sh.is.has(file)) {
		return errStrayFile
	}
	if err := s.checkTag(tag); err != nil {
		return err
	}
	if sh == nil {
		return s.item(sh, depth)
	}
	switch tag {
	case tagBignum, tagNegativeBignum:
		if err := s.fitsBignum(sh); err != nil {
			return err
		}
		return s.item(nil, depth) // checkTag has checked that it is a byte string
	case tagTime, tagEpoch:
		if sh.kind == reflect.Interface {
			return s.leaf(shapeOf(typeTime()), depth)
		}
	}
	if sh.kind == reflect.Interface {
		if err := s.charge(2 * boxed); err != nil {
			return err
		}
	}
	return s.item(sh, depth)
}

// checkTag refuses an item that the decoder does not accept after a tag.
func (s *scanner) checkTag(tag uint64) error {
	if tag > tagNegativeBignum {
		return nil
	}
	ahead := scanner{b: s.b}
	major, n, err := ahead.head()
	if err != nil {
		return err
	}
	first := s.b[0]
	switch {
	case tag == tagTime && major == majorText:
		if n > mostTime {
			return fmt.Errorf("%d bytes for a time, where %d are allowed", n, mostTime)
		}
	case tag == tagEpoch && (major <= majorNegative || isFloat(first)):
	case tag >= tagBignum && major == majorBytes:
		if n > maxBignum {
			return fmt.Errorf("a number of more than %d bytes", maxBignum)
		}
	default:
		return fmt.Errorf("a %s behind tag %d", majorNames[major], tag)
	}
	return nil
}

// fitsBignum refuses the large number that comes next if sh has no room for it.
func (s *scanner) fitsBignum(sh *shape) error {
	ahead := scanner{b: s.b}
	_, n, _ := ahead.head()
	switch sh.kind {
	case reflect.Interface:
		return s.charge(boxedBig)
	case reflect.Slice, reflect.Array:
		if sh.elem.t.Kind() == reflect.Uint8 {
			return nil
		}
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64,
		reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		if n > 8 { // this side never sends such a number
			return fmt.Errorf("a number of %d bytes overflows %v", n, sh.t)
		}
		return nil
	}
	return s.mismatch(sh, majorBytes)
}

func (s *scanner) array(sh *shape, n uint64, depth int) error {
	if n > uint64(len(s.b)) {
		return io.ErrUnexpectedEOF
	}
	var elem *shape
	var fields []shapeField
	if sh != nil {
		each := sh.share()
		switch sh.kind {
		case reflect.Slice, reflect.Array:
			elem = sh.elem
		case reflect.Interface:
			elem, each = sh, ifaceSize
		case reflect.Struct: // tag toarray
			if n != uint64(len(sh.fields)) && sh.flat {
				return fmt.Errorf("an array of %d for the %d fields of %v", n, len(sh.fields), sh.t)
			}
			if fields = sh.fields; !sh.flat { // here it is not known which field an element is for
				fields = nil
				if err := s.chargeEach(int64(len(s.b)), s.worst); err != nil {
					return err
				}
			}
		}
		if err := s.chargeEach(int64(n), each); err != nil {
			return err
		}
	}
	if elem != nil && isInteger(elem.kind) {
		return s.integers(elem, n, depth)
	}
	for i := range n {
		if fields != nil {
			elem = fields[i].shape
		}
		if err := s.item(elem, depth); err != nil {
			return err
		}
	}
	return nil
}

func isInteger(k reflect.Kind) bool { return k >= reflect.Int && k <= reflect.Uint64 }

// integers passes n items, of which most may be small.
func (s *scanner) integers(elem *shape, n uint64, depth int) error {
	for range n {
		if len(s.b) > 0 && s.b[0] <= lastSmallUint {
			s.b = s.b[1:]
			continue
		}
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
			key, elem = shapeOf(typeString()), sh // see decOptions
		case reflect.Struct:
			if n > uint64(len(sh.byName)) {
				return fmt.Errorf("%d fields for the %d of %v", n, len(sh.byName), sh.t)
			}
		}
		if err := s.chargeEach(int64(n), sh.share()); err != nil {
			return err
		}
	}
	for range n {
		if sh != nil && sh.kind == reflect.Struct {
			var err error
			if elem, err = s.field(sh); err != nil {
				return err
			}
		}
		start := len(s.b)
		if err := s.item(key, depth); err != nil {
			return err
		}
		if took := start - len(s.b); took > maxKey {
			return fmt.Errorf("a key of %d bytes, where %d are allowed", took, maxKey)
		}
		if err := s.item(elem, depth); err != nil {
			return err
		}
	}
	return nil
}

// field gives the field of sh whose name comes next.
func (s *scanner) field(sh *shape) (*shape, error) {
	ahead := scanner{b: s.b}
	major, n, err := ahead.head()
	switch {
	case err != nil:
		return nil, err
	case major <= majorNegative && sh.byInt:
		return nil, nil
	case major != majorText:
		return nil, fmt.Errorf("a %s for the name of a field of %v", majorNames[major], sh.t)
	case n > uint64(len(ahead.b)):
		return nil, io.ErrUnexpectedEOF
	}
	name := ahead.b[:n]
	f := sh.byName[string(name)]
	if f == nil {
		return nil, fmt.Errorf("%v has no field %.64q", sh.t, name)
	}
	return f, nil
}
