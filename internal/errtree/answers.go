package errtree

// answers are what the methods Timeout and Temporary of an error say. net.Error has both, and
// os.IsTimeout and the errors of package net ask for them. They are no errors that errors.Is could
// find, so an error that stands for another one must have the same methods, and no others.
type answers byte

const (
	hasTimeout answers = 1 << iota
	isTimeout
	hasTemporary
	isTemporary
)

type (
	timeouter   interface{ Timeout() bool }
	temporarier interface{ Temporary() bool }
)

func answersOf(err error) (a answers) {
	defer func() {
		if recover() != nil {
			a = 0
		}
	}()
	if t, ok := err.(timeouter); ok {
		if a |= hasTimeout; t.Timeout() {
			a |= isTimeout
		}
	}
	if t, ok := err.(temporarier); ok {
		if a |= hasTemporary; t.Temporary() {
			a |= isTemporary
		}
	}
	return a
}

// valid reports whether answersOf can have returned a.
func (a answers) valid() bool {
	has := a & (hasTimeout | hasTemporary)
	return a&^(has|has<<1) == 0
}

type (
	timeout   bool
	temporary bool
)

func (t timeout) Timeout() bool     { return bool(t) }
func (t temporary) Temporary() bool { return bool(t) }

// rebuiltOne and rebuiltMany are apart because a type has only one Unwrap method. With the methods
// it is the same: each set of them is a type.
type (
	rebuiltOne interface {
		rebuilt
		Unwrap() error
	}
	rebuiltMany interface {
		rebuilt
		Unwrap() []error
	}

	oneTimeout struct {
		rebuiltOne
		timeout
	}
	oneTemporary struct {
		rebuiltOne
		temporary
	}
	oneBoth struct {
		rebuiltOne
		timeout
		temporary
	}
	manyTimeout struct {
		rebuiltMany
		timeout
	}
	manyTemporary struct {
		rebuiltMany
		temporary
	}
	manyBoth struct {
		rebuiltMany
		timeout
		temporary
	}
)

// give returns err, an error of this package, with the methods that gave the answers.
func (a answers) give(err error) error {
	if a == 0 {
		return err
	}
	if o, ok := err.(*opaque); ok {
		err = &opaqueOne{*o, nil}
	}
	out, temp := timeout(a&isTimeout != 0), temporary(a&isTemporary != 0)
	one, isOne := err.(rebuiltOne)
	many, _ := err.(rebuiltMany)
	switch has := a & (hasTimeout | hasTemporary); {
	case isOne && has == hasTimeout:
		return &oneTimeout{one, out}
	case isOne && has == hasTemporary:
		return &oneTemporary{one, temp}
	case isOne:
		return &oneBoth{one, out, temp}
	case has == hasTimeout:
		return &manyTimeout{many, out}
	case has == hasTemporary:
		return &manyTemporary{many, temp}
	}
	return &manyBoth{many, out, temp}
}
