// SPDX-License-Identifier: GPL-2.0

//! Curves over the number of servers, as SVG.

use std::fmt::{Display, Write};

/// A name and its points.
type Curve<'a> = (&'a str, Vec<(usize, f64)>);
/// A title, what is above the vertical axis, and the curves.
type Panel<'a> = (&'a str, &'a str, &'a [Curve<'a>]);

const WIDTH: f64 = 460.0;
const HEIGHT: f64 = 340.0;
const LEFT: f64 = 60.0;
const RIGHT: f64 = 20.0;
const TOP: f64 = 50.0;
const BOTTOM: f64 = 45.0;
const LEGEND: f64 = 30.0;
/// Colours that those tell apart too who see fewer of them (Okabe and Ito 2008).
const COLOURS: [&str; 5] = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#555555"];

/// The panels side by side, with one legend below.
pub fn figure(panels: &[Panel<'_>]) -> String {
    let mut svg = String::new();
    let (width, height) = (WIDTH * panels.len() as f64, HEIGHT + LEGEND);
    line(
        &mut svg,
        format_args!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" \
             viewBox=\"0 0 {width} {height}\" \
             font-family=\"sans-serif\" font-size=\"12\">\n\
             <rect width=\"{width}\" height=\"{height}\" fill=\"white\"/>"
        ),
    );
    for (number, panel) in panels.iter().enumerate() {
        let x = WIDTH * number as f64;
        line(&mut svg, format_args!("<g transform=\"translate({x} 0)\">"));
        draw(&mut svg, panel);
        line(&mut svg, "</g>");
    }
    let curves = panels.first().map_or(&[][..], |panel| panel.2);
    for (number, ((name, _), colour)) in curves.iter().zip(COLOURS).enumerate() {
        let (x, y) = (LEFT + 140.0 * number as f64, HEIGHT + 10.0);
        line(
            &mut svg,
            format_args!(
                "<path d=\"M{x} {y}h24\" stroke=\"{colour}\" stroke-width=\"2\"/>{}",
                text(x + 30.0, y + 4.0, "start", name)
            ),
        );
    }
    line(&mut svg, "</svg>");
    svg
}

fn draw(svg: &mut String, &(title, unit, curves): &Panel<'_>) {
    let points = || curves.iter().flat_map(|(_, points)| points);
    let most = points().map(|&(servers, _)| servers).max().unwrap_or(1) as f64;
    let highest = points().map(|&(_, value)| value).fold(0.0, f64::max);
    let step = round_step(highest / 5.0);
    let top = (highest / step).ceil().max(1.0) * step;
    let x = |servers: f64| LEFT + servers / most * (WIDTH - LEFT - RIGHT);
    let y = |value: f64| HEIGHT - BOTTOM - value / top * (HEIGHT - TOP - BOTTOM);

    line(svg, text(WIDTH / 2.0, 20.0, "middle", title));
    line(svg, text(LEFT, TOP - 12.0, "middle", unit));
    line(svg, text(x(most / 2.0), HEIGHT - 8.0, "middle", "servers"));
    for number in 0..=(top / step).round() as u32 {
        let value = step * f64::from(number);
        let at = y(value);
        line(
            svg,
            format_args!(
                "<path d=\"M{LEFT} {at:.1}H{}\" stroke=\"#ddd\"/>{}",
                x(most),
                text(LEFT - 6.0, at + 4.0, "end", value)
            ),
        );
    }
    for servers in (0..=most as u32).step_by(2) {
        let at = x(servers.into());
        line(svg, text(at, HEIGHT - BOTTOM + 16.0, "middle", servers));
    }
    for ((_, points), colour) in curves.iter().zip(COLOURS) {
        let mut path = String::new();
        for (number, &(servers, value)) in points.iter().enumerate() {
            let letter = if number == 0 { 'M' } else { 'L' };
            // Writing to a string does not fail.
            let _ = write!(path, "{letter}{:.1} {:.1}", x(servers as f64), y(value));
        }
        line(
            svg,
            format_args!(
                "<path d=\"{path}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"/>"
            ),
        );
    }
}

/// 1, 2 or 5 times a power of ten, and at least this.
fn round_step(at_least: f64) -> f64 {
    let power = 10f64.powf(at_least.max(1e-9).log10().floor());
    let steps = [1.0, 2.0, 5.0, 10.0].map(|factor| factor * power);
    steps
        .into_iter()
        .find(|&step| step >= at_least)
        .unwrap_or(at_least)
}

fn text(x: f64, y: f64, anchor: &str, text: impl Display) -> String {
    format!("<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\">{text}</text>")
}

fn line(svg: &mut String, line: impl Display) {
    // Writing to a string does not fail.
    let _ = writeln!(svg, "{line}");
}
