package main

import (
	"fmt"
	"image/color"
	"math"
	"os"
	"path/filepath"
	"strings"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgimg"
	"gonum.org/v1/plot/vg/vgsvg"
)

var (
	lossColor     = color.RGBA{R: 0x1f, G: 0x77, B: 0xb4, A: 0xff}
	accuracyColor = color.RGBA{R: 0xd6, G: 0x60, B: 0x1c, A: 0xff}
	gridColor     = color.Gray{Y: 0xe4}
)

// plotFile draws loss and accuracy by epoch, side by side, into a .png or .svg file.
func plotFile(name string, ranks int, o *options, r *result) (err error) {
	loss, accuracy := make(plotter.XYs, len(r.Epochs)), make(plotter.XYs, len(r.Epochs))
	for i, e := range r.Epochs {
		// A logarithmic axis has no zero; a loss this small is zero in the table too.
		loss[i] = plotter.XY{X: float64(e.Epoch), Y: max(e.Loss, 1e-6)}
		accuracy[i] = plotter.XY{X: float64(e.Epoch), Y: 100 * e.Accuracy}
	}
	left, err := panel("training cross-entropy (nats)", loss, lossColor)
	if err != nil {
		return err
	}
	left.Y.Scale = plot.LogScale{}
	left.Y.Tick.Marker = logTicks{}
	right, err := panel("test accuracy (%)", accuracy, accuracyColor)
	if err != nil {
		return err
	}
	right.Y.Max = 100

	const width, height = 24 * vg.Centimeter, 11 * vg.Centimeter
	var canvas vg.CanvasWriterTo
	if strings.ToLower(filepath.Ext(name)) == ".svg" {
		canvas = vgsvg.New(width, height)
	} else {
		canvas = vgimg.PngCanvas{Canvas: vgimg.NewWith(vgimg.UseWH(width, height), vgimg.UseDPI(150))}
	}
	drawPanels(draw.New(canvas), title(ranks, o, r), left, right)

	f, err := os.Create(name)
	if err != nil {
		return err
	}
	defer func() {
		if e := f.Close(); err == nil {
			err = e
		}
	}()
	_, err = canvas.WriteTo(f)
	return err
}

func title(ranks int, o *options, r *result) string {
	return fmt.Sprintf("Handwritten digits, layers %s, batch %d on %d %s: %.1f %% right at the end",
		shape(o), o.batch, ranks, plural(ranks, "rank", "ranks"), 100*r.last().Accuracy)
}

// drawPanels fills the canvas: a line of text, and plots side by side below it.
func drawPanels(c draw.Canvas, text string, panels ...*plot.Plot) {
	c.SetColor(color.White)
	c.Fill(c.Rectangle.Path())
	style := panels[0].Title.TextStyle
	style.Font.Size = 13
	style.XAlign, style.YAlign = draw.XCenter, draw.YTop
	c.FillText(style, vg.Point{X: c.Center().X, Y: c.Max.Y - 8}, text)

	tiles := draw.Tiles{Rows: 1, Cols: len(panels), PadX: 24, PadLeft: 8, PadRight: 14, PadBottom: 8, PadTop: 34}
	for i, p := range panels {
		p.Draw(tiles.At(c, i, 0))
	}
}

// panel is one curve against epochs.
func panel(label string, points plotter.XYs, c color.Color) (*plot.Plot, error) {
	p := plot.New()
	// The quantity stands above the axis and not along it: gonum/plot centres an axis label at the mean of the
	// ends, which on a logarithmic axis is near the top, and makes room for it there.
	p.Title.Text, p.Title.Padding = label, 6
	p.Title.TextStyle.Font.Size = 11
	p.X.Label.Text = "epoch"
	for _, axis := range []*plot.Axis{&p.X, &p.Y} {
		axis.Label.TextStyle.Font.Size = 11
		axis.Tick.Label.Font.Size = 10
	}
	p.X.Tick.Marker = wholeTicks{}
	grid := plotter.NewGrid()
	grid.Horizontal.Color, grid.Vertical.Color = gridColor, gridColor
	line, dots, err := plotter.NewLinePoints(points)
	if err != nil {
		return nil, err
	}
	line.Color, line.Width = c, 1.6
	dots.Color, dots.Radius, dots.Shape = c, 2.2, draw.CircleGlyph{}
	p.Add(grid, line, dots)
	p.X.Min, p.X.Max = points[0].X-0.5, points[len(points)-1].X+0.5
	if lo := p.Y.Min; p.Y.Max == lo { // a single epoch
		p.Y.Min, p.Y.Max = lo/2, lo*2+1e-6
	}
	return p, nil
}

// wholeTicks marks whole epochs, about eight of them.
type wholeTicks struct{}

func (wholeTicks) Ticks(lo, hi float64) []plot.Tick {
	first, last := int(math.Ceil(lo)), int(math.Floor(hi))
	step := 1
	for i := 0; (last-first)/step > 8; i++ {
		step = []int{1, 2, 5}[i%3] * int(math.Pow10(i/3))
	}
	var ticks []plot.Tick
	for v := first; v <= last; v++ {
		if v%step == 0 || v == first && step > 1 && v == 1 {
			ticks = append(ticks, plot.Tick{Value: float64(v), Label: fmt.Sprint(v)})
		}
	}
	return ticks
}

// logTicks marks 1, 2 and 5 times each power of ten.
type logTicks struct{}

func (logTicks) Ticks(lo, hi float64) []plot.Tick {
	var ticks []plot.Tick
	for decade := math.Floor(math.Log10(lo)); decade <= math.Ceil(math.Log10(hi)); decade++ {
		for digit := 1.0; digit < 10; digit++ {
			v := digit * math.Pow(10, decade)
			if v < lo || v > hi {
				continue
			}
			t := plot.Tick{Value: v}
			if digit == 1 || digit == 2 || digit == 5 {
				t.Label = fmt.Sprintf("%.3g", v)
			}
			ticks = append(ticks, t)
		}
	}
	return ticks
}
