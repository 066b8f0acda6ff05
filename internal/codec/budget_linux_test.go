package codec

import (
	"context"
	"errors"
	"math"
	"math/big"
	"net/netip"
	"os"
	"reflect"
	"strings"
	"testing"
	"time"
)

func TestBudget(t *testing.T) {
	b := NewBudget(100)
	stop := make(chan struct{})
	first, err := b.Take(70, stop)
	if err != nil {
		t.Fatal(err)
	}
	got := make(chan *Charge)
	go func() {
		c, _ := b.Take(1000, nil) // as much as there is, and alone
		got <- c
	}()
	select {
	case <-got:
		t.Fatal("more than there is")
	case <-time.After(10 * time.Millisecond):
	}
	first.Release()
	first.Release() // counts once
	all := <-got
	go func() {
		_, err := b.Take(1, stop)
		if err == nil {
			err = errors.New("more than there is")
		}
		if err != errStopped {
			t.Error(err)
		}
		got <- nil
	}()
	close(stop)
	<-got
	all.Release()
	if b.taken != 0 || b.dead != 100 { // what was dead was collected for the second one
		t.Errorf("%d taken, %d dead", b.taken, b.dead)
	}
	if c, err := (*Budget)(nil).Take(1<<40, nil); c != nil || err != nil {
		t.Error(c, err)
	}
}

// A decode that has to wait ends with its call, and so does one that takes long.
func TestDecodeEndsWithItsCall(t *testing.T) {
	b, err := Marshal(slicesRepeat("some text", 100_000))
	if err != nil {
		t.Fatal(err)
	}
	value := func(budget *Budget) (Value, *os.File, *Charge) {
		f, err := os.Open("/dev/null")
		if err != nil {
			t.Fatal(err)
		}
		all := NewBudget(int64(len(b)))
		c, _ := all.Take(int64(len(b)), nil)
		v := Value{Bytes: b}
		v.Charge(c, budget, MaxDecoded)
		return v, f, c
	}
	for name, want := range map[string]error{"cancelled": context.Canceled, "late": context.DeadlineExceeded} {
		t.Run(name, func(t *testing.T) {
			budget := NewBudget(MaxDecoded)
			others, _ := budget.Take(MaxDecoded, nil)
			v, f, charge := value(budget)
			v.Files = []*os.File{f}
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
			defer cancel()
			if name == "cancelled" {
				cancel()
			}
			var got []string
			begin := time.Now()
			if err := v.DecodeWithin(ctx, 20*time.Millisecond, &got); !errors.Is(err, want) || !errors.Is(err, ErrValue) || got != nil {
				t.Errorf("%v, %d strings", err, len(got))
			}
			if took := time.Since(begin); took > 5*time.Second {
				t.Errorf("took %v", took)
			}
			tick := time.NewTicker(time.Millisecond)
			defer tick.Stop()
			for end := time.Now().Add(20 * time.Second); charge.of.left() == 0 && time.Now().Before(end); {
				<-tick.C // what was left behind ends
			}
			if _, err := f.Stat(); !errors.Is(err, os.ErrClosed) {
				t.Errorf("the file is not closed: %v", err)
			}
			others.Release()
			if budget.left() != MaxDecoded {
				t.Errorf("%d of the budget are left", budget.left())
			}
		})
	}
	t.Run("in time", func(t *testing.T) {
		budget := NewBudget(MaxDecoded)
		others, _ := budget.Take(MaxDecoded, nil)
		v, f, charge := value(budget)
		f.Close()
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		time.AfterFunc(10*time.Millisecond, others.Release)
		var got []string
		if err := v.DecodeWithin(ctx, 0, &got); err != nil || len(got) != 100_000 {
			t.Errorf("%d strings, %v", len(got), err)
		}
		if budget.left() != MaxDecoded || charge.of.left() == 0 {
			t.Errorf("%d of the budget are left", budget.left())
		}
	})
}

func (b *Budget) left() int64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.max - b.taken
}

func TestMaxSize(t *testing.T) {
	type small struct {
		A, B int64 `json:",omitempty"`
		F    float64
		P    *bool
		T    time.Time
		Q    [3]uint64
		E    struct{}
		inner2
		File *os.File
	}
	yes := true
	east := time.Date(2024, 1, 1, 1, 1, 1, 123456789, time.FixedZone("", 23*3600+59*60))
	for _, v := range []any{
		true, int8(math.MinInt8), int64(math.MinInt64), uint64(math.MaxUint64), math.Pi, float32(math.Pi), struct{}{},
		[4]byte{255, 255, 255, 255}, [100]uint64{0: math.MaxUint64, 99: math.MaxUint64}, east, &yes, time.Duration(math.MinInt64),
		small{math.MinInt64, math.MinInt64, math.Pi, &yes, east, [3]uint64{math.MaxUint64}, struct{}{}, inner2{math.MinInt32}, os.Stdin},
		netip.MustParseAddr("fe80::1").WithZone(strings.Repeat("z", 100)), big.NewInt(1),
	} {
		typ := reflect.TypeOf(v)
		e, err := Encode(v)
		if err != nil {
			t.Fatal(err)
		}
		e.Close()
		if most := MaxSize(typ); len(e.Bytes) > most || most > 100<<10 {
			t.Errorf("%v: %d bytes of at most %d", typ, len(e.Bytes), most)
		}
	}
	types := []reflect.Type{reflect.TypeFor[[1 << 30]byte]()} // without a value: that would be in the test binary
	for _, v := range []any{"", []int{}, map[int]int{}, list{}, []any{}, struct{ S string }{}, everything{}, struct{ A any }{}, panics{}} {
		types = append(types, reflect.TypeOf(v))
	}
	for _, typ := range types {
		if most := MaxSize(typ); most != MaxValue {
			t.Errorf("%v: %d", typ, most)
		}
	}
	if MaxSize(nil) != MaxValue || MaxSize(reflect.TypeFor[any]()) != MaxValue {
		t.Error("of no type")
	}
}

type inner2 struct{ LongNameOfAField int32 }
