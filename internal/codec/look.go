package codec

import (
	"reflect"
	"time"
)

// A look walks through a value before it is encoded. It checks the parts whose type does not tell
// everything: interfaces, times, and parts that may be a cycle.
type look struct {
	descent
	utc bool // a time has an offset that RFC 3339 has no room for
}

// at looks at v, which lies at d. untyped says that v is decoded without knowing its type.
func (l *look) at(v reflect.Value, sh *shape, untyped bool, d depth) *ValueError {
	only := surprise
	if untyped {
		only = anything
	}
	if !sh.holds.has(only) {
		return nil
	}
	if bad := l.enter(sh, d, MaxDepth); bad != nil {
		return bad
	}
	switch {
	case sh.t == typeTime():
		return l.time(v, sh)
	case sh.kind == reflect.Interface:
		return l.dynamic(v, d)
	case untyped && sh.key == nil && sh.elem != nil && sh.elem.plain():
		return nil
	}
	whole := whole{v: v, shape: sh, only: only}
	for p := range whole.parts {
		if p.key && untyped && !isString(p.v) {
			return sh.fault("in an interface such as any, whose type does not say more, only maps with string keys can cross; " +
				"give it the type " + typeName(sh.t) + " in place of any, or use strings as keys")
		}
		if bad := l.at(p.v, p.shape, untyped && !p.key, d.into(p)); bad != nil {
			return bad.in(p.step)
		}
	}
	return nil
}

// dynamic looks at the value in an interface.
func (l *look) dynamic(v reflect.Value, d depth) *ValueError {
	if v.IsNil() {
		return nil
	}
	v = v.Elem()
	if k := v.Kind(); k <= reflect.Uint64 || k == reflect.Float64 || k == reflect.String {
		return nil
	}
	sh := shapeOf(v.Type())
	if sh.bad != nil {
		bad := *sh.bad
		return &bad
	}
	if sh.holds.has(channel) {
		return sh.fault("channels cannot cross within interfaces")
	}
	if sh.holds.has(file) {
		return sh.fault("files cannot cross within interfaces such as any: give it the type " + typeName(sh.t))
	}
	return l.at(v, sh, true, d.hop())
}

func isString(v reflect.Value) bool {
	if v.Kind() == reflect.Interface {
		v = v.Elem()
	}
	return v.Kind() == reflect.String
}

func (l *look) time(v reflect.Value, sh *shape) *ValueError {
	t := v.Interface().(time.Time)
	const day = 24 * 60 * 60
	if _, offset := t.Zone(); offset%60 != 0 || offset <= -day || offset >= day {
		l.utc = true
	}
	for _, t := range [...]time.Time{t, t.UTC()} {
		if y := t.Year(); y < 0 || y > 9999 {
			return sh.fault("year outside of 0 to 9999")
		}
	}
	return nil
}
