package codec

import (
	"fmt"
	"reflect"
	"strings"
	"unicode/utf8"
)

// Texts for messages, made of values and errors of any kind.

// Sprint is fmt.Sprint for values of any kind: fmt survives methods that panic, but not data in a
// cycle.
func Sprint(v any) (text string) {
	defer func() {
		if recover() != nil {
			text = fmt.Sprintf("(%T)", v)
		}
	}()
	switch v.(type) {
	case error, fmt.Stringer, fmt.Formatter:
	default:
		if p := (printing{}); v != nil && !p.ends(reflect.ValueOf(v), 0) {
			return fmt.Sprintf("(%T)", v)
		}
	}
	return fmt.Sprint(v)
}

// A printing predicts how fmt prints a value. It uses no shapes, because fmt also prints values
// that cannot cross.
type printing struct{ seen int }

// ends reports whether fmt ends soon with v. Pointers below the top are printed as numbers.
func (p *printing) ends(v reflect.Value, depth int) bool {
	if p.seen++; p.seen > 1<<16 || depth > 64 {
		return false
	}
	switch v.Kind() {
	case reflect.Interface:
		return p.ends(v.Elem(), depth+1)
	case reflect.Pointer:
		return depth > 0 || p.ends(v.Elem(), depth+1)
	case reflect.Slice, reflect.Array:
		return v.Type().Elem().Kind() <= reflect.Complex128 || p.elementsEnd(v, depth+1)
	case reflect.Map:
		return p.entriesEnd(v, depth+1)
	case reflect.Struct:
		return p.fieldsEnd(v, depth+1)
	}
	return true
}

func (p *printing) elementsEnd(v reflect.Value, depth int) bool {
	for i := range v.Len() {
		if !p.ends(v.Index(i), depth) {
			return false
		}
	}
	return true
}

func (p *printing) entriesEnd(v reflect.Value, depth int) bool {
	for it := v.MapRange(); it.Next(); {
		if !p.ends(it.Key(), depth) || !p.ends(it.Value(), depth) {
			return false
		}
	}
	return true
}

func (p *printing) fieldsEnd(v reflect.Value, depth int) bool {
	for _, f := range v.Fields() {
		if !p.ends(f, depth) {
			return false
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

// maxType is how much of a type's name is printed: a struct without a name has a long one. maxSteps
// is how many steps of a path are printed.
const (
	maxType  = 200
	maxSteps = 8
)

func typeName(t reflect.Type) string { return plainType(t.String()) }

// plainType is the name of a type as in programs, shortened if it is long.
func plainType(name string) string {
	return Shorten(strings.ReplaceAll(name, "interface {}", "any"), maxType)
}

// shortPath leaves out the middle of a path with many steps, such as the path of a cycle.
func shortPath(path string) string {
	steps := strings.SplitAfter(strings.ReplaceAll(path, "[", "\x00["), "\x00")
	var all []string
	for _, s := range steps {
		all = append(all, strings.SplitAfter(strings.TrimSuffix(s, "\x00"), ".")...)
	}
	if len(all) > 2*maxSteps {
		left := strings.Join(all[:maxSteps], "") + fmt.Sprintf("(%d more)", len(all)-2*maxSteps)
		path = left + strings.Join(all[len(all)-maxSteps:], "")
	}
	return Shorten(path, maxType)
}
