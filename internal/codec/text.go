package codec

import (
	"fmt"
	"reflect"
	"unicode/utf8"
)

// Sprint is fmt.Sprint of a value that may be anything: fmt survives methods that panic, but not data in a cycle.
func Sprint(v any) (text string) {
	defer func() {
		if recover() != nil {
			text = fmt.Sprintf("(%T)", v)
		}
	}()
	switch v.(type) {
	case error, fmt.Stringer, fmt.Formatter:
	default:
		if v != nil && !printable(reflect.ValueOf(v), 0, new(int)) {
			return fmt.Sprintf("(%T)", v)
		}
	}
	return fmt.Sprint(v)
}

// printable reports whether fmt comes to an end with v soon. Pointers below the top are printed as numbers.
func printable(v reflect.Value, depth int, seen *int) bool {
	if *seen++; *seen > 1<<16 || depth > 64 {
		return false
	}
	switch v.Kind() {
	case reflect.Interface:
		return printable(v.Elem(), depth+1, seen)
	case reflect.Pointer:
		return depth > 0 || printable(v.Elem(), depth+1, seen)
	case reflect.Slice, reflect.Array:
		if v.Type().Elem().Kind() <= reflect.Complex128 {
			return true
		}
		for i := range v.Len() {
			if !printable(v.Index(i), depth+1, seen) {
				return false
			}
		}
	case reflect.Map:
		for it := v.MapRange(); it.Next(); {
			if !printable(it.Key(), depth+1, seen) || !printable(it.Value(), depth+1, seen) {
				return false
			}
		}
	case reflect.Struct:
		for _, f := range v.Fields() {
			if !printable(f, depth+1, seen) {
				return false
			}
		}
	}
	return true
}

// Shorten cuts s to at most limit bytes, and says so.
func Shorten(s string, limit int) string {
	if len(s) <= limit {
		return s
	}
	note := fmt.Sprintf("... (%d bytes in all)", len(s))
	keep := max(limit-len(note), 0)
	for keep > 0 && len(s)-keep < utf8.UTFMax && !utf8.RuneStart(s[keep]) {
		keep--
	}
	return s[:keep] + note
}
