package main

import (
	"bytes"
	"cmp"
	"fmt"
	"math"
	"slices"
	"strconv"
)

// chart is a chart with a logarithmic vertical axis. Lines differ by colour, dashes and markers,
// and have labels.
type chart struct {
	title, xTitle, yTitle string
	ticks                 []tick
	lines                 []line
}

// tick is a label at a position of the horizontal axis, from 0 to 1.
type tick struct {
	at   float64
	text string
}

// line is the line of one contender. An isolated point is not connected to the others.
type line struct {
	name   string
	points []point
}

type point struct {
	at, value float64 // at from 0 to 1
	detached  bool
}

const (
	chartWidth, chartHeight         = 860, 460
	plotLeft, plotTop               = 80, 56
	plotWidth, plotHeight           = 560, 330
	labelLeft                       = plotLeft + plotWidth + 18
	labelStep                       = 20
	tickShort, markSize     float64 = 6, 4.5
)

// style follows the reader's choice of dark or light, with its own background.
const style = `<style>
text{font:13px system-ui,sans-serif;fill:#1f2328}
.title{font-size:16px;font-weight:600}.name{font-weight:600}
.ground{fill:#fff}.grid{stroke:#d0d7de}.axis{stroke:#57606a}
.join{fill:none;stroke-width:2}.mark{stroke-width:1.5}.lead{stroke-width:1;opacity:.5}
.l0 *{stroke:#0550ae}.l1 *{stroke:#1a7f37}.l2 *{stroke:#9a6700}.l3 *{stroke:#a40e26}
.l0 .mark,.l0 .name{fill:#0550ae}.l1 .mark,.l1 .name{fill:#1a7f37}.l2 .mark,.l2 .name{fill:#9a6700}.l3 .mark,.l3 .name{fill:#a40e26}
@media (prefers-color-scheme:dark){text{fill:#e6edf3}.ground{fill:#0d1117}.grid{stroke:#30363d}.axis{stroke:#8b949e}
.l0 *{stroke:#79c0ff}.l1 *{stroke:#7ee787}.l2 *{stroke:#e3b341}.l3 *{stroke:#ffa198}
.l0 .mark,.l0 .name{fill:#79c0ff}.l1 .mark,.l1 .name{fill:#7ee787}.l2 .mark,.l2 .name{fill:#e3b341}.l3 .mark,.l3 .name{fill:#ffa198}}
g .name{stroke:none}
</style>
`

// svg draws the chart.
func (c *chart) svg() []byte {
	var b bytes.Buffer
	low, high := c.bounds()
	x := func(at float64) float64 { return plotLeft + at*plotWidth }
	y := func(value float64) float64 {
		return plotTop + plotHeight*(1-(math.Log10(value)-low)/(high-low))
	}
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" width="%d" height="%d" role="img"><title>%s</title>`+"\n",
		chartWidth, chartHeight, chartWidth, chartHeight, c.title)
	b.WriteString(style)
	fmt.Fprintf(&b, `<rect class="ground" width="%d" height="%d" rx="8"/><text class="title" x="%d" y="28">%s</text>`+"\n", chartWidth, chartHeight, 20, c.title)
	fmt.Fprintf(&b, `<text x="%d" y="50">%s</text>`+"\n", plotLeft+10, c.yTitle)
	for decade := low; decade <= high; decade++ {
		at := y(math.Pow(10, decade))
		fmt.Fprintf(&b, `<line class="grid" x1="%d" x2="%d" y1="%.1f" y2="%.1f"/><text x="%d" y="%.1f" text-anchor="end">%s</text>`+"\n",
			plotLeft, plotLeft+plotWidth, at, at, plotLeft-10, at+4, axisLabel(decade))
	}
	const bottom = plotTop + plotHeight
	for _, t := range c.ticks {
		fmt.Fprintf(&b, `<line class="axis" x1="%.1f" x2="%.1f" y1="%d" y2="%.1f"/><text x="%.1f" y="%d" text-anchor="middle">%s</text>`+"\n",
			x(t.at), x(t.at), bottom, bottom+tickShort, x(t.at), bottom+22, t.text)
	}
	fmt.Fprintf(&b, `<line class="axis" x1="%d" x2="%d" y1="%d" y2="%d"/><line class="axis" x1="%d" x2="%d" y1="%d" y2="%d"/>`+"\n",
		plotLeft, plotLeft+plotWidth, bottom, bottom, plotLeft, plotLeft, plotTop, bottom)
	fmt.Fprintf(&b, `<text x="%d" y="%d" text-anchor="middle">%s</text>`+"\n", plotLeft+plotWidth/2, bottom+48, c.xTitle)
	labelPositions := c.labels(y)
	for i, l := range c.lines {
		if len(l.points) == 0 {
			continue
		}
		fmt.Fprintf(&b, `<g class="l%d">`, i)
		b.WriteString(`<path class="join"` + dashes(i) + ` d="`)
		verb := "M"
		for _, p := range l.points {
			if !p.detached {
				fmt.Fprintf(&b, "%s%.1f %.1f", verb, x(p.at), y(p.value))
				verb = "L"
			}
		}
		b.WriteString(`"/>`)
		for _, p := range l.points {
			b.WriteString(marker(i, x(p.at), y(p.value)))
			fmt.Fprintf(&b, `<title>%s: %s</title></path>`, l.name, formatNumber(p.value))
		}
		last := l.points[len(l.points)-1]
		fmt.Fprintf(&b, `<line class="lead" x1="%.1f" x2="%d" y1="%.1f" y2="%.1f"/>`, x(last.at)+2*markSize, labelLeft-4, y(last.value), labelPositions[i])
		fmt.Fprintf(&b, `<text class="name" x="%d" y="%.1f">%s: %s</text></g>`+"\n", labelLeft, labelPositions[i]+4, l.name, formatNumber(last.value))
	}
	b.WriteString("</svg>\n")
	return b.Bytes()
}

// axisLabel formats a power of ten.
func axisLabel(decade float64) string {
	if decade < 0 {
		return strconv.FormatFloat(math.Pow(10, decade), 'f', -1, 64)
	}
	return formatThousands(int(math.Pow(10, decade)))
}

// bounds returns the decades that contain all points.
func (c *chart) bounds() (low, high float64) {
	low, high = math.Inf(1), math.Inf(-1)
	for _, l := range c.lines {
		for _, p := range l.points {
			low, high = min(low, math.Floor(math.Log10(p.value))), max(high, math.Ceil(math.Log10(p.value)))
		}
	}
	if math.IsInf(low, 0) {
		return 0, 1
	}
	return low, max(high, low+1)
}

// labels returns the vertical positions of the lines' labels: at their last points, but far enough
// apart to be readable.
func (c *chart) labels(y func(float64) float64) map[int]float64 {
	var order []int
	for i, l := range c.lines {
		if len(l.points) > 0 {
			order = append(order, i)
		}
	}
	at := func(i int) float64 { return y(c.lines[i].points[len(c.lines[i].points)-1].value) }
	slices.SortFunc(order, func(a, b int) int { return cmp.Compare(at(a), at(b)) })
	positions := map[int]float64{}
	free := float64(plotTop)
	for _, i := range order {
		positions[i] = max(at(i), free)
		free = positions[i] + labelStep
	}
	return positions
}

func dashes(i int) string {
	return []string{"", ` stroke-dasharray="8 4"`, ` stroke-dasharray="2 4"`, ` stroke-dasharray="10 4 2 4"`}[i%4]
}

// marker returns the path of a circle, square, triangle or diamond.
func marker(i int, x, y float64) string {
	const s = markSize
	shape := []string{
		fmt.Sprintf("M%.1f %.1fa%g %g 0 1 0 %g 0a%g %g 0 1 0 %g 0", x-s, y, s, s, 2*s, s, s, -2*s),
		fmt.Sprintf("M%.1f %.1fh%gv%gh%gz", x-s, y-s, 2*s, 2*s, -2*s),
		fmt.Sprintf("M%.1f %.1fl%g %gh%gz", x, y-s, s, 2*s, -2*s),
		fmt.Sprintf("M%.1f %.1fl%g %gl%g %gl%g %gz", x, y-s-1, s+1, s+1, -s-1, s+1, -s-1, -s-1),
	}[i%4]
	return `<path class="mark" d="` + shape + `">`
}

// costByChanges draws the cost of a poll against the share of rows that change.
func (r *report) costByChanges() []byte {
	c := chart{
		title:  fmt.Sprintf("Processor time of a poll with %s agents", formatThousands(r.options.agents)),
		xTitle: "share of rows changed since the last poll", yTitle: "ms a poll, logarithmic",
	}
	positions := []float64{0.05, 0.27, 0.49, 0.71, 0.94}
	for i, l := range loads() {
		name := l.Name
		if l.Ticks {
			name = "clocks alone"
		}
		c.ticks = append(c.ticks, tick{positions[i], name})
	}
	for _, name := range r.options.contenders {
		result := line{name: name}
		for i, l := range loads() {
			if s, ok := r.summarize(name, r.options.agents, l); ok && s.cost > 0 {
				result.points = append(result.points, point{positions[i], ms(s.cost), l.Ticks})
			}
		}
		c.lines = append(c.lines, result)
	}
	return c.svg()
}

// costByAgents draws the cost of a poll against the number of agents.
func (r *report) costByAgents() []byte {
	few := loads()[1]
	c := chart{
		title:  "Processor time of a poll in which 1 % of the rows changed",
		xTitle: "agents, logarithmic", yTitle: "ms a poll, logarithmic",
	}
	sizes := r.options.sizes
	low, high := math.Log10(float64(slices.Min(sizes))), math.Log10(float64(slices.Max(sizes)))
	position := func(agents int) float64 { return 0.03 + 0.94*(math.Log10(float64(agents))-low)/max(high-low, 1) }
	for _, agents := range sizes {
		c.ticks = append(c.ticks, tick{position(agents), formatThousands(agents)})
	}
	for _, name := range r.options.contenders {
		result := line{name: name}
		for _, agents := range sizes {
			if s, ok := r.summarize(name, agents, few); ok && s.cost > 0 {
				result.points = append(result.points, point{position(agents), ms(s.cost), false})
			}
		}
		c.lines = append(c.lines, result)
	}
	return c.svg()
}
