//! Curves as an SVG: small pictures side by side over one axis, readable on light and dark, in two columns.

use std::fmt::Write as _;

const WIDTH: f64 = 800.0;
const COLUMNS: usize = 2;
/// Of a small picture, with what stands around its plot.
const CELL: (f64, f64) = (WIDTH / COLUMNS as f64, 190.0);
const LEFT: f64 = 58.0;
const RIGHT: f64 = 18.0;
const TOP: f64 = 30.0;
const BOTTOM: f64 = 26.0;
const TITLE: f64 = 34.0;
const FOOT: f64 = 24.0;
/// Steps of a linear axis, about.
const STEPS: f64 = 4.0;

const STYLE: &str = "svg{--back:#fff;--ink:#1f2328;--soft:#656d76;--grid:#d8dee4;--a:#0969da;--b:#bc4c00;--c:#8250df}\
@media(prefers-color-scheme:dark){svg{--back:#0d1117;--ink:#e6edf3;--soft:#9198a1;--grid:#30363d;--a:#58a6ff;--b:#f0883e;--c:#bc8cff}}\
text{font:11px sans-serif;fill:var(--soft)}.title{font-size:14px;fill:var(--ink)}.name{font-size:12px;fill:var(--ink)}\
.back{fill:var(--back)}.grid{stroke:var(--grid);stroke-width:1}.mark{stroke:var(--soft);stroke-width:1;stroke-dasharray:1 3}\
.a,.b,.c{fill:none;stroke-width:1.6;stroke-linejoin:round}.a{stroke:var(--a)}.b{stroke:var(--b)}.c{stroke:var(--c)}\
.dot-a{fill:var(--a)}.dot-b{fill:var(--b)}.dot-c{fill:var(--c)}";

const COLOURS: [&str; 3] = ["a", "b", "c"];

/// How values lie along an axis.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scale {
    /// From 0.
    Linear,
    /// By decades.
    Log,
}

/// Points from left to right; the name may be empty where there is one line.
pub struct Line {
    pub name: &'static str,
    pub points: Vec<(f64, f64)>,
}

/// One of the small pictures.
pub struct Panel {
    pub title: &'static str,
    pub y: Scale,
    pub lines: Vec<Line>,
}

/// All of them.
pub struct Picture<'a> {
    pub title: &'a str,
    pub x_title: &'a str,
    pub x: Scale,
    /// Upright lines: where something happened.
    pub marks: Vec<f64>,
    pub panels: Vec<Panel>,
}

impl Picture<'_> {
    pub fn svg(&self) -> String {
        let rows = self.panels.len().div_ceil(COLUMNS);
        let height = TITLE + rows as f64 * CELL.1 + FOOT;
        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{height}\" \
             viewBox=\"0 0 {WIDTH} {height}\" role=\"img\">\n<title>{0}</title>\n<style>{STYLE}</style>\n\
             <rect class=\"back\" width=\"100%\" height=\"100%\"/>\n\
             <text class=\"title\" x=\"16\" y=\"22\">{0}</text>\n",
            escaped(self.title),
        );
        for (nth, panel) in self.panels.iter().enumerate() {
            let (column, row) = (nth % COLUMNS, nth / COLUMNS);
            let (x, y) = (column as f64 * CELL.0, TITLE + row as f64 * CELL.1);
            writeln!(svg, "<g transform=\"translate({x},{y})\">{}</g>", self.panel(panel)).unwrap();
        }
        let foot = height - 8.0;
        writeln!(svg, "<text x=\"16\" y=\"{foot}\">{}</text>\n</svg>", escaped(self.x_title)).unwrap();
        svg
    }

    fn panel(&self, panel: &Panel) -> String {
        let points = || panel.lines.iter().flat_map(|line| &line.points);
        let x = Axis::over(self.x, points().map(|point| point.0), (LEFT, CELL.0 - RIGHT));
        let y = Axis::over(panel.y, points().map(|point| point.1), (CELL.1 - BOTTOM, TOP));
        let mut svg = format!("<text class=\"name\" x=\"{LEFT}\" y=\"18\">{}</text>", escaped(panel.title));
        let named: Vec<String> = (panel.lines.iter().zip(COLOURS))
            .filter(|(line, _)| !line.name.is_empty())
            .map(|(line, colour)| format!("<tspan class=\"dot-{colour}\">{}</tspan>", escaped(line.name)))
            .collect();
        let right = CELL.0 - RIGHT;
        write!(svg, "<text x=\"{right}\" y=\"18\" text-anchor=\"end\">{}</text>", named.join(" · ")).unwrap();
        for value in y.ticks() {
            let at = y.at(value);
            write!(svg, "<path class=\"grid\" d=\"M{LEFT} {at:.1}H{right}\"/>").unwrap();
            let (text, under) = (label(value), at + 4.0);
            write!(svg, "<text x=\"{:.1}\" y=\"{under:.1}\" text-anchor=\"end\">{text}</text>", LEFT - 6.0)
                .unwrap();
        }
        for value in x.ticks() {
            let (at, under) = (x.at(value), CELL.1 - BOTTOM + 15.0);
            let text = label(value);
            write!(svg, "<text x=\"{at:.1}\" y=\"{under}\" text-anchor=\"middle\">{text}</text>").unwrap();
        }
        for mark in &self.marks {
            let (at, bottom) = (x.at(*mark), CELL.1 - BOTTOM);
            write!(svg, "<path class=\"mark\" d=\"M{at:.1} {TOP}V{bottom}\"/>").unwrap();
        }
        for (line, colour) in panel.lines.iter().zip(COLOURS) {
            let placed = line.points.iter().map(|point| (x.at(point.0), y.at(point.1)));
            let path: Vec<String> = placed.clone().map(|(x, y)| format!("{x:.1} {y:.1}")).collect();
            write!(svg, "<polyline class=\"{colour}\" points=\"{}\"/>", path.join(" ")).unwrap();
            // Where there are few, each is one that was measured.
            for (x, y) in placed.filter(|_| self.x == Scale::Log) {
                write!(svg, "<circle class=\"dot-{colour}\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"2.5\"/>")
                    .unwrap();
            }
        }
        svg
    }
}

struct Axis {
    scale: Scale,
    /// In what the scale makes of values.
    range: (f64, f64),
    /// In pixels.
    place: (f64, f64),
}

impl Axis {
    fn over(scale: Scale, values: impl Iterator<Item = f64>, place: (f64, f64)) -> Axis {
        let (mut low, mut high) = (f64::INFINITY, 0.0_f64);
        for value in values {
            (low, high) = (low.min(value), high.max(value));
        }
        let range = match scale {
            Scale::Linear => (0.0, if high > 0.0 { high * 1.05 } else { 1.0 }),
            Scale::Log if low > 0.0 && high > 0.0 => {
                // A whole decade at least, so that there is something to read it by.
                let (low, high) = (low.log10(), high.log10());
                let wanting = (1.0 - (high - low)).max(0.0) / 2.0;
                (low - wanting - 0.05, high + wanting + 0.05)
            }
            Scale::Log => (0.0, 1.0),
        };
        Axis { scale, range, place }
    }

    fn at(&self, value: f64) -> f64 {
        let value = if self.scale == Scale::Log { value.log10() } else { value };
        let part = ((value - self.range.0) / (self.range.1 - self.range.0)).clamp(0.0, 1.0);
        self.place.0 + part * (self.place.1 - self.place.0)
    }

    fn ticks(&self) -> Vec<f64> {
        if self.scale == Scale::Log {
            let (from, to) = (self.range.0.ceil() as i32, self.range.1.floor() as i32);
            return (from..=to).map(|power| 10_f64.powi(power)).collect();
        }
        let rough = self.range.1 / STEPS;
        let power = 10_f64.powf(rough.log10().floor());
        let step = [1.0, 2.0, 5.0, 10.0].map(|factor| factor * power).into_iter().find(|step| *step >= rough);
        let step = step.unwrap_or(rough);
        (0..=(self.range.1 / step) as i32).map(|nth| f64::from(nth) * step).collect()
    }
}

/// Short, with k and M.
fn label(value: f64) -> String {
    let (value, unit) = match value {
        value if value >= 1e6 => (value / 1e6, " M"),
        value if value >= 1e4 => (value / 1e3, " k"),
        value => (value, ""),
    };
    // A sum of tenths is not one.
    let text = format!("{value:.6}");
    format!("{}{unit}", text.trim_end_matches('0').trim_end_matches('.'))
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;")
}
