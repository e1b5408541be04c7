//! Draws panels of lines over a logarithmic axis as an SVG that can be read on light and on dark.

use std::fmt::{Result, Write as _};

/// One diagram.
pub(crate) struct Panel {
    /// What its values are.
    pub(crate) title: &'static str,
    pub(crate) lines: Vec<Line>,
}

/// What became of a figure as something grew.
pub(crate) struct Line {
    /// What grew.
    pub(crate) name: &'static str,
    /// How much there was, and the figure.
    pub(crate) points: Vec<(f64, f64)>,
}

const WIDTH: f64 = 300.0;
const HEIGHT: f64 = 220.0;
/// Of a diagram within its panel.
const LEFT: f64 = 46.0;
const TOP: f64 = 30.0;
/// Between panels, below each, and below all.
const GAP: f64 = 24.0;
const FOOT: f64 = 50.0;
const LEGEND: f64 = 50.0;
/// Panels beside each other.
const COLUMNS: usize = 2;
/// Powers of ten on the axis.
const DECADES: u32 = 7;

/// Colours that differ in lightness as well, for both backgrounds.
const STYLE: &str = "text{font:12px sans-serif;fill:#24292f}.t{font-weight:600}\
    .a{stroke:#8c959f;stroke-width:1}.g{stroke:#8c959f;stroke-width:.5;opacity:.4}\
    polyline{fill:none;stroke-width:2}\
    .s0{stroke:#0969da;fill:#0969da}.s1{stroke:#bc4c00;fill:#bc4c00}.s2{stroke:#1a7f37;fill:#1a7f37}\
    .s3{stroke:#8250df;fill:#8250df}.s4{stroke:#bf3989;fill:#bf3989}.s5{stroke:#57606a;fill:#57606a}\
    polyline{fill:none!important}\
    @media(prefers-color-scheme:dark){text{fill:#e6edf3}\
    .s0{stroke:#58a6ff;fill:#58a6ff}.s1{stroke:#f0883e;fill:#f0883e}.s2{stroke:#3fb950;fill:#3fb950}\
    .s3{stroke:#bc8cff;fill:#bc8cff}.s4{stroke:#f778ba;fill:#f778ba}\
    .s5{stroke:#c9d1d9;fill:#c9d1d9}}";

/// The whole picture.
pub(crate) fn draw(panels: &[Panel]) -> std::result::Result<String, std::fmt::Error> {
    let (column, row) = (LEFT + WIDTH + GAP, TOP + HEIGHT + FOOT);
    let places = |panels: &[Panel]| panels.iter().fold(0.0, |count, _| count + 1.0);
    let rows = panels.chunks(COLUMNS).fold(0.0, |count, _| count + 1.0);
    let width = panels.chunks(COLUMNS).map(places).fold(0.0, f64::max) * column;
    let height = rows * row + LEGEND;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" \
         viewBox=\"0 0 {width} {height}\">\n<style>{STYLE}</style>\n"
    );
    let mut top = TOP;
    for panels in panels.chunks(COLUMNS) {
        let mut left = LEFT;
        for panel in panels {
            draw_panel(&mut svg, panel, left, top)?;
            left += column;
        }
        top += row;
    }
    let names = panels.first().map(|panel| panel.lines.as_slice()).unwrap_or_default();
    let (mut x, y) = (LEFT, height - 16.0);
    for (number, line) in names.iter().enumerate() {
        writeln!(svg, "<circle class=\"s{number}\" cx=\"{x}\" cy=\"{}\" r=\"4\"/>", y - 4.0)?;
        writeln!(svg, "<text x=\"{}\" y=\"{y}\">{}</text>", x + 10.0, line.name)?;
        x += 122.0;
    }
    svg.push_str("</svg>\n");
    Ok(svg)
}

fn draw_panel(svg: &mut String, panel: &Panel, left: f64, top: f64) -> Result {
    let values = panel.lines.iter().flat_map(|line| &line.points).map(|(_, value)| *value);
    let most = round_up(values.fold(0.0, f64::max));
    let (bottom, right) = (top + HEIGHT, left + WIDTH);
    // Nothing and one stand at the same place: there is no logarithm of nothing.
    let x = |size: f64| left + size.max(1.0).log10() / f64::from(DECADES) * WIDTH;
    let y = |value: f64| bottom - value / most * HEIGHT;
    writeln!(svg, "<text class=\"t\" x=\"{left}\" y=\"{}\">{}</text>", top - 12.0, panel.title)?;
    for step in 0..=4 {
        // In tenths of a thousandth: a quarter of a decimal number may have a long tail.
        let value = (most * f64::from(step) / 4.0 * 1e4).round() / 1e4;
        let (y, class) = (y(value), if step == 0 { "a" } else { "g" });
        writeln!(svg, "<path class=\"{class}\" d=\"M{left} {y:.1}H{right}\"/>")?;
        let (x, y) = (left - 6.0, y + 4.0);
        writeln!(svg, "<text text-anchor=\"end\" x=\"{x}\" y=\"{y:.1}\">{value}</text>")?;
    }
    for (power, name) in (0..).zip(["1", "10", "100", "1k", "10k", "100k", "1M", "10M"]) {
        let (x, y) = (x(10_f64.powi(power)), bottom + 16.0);
        writeln!(svg, "<path class=\"a\" d=\"M{x:.1} {bottom}v4\"/>")?;
        writeln!(svg, "<text text-anchor=\"middle\" x=\"{x:.1}\" y=\"{y}\">{name}</text>")?;
    }
    let (middle, below) = (left + WIDTH / 2.0, bottom + 36.0);
    writeln!(svg, "<text text-anchor=\"middle\" x=\"{middle}\" y=\"{below}\">how many</text>")?;
    for (number, line) in panel.lines.iter().enumerate() {
        let mut points = String::new();
        for (size, value) in &line.points {
            let (x, y) = (x(*size), y(*value));
            write!(points, "{x:.1},{y:.1} ")?;
            writeln!(svg, "<circle class=\"s{number}\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3\"/>")?;
        }
        writeln!(svg, "<polyline class=\"s{number}\" points=\"{}\"/>", points.trim_end())?;
    }
    Ok(())
}

/// The next of 1, 2, 4 and 8 times a power of ten.
fn round_up(value: f64) -> f64 {
    let power = 10_f64.powf(value.max(1e-9).log10().floor());
    let step = [1.0, 2.0, 4.0, 8.0].into_iter().find(|step| step * power >= value);
    step.unwrap_or(10.0) * power
}
