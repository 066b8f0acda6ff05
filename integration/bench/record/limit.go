package record

import "fmt"

// A Limit is what is to be reached: at most so many times the floor's time, or,
// if negative, so many times faster than the floor. The zero Limit is none.
type Limit float64

func (l Limit) String() string {
	switch {
	case l == 0:
		return "-"
	case l < 0:
		return fmt.Sprintf("≥ %g × faster", -float64(l))
	}
	return fmt.Sprintf("≤ %g", float64(l))
}

// Reached is nil if there is no limit.
func (l Limit) Reached(ratio float64) *bool {
	if l == 0 {
		return nil
	}
	ok := ratio <= float64(l)
	if l < 0 {
		ok = ratio*float64(-l) <= 1
	}
	return &ok
}

// Ratio is how the limit's ratio is written.
func (l Limit) Ratio(r float64) string {
	if l < 0 {
		return fmt.Sprintf("1/%.0f", 1/r)
	}
	return fmt.Sprintf("%.2f", r)
}
