package main

import (
	"fmt"
	"image/color"
	"os"
	"path/filepath"
	"strings"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/font"
	"gonum.org/v1/plot/text"
	"gonum.org/v1/plot/vg"
	vgdraw "gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgimg"
	"gonum.org/v1/plot/vg/vgsvg"

	"github.com/ringtree/ringtree/collective/plan"
	"github.com/ringtree/ringtree/topology"
)

// levelColors are told apart also by readers who do not see red and green as others do (Okabe, Ito 2008).
var levelColors = [...]color.Color{
	topology.Device: color.RGBA{0x56, 0xb4, 0xe9, 0xff}, topology.Host: color.RGBA{0x00, 0x72, 0xb2, 0xff},
	topology.Rack: color.RGBA{0x00, 0x9e, 0x73, 0xff}, topology.Site: color.RGBA{0xe6, 0x9f, 0x00, 0xff},
	topology.World: color.RGBA{0xd5, 0x5e, 0x00, 0xff},
}

const plotDPI = 150

// draw draws hosts as boxes with their ranks, and above them, tier by tier, what joins them, to a .png or .svg file.
func draw(path, title string, g *topology.Graph) error {
	p := layOut(g)
	var canvas vg.CanvasWriterTo
	if strings.EqualFold(filepath.Ext(path), ".svg") {
		canvas = vgsvg.New(p.width, p.height)
	} else {
		canvas = vgimg.PngCanvas{Canvas: vgimg.NewWith(vgimg.UseWH(p.width, p.height), vgimg.UseDPI(plotDPI))}
	}
	b := brush{vgdraw.New(canvas)}
	b.rectangle(vg.Rectangle{Max: vg.Point{X: p.width, Y: p.height}}, color.White, nil)
	b.text(vg.Point{X: margin, Y: p.height - margin}, title, 13, color.Black, vgdraw.XLeft, vgdraw.YTop)
	for _, bus := range p.buses {
		c := levelColors[bus.level]
		for _, top := range bus.drops {
			b.line(c, 1.6, vg.Point{X: top.X, Y: bus.y}, top)
		}
		b.line(c, 4, vg.Point{X: bus.from, Y: bus.y}, vg.Point{X: bus.to, Y: bus.y})
		b.text(vg.Point{X: bus.from + 4, Y: bus.y + 4}, bus.name, 9, c, vgdraw.XLeft, vgdraw.YBottom)
	}
	for i := range p.hosts {
		b.host(&p.hosts[i], g)
	}
	for i, l := range p.legend {
		y := p.height - margin - titleHeight - vg.Length(i)*legendLine
		b.line(levelColors[l.Level], 4, vg.Point{X: margin, Y: y}, vg.Point{X: margin + 18, Y: y})
		label := fmt.Sprintf("%v: alpha %s, %s", l.Level, plan.Seconds(l.Alpha), rate(l.Beta))
		b.text(vg.Point{X: margin + 24, Y: y}, label, 10, color.Black, vgdraw.XLeft, vgdraw.YCenter)
	}
	if p.more != "" {
		b.text(vg.Point{X: p.width - margin, Y: margin / 2}, p.more, 10, color.Gray{0x60}, vgdraw.XRight, vgdraw.YBottom)
	}
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	if _, err := canvas.WriteTo(f); err != nil {
		_ = f.Close()
		return err
	}
	return f.Close()
}

// A brush draws on a canvas.
type brush struct{ vgdraw.Canvas }

func (b brush) line(c color.Color, width vg.Length, points ...vg.Point) {
	b.StrokeLines(vgdraw.LineStyle{Color: c, Width: width}, points)
}

func (b brush) rectangle(r vg.Rectangle, fill, edge color.Color) {
	corners := []vg.Point{r.Min, {X: r.Max.X, Y: r.Min.Y}, r.Max, {X: r.Min.X, Y: r.Max.Y}, r.Min}
	if fill != nil {
		b.FillPolygon(fill, corners)
	}
	if edge != nil {
		b.line(edge, 1.2, corners...)
	}
}

func (b brush) text(at vg.Point, s string, size vg.Length, c color.Color, x text.XAlignment, y text.YAlignment) {
	b.FillText(vgdraw.TextStyle{
		Color: c, Font: font.From(plot.DefaultFont, size), XAlign: x, YAlign: y, Handler: plot.DefaultTextHandler,
	}, at, s)
}

// host draws a box, within it the ranks in rows, joined by what joins them: a process by a box of its own.
func (b brush) host(h *hostBox, g *topology.Graph) {
	b.rectangle(h.box, color.Gray{0xf6}, color.Gray{0x80})
	b.text(vg.Point{X: (h.box.Min.X + h.box.Max.X) / 2, Y: h.box.Max.Y - 5}, h.name, 10, color.Black, vgdraw.XCenter, vgdraw.YTop)
	for i := 1; i < len(h.ranks); i++ {
		a, c := h.ranks[i-1], h.ranks[i]
		b.line(levelColors[g.Link(a.rank, c.rank).Level], 2, a.at, c.at)
	}
	for _, r := range h.ranks {
		b.DrawGlyph(vgdraw.GlyphStyle{Color: color.White, Radius: rankRadius, Shape: vgdraw.CircleGlyph{}}, r.at)
		b.DrawGlyph(vgdraw.GlyphStyle{Color: color.Black, Radius: rankRadius, Shape: vgdraw.RingGlyph{}}, r.at)
		b.text(r.at, fmt.Sprint(r.rank), 9, color.Black, vgdraw.XCenter, vgdraw.YCenter)
	}
	if h.more != "" {
		b.text(vg.Point{X: (h.box.Min.X + h.box.Max.X) / 2, Y: h.box.Min.Y + 4}, h.more, 8, color.Gray{0x60}, vgdraw.XCenter, vgdraw.YBottom)
	}
}
