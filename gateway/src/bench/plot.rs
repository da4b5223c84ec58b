//! The seconds of a bench as a picture: connections, calls and times one below the other, in the colours of the page that
//! shows it.

use svg::Document;
use svg::node::element::{Polyline, Style, Text, Title};

use super::tally::Second;

const WIDTH: f64 = 760.0;
const PANEL_HEIGHT: f64 = 120.0;
const HEAD_HEIGHT: f64 = 30.0;
const GAP: f64 = 24.0;
/// For the figure of a panel's top.
const LEFT: f64 = 70.0;

const STYLE: &str = "
text { font: 13px system-ui, sans-serif; fill: #1f2328 }
.axis { stroke: #8c959f; fill: none }
.a { stroke: #0969da; fill: none; stroke-width: 2 }
.b { stroke: #cf222e; fill: none; stroke-width: 2 }
@media (prefers-color-scheme: dark) {
  text { fill: #f0f6fc }
  .axis { stroke: #656c76 }
  .a { stroke: #4493f8 }
  .b { stroke: #ff7b72 }
}
";

/// A curve of a panel.
type Curve = (&'static str, fn(&Second) -> f64);

const PANELS: [(&str, &[Curve]); 4] = [
    ("connections", &[("a", |second| second.connections as f64)]),
    ("calls a second", &[("a", |second| second.calls as f64), ("b", |second| second.errors as f64)]),
    ("calls, ms: p50 (blue), p99 (red)", &[("a", |second| second.call_p50_ms), ("b", |second| second.call_p99_ms)]),
    (
        "deliveries a second (blue), p99 in ms (red)",
        &[("a", |second| second.deliveries as f64), ("b", |second| second.delivery_p99_ms)],
    ),
];

/// The picture.
pub(super) fn draw(url: &str, seconds: &[Second]) -> String {
    let height = HEAD_HEIGHT + PANELS.len() as f64 * (PANEL_HEIGHT + GAP);
    let mut document = Document::new()
        .set("viewBox", (0.0, 0.0, WIDTH, height))
        .set("width", WIDTH)
        .set("height", height)
        .set("role", "img")
        .add(Title::new(format!("diffyne-gateway bench {url}")))
        .add(Style::new(STYLE))
        .add(Text::new(format!("{url}, {} s", seconds.len())).set("x", LEFT).set("y", 18));
    for (index, (title, curves)) in PANELS.iter().enumerate() {
        let top = HEAD_HEIGHT + index as f64 * (PANEL_HEIGHT + GAP) + GAP;
        let bottom = top + PANEL_HEIGHT - GAP;
        let values = |curve: fn(&Second) -> f64| seconds.iter().map(curve);
        let most = curves.iter().flat_map(|(_, curve)| values(*curve)).fold(1.0, f64::max);
        document = document
            .add(Text::new(*title).set("x", LEFT).set("y", top - 6.0))
            .add(Text::new(format!("{most:.0}")).set("x", LEFT - 8.0).set("y", top + 10.0).set("text-anchor", "end"))
            .add(
                Polyline::new()
                    .set("class", "axis")
                    .set("points", format!("{LEFT},{top} {LEFT},{bottom} {WIDTH},{bottom}")),
            );
        for (class, curve) in *curves {
            let step = (WIDTH - LEFT) / (seconds.len().max(2) - 1) as f64;
            let point = |(at, value): (usize, f64)| {
                format!("{:.1},{:.1}", LEFT + at as f64 * step, bottom - value / most * (bottom - top))
            };
            let points: Vec<String> = values(*curve).enumerate().map(point).collect();
            document = document.add(Polyline::new().set("class", *class).set("points", points.join(" ")));
        }
    }
    document.to_string() + "\n"
}
