package main

import (
	"bytes"
	"errors"
	"fmt"
	"image/color"
	"math"
	"slices"
	"strconv"
	"strings"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/font"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgsvg"

	"github.com/gonso/gonso/integration/bench/record"
)

var errNothing = errors.New("the results have nothing for it")

// plots are the files, and what is in them.
var plots = []struct {
	name string
	draw func(*record.Record) ([]byte, error)
}{
	{"heap.svg", byHeap},
	{"callers.svg", byCallers},
	{"peers.svg", againstPeers},
}

// colors are told apart by those who see no red or green, too.
var colors = []color.Color{
	color.RGBA{0x00, 0x72, 0xb2, 0xff}, color.RGBA{0xd5, 0x5e, 0x00, 0xff}, color.RGBA{0x00, 0x9e, 0x73, 0xff},
	color.RGBA{0xcc, 0x79, 0xa7, 0xff}, color.RGBA{0xe6, 0x9f, 0x00, 0xff}, color.RGBA{0x56, 0xb4, 0xe9, 0xff},
	color.RGBA{0x44, 0x44, 0x44, 0xff}, color.RGBA{0x99, 0x66, 0x33, 0xff},
}

func newPlot(title string, r *record.Record) *plot.Plot {
	plot.DefaultFont = font.Font{Typeface: "Liberation", Variant: "Sans"}
	p := plot.New()
	p.Title.Text = title + "\n" + caption(r)
	p.Title.TextStyle.Font.Size = vg.Points(9)
	p.Title.Padding = vg.Points(8)
	p.Legend.Padding = vg.Points(1.5)
	for _, style := range []*draw.TextStyle{&p.X.Label.TextStyle, &p.Y.Label.TextStyle, &p.X.Tick.Label, &p.Y.Tick.Label, &p.Legend.TextStyle} {
		style.Font.Size = vg.Points(9)
	}
	p.Legend.Top = true
	return p
}

// caption says what made the results.
func caption(r *record.Record) string {
	load, _, _ := strings.Cut(r.Machine.Load, " ")
	text := fmt.Sprintf("%s, as %s, %s, Linux %s, %d CPUs (%s, %s), %d rounds, load %s: %s", r.Date.Format("2006-01-02"), r.User, r.Go,
		r.Machine.Kernel, len(r.Machine.CPUs), r.Machine.Arch, r.Machine.Processor, r.Rounds, load, strings.Join(r.Command, " "))
	if r.Short {
		text += " (everything once: the figures mean nothing)"
	}
	return wrap(text, 95)
}

// wrap breaks lines between words.
func wrap(text string, width int) string {
	var b strings.Builder
	at := 0
	for _, word := range strings.Fields(text) {
		switch {
		case at == 0:
		case at+1+len(word) > width:
			b.WriteByte('\n')
			at = 0
		default:
			b.WriteByte(' ')
			at++
		}
		b.WriteString(word)
		at += len(word)
	}
	return b.String()
}

// svg has a white background, so that it can be read on a dark page as well as on a light one.
func svg(p *plot.Plot, width, height vg.Length) ([]byte, error) {
	c := vgsvg.New(width, height)
	dc := draw.New(c)
	dc.SetColor(color.White)
	dc.Fill(dc.Rectangle.Path())
	const margin = 6
	p.Draw(draw.Crop(dc, margin, -margin, margin, -margin))
	var b bytes.Buffer
	if _, err := c.WriteTo(&b); err != nil {
		return nil, err
	}
	// Not every machine has the font that it was measured with; Arial is as wide.
	return bytes.ReplaceAll(b.Bytes(), []byte("font-family:Liberation Sans"), []byte("font-family:Liberation Sans,Arial,sans-serif")), nil
}

// A series is a line of a plot.
type series struct {
	name string
	pts  plotter.XYs
}

// addTo adds a point to the series of a name, which may be new.
func addTo(all []series, name string, x, y float64) []series {
	i := slices.IndexFunc(all, func(s series) bool { return s.name == name })
	if i < 0 {
		i = len(all)
		all = append(all, series{name: name})
	}
	all[i].pts = append(all[i].pts, plotter.XY{X: x, Y: y})
	return all
}

// addLines draws series with marks at their points, and names them in the legend.
func addLines(p *plot.Plot, all []series) error {
	for i, s := range all {
		slices.SortFunc(s.pts, func(a, b plotter.XY) int { return int(math.Copysign(1, a.X-b.X)) })
		line, marks, err := plotter.NewLinePoints(s.pts)
		if err != nil {
			return err
		}
		line.Color, marks.Color = colors[i%len(colors)], colors[i%len(colors)]
		line.Width, marks.Radius = vg.Points(1.5), vg.Points(2.5)
		if i >= len(colors) {
			line.Dashes = []vg.Length{vg.Points(4), vg.Points(2)}
		}
		marks.Shape = draw.CircleGlyph{}
		p.Add(line, marks)
		p.Legend.Add(s.name, line, marks)
	}
	return nil
}

// valued ticks are at these values.
func valued(values []float64, name func(float64) string) plot.ConstantTicks {
	slices.Sort(values)
	var t plot.ConstantTicks
	for _, v := range slices.Compact(values) {
		t = append(t, plot.Tick{Value: v, Label: name(v)})
	}
	return t
}

func number(v float64) string { return strconv.FormatFloat(v, 'g', -1, 64) }

// decades are the ticks of a logarithmic axis, from 1 to 10^9.
func decades() plot.Ticker {
	var v []float64
	for d := 1e-3; d < 1e10; d *= 10 {
		v = append(v, d, 2*d, 5*d)
	}
	return valued(v, number)
}

func logarithmic(a *plot.Axis) {
	a.Scale = plot.LogScale{}
	a.Tick.Marker = within{decades()}
}

// within drops the ticks that are outside of the axis.
type within struct{ plot.Ticker }

func (t within) Ticks(lo, hi float64) (in []plot.Tick) {
	for _, k := range t.Ticker.Ticks(lo, hi) {
		if k.Value >= lo && k.Value <= hi {
			in = append(in, k)
		}
	}
	return in
}

// byHeap has what takes longer the more heap the program has, and what does not.
func byHeap(r *record.Record) ([]byte, error) {
	var all []series
	var sizes []float64
	for _, l := range r.Lines {
		if l.Row == "flat in heap" && l.Series != "" && l.NotMeasured == "" && l.Takes > 0 {
			all = addTo(all, strings.TrimSpace(l.Series), l.Param, l.Takes/1e6)
			sizes = append(sizes, l.Param)
		}
	}
	if len(all) == 0 {
		return nil, errNothing
	}
	p := newPlot("What a live heap costs", r)
	p.X.Label.Text, p.Y.Label.Text = "MiB of live heap", "ms"
	logarithmic(&p.Y)
	p.X.Tick.Marker = valued(sizes, number)
	p.Add(plotter.NewGrid())
	p.Legend.Left = true
	if err := addLines(p, all); err != nil {
		return nil, err
	}
	p.Y.Max *= 20 // for the legend
	return svg(p, 16*vg.Centimeter, 12*vg.Centimeter)
}

// byCallers has how many calls get through, where processes are free to run where they like, or else on one CPU.
func byCallers(r *record.Record) ([]byte, error) {
	for _, placement := range []string{"free", "one CPU"} {
		var all []series
		var callers []float64
		for _, l := range r.Lines {
			// Calls to another process alone: those in the same one are of another size.
			if l.Placement != placement || l.Calls == nil || l.Calls.WorkerCPU == nil || l.Callers == 1 && l.Pace != "back to back" ||
				strings.HasSuffix(l.What, ", raw") {
				continue
			}
			all = addTo(all, l.What, float64(l.Callers), l.Calls.PerSecond/1000)
			callers = append(callers, float64(l.Callers))
		}
		if len(all) == 0 {
			continue
		}
		p := newPlot("Calls to another process, placement: "+placement, r)
		p.X.Label.Text, p.Y.Label.Text = "callers at once", "thousand calls a second"
		p.X.Scale = plot.LogScale{}
		logarithmic(&p.Y)
		p.X.Tick.Marker = valued(callers, number)
		p.Add(plotter.NewGrid())
		p.Legend.Left = true
		if err := addLines(p, all); err != nil {
			return nil, err
		}
		p.X.Max = max(p.X.Max, 2*p.X.Min)
		p.Y.Max *= 8 // for the legend
		return svg(p, 16*vg.Centimeter, 13*vg.Centimeter)
	}
	return nil, errNothing
}

// againstPeers has bars: the median time of a call, back to back, in each placement.
func againstPeers(r *record.Record) ([]byte, error) {
	var placements, names []string
	times := make(map[string]map[string]float64)
	for _, l := range r.Lines {
		if l.Pace != "back to back" || l.Calls == nil || strings.HasPrefix(l.What, "setns") || l.What == "the pace alone" {
			continue
		}
		if times[l.Placement] == nil {
			times[l.Placement] = make(map[string]float64)
			placements = append(placements, l.Placement)
		}
		times[l.Placement][l.What] = l.Calls.P50 / 1e3
		if !slices.Contains(names, l.What) {
			names = append(names, l.What)
		}
	}
	if len(names) == 0 {
		return nil, errNothing
	}
	p := newPlot("A call, back to back, median", r)
	p.X.Label.Text = "µs"
	slices.Reverse(names) // the first is at the top
	const width = 5.5
	for i, placement := range placements {
		values := make(plotter.Values, len(names))
		for j, name := range names {
			values[j] = times[placement][name] // 0, which is no bar, where it was not measured
		}
		bars, err := plotter.NewBarChart(values, vg.Points(width))
		if err != nil {
			return nil, err
		}
		bars.Horizontal, bars.Color, bars.LineStyle.Width = true, colors[i], 0
		bars.Offset = vg.Points(width * (float64(len(placements)-1)/2 - float64(i)))
		p.Add(bars)
		p.Legend.Add(placement, bars)
	}
	p.NominalY(names...)
	p.X.Min = 0
	grid := plotter.NewGrid()
	grid.Horizontal.Width = 0
	p.Add(grid)
	return svg(p, 16*vg.Centimeter, vg.Points(110+float64(len(names))*22))
}
