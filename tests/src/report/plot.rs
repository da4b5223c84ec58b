//! Draws a chart as horizontal bars, each with its figure. The picture has the colours of the page that shows it: light or dark.

use svg::Document;
use svg::node::element::{Rectangle, Style, Text};

use super::chart::{Bar, Chart};

const WIDTH: f64 = 760.0;
/// The column of labels, and that of figures.
const LABEL_WIDTH: f64 = 240.0;
const FIGURE_WIDTH: f64 = 90.0;
/// How long the longest bar is.
pub const BARS_WIDTH: f64 = WIDTH - LABEL_WIDTH - FIGURE_WIDTH;
const HEAD_HEIGHT: f64 = 56.0;
const BAR_HEIGHT: f64 = 20.0;
const ROW_HEIGHT: f64 = 28.0;
const NOTE_HEIGHT: f64 = 30.0;
/// Characters of the note that fit in the width.
const NOTE_CHARS_MAX: usize = 125;

const STYLE: &str = "
text { font: 14px system-ui, sans-serif; fill: #1f2328 }
.title { font-size: 16px; font-weight: 600 }
.unit, .note { fill: #59636e }
.note { font-size: 11px }
.other { fill: #8c959f }
.ours { fill: #0969da }
@media (prefers-color-scheme: dark) {
  text { fill: #f0f6fc }
  .unit, .note { fill: #9198a1 }
  .other { fill: #656c76 }
  .ours { fill: #4493f8 }
}
";

/// The chart as SVG, with a note below it.
pub fn draw(chart: &Chart, note: &str) -> String {
    let height = HEAD_HEIGHT + ROW_HEIGHT * chart.bars.len() as f64 + NOTE_HEIGHT;
    let most = chart.bars.iter().map(|bar| bar.value).fold(f64::MIN_POSITIVE, f64::max);
    let document = Document::new()
        .set("viewBox", (0.0, 0.0, WIDTH, height))
        .set("width", WIDTH)
        .set("height", height)
        .set("role", "img")
        .add(svg::node::element::Title::new(format!("{}: {}", chart.title, chart.unit)))
        .add(Style::new(STYLE))
        .add(text(&chart.title, 0.0, 20.0, "title"))
        .add(text(&chart.unit, 0.0, 40.0, "unit"));
    let rows = chart.bars.iter().enumerate().map(|(index, bar)| (HEAD_HEIGHT + ROW_HEIGHT * index as f64, bar));
    let document = rows.fold(document, |document, (top, bar)| draw_bar(document, bar, top, most));
    let note: String = note.chars().take(NOTE_CHARS_MAX).collect();
    document.add(text(&note, 0.0, height - 8.0, "note")).to_string() + "\n"
}

fn draw_bar(document: Document, bar: &Bar, top: f64, most: f64) -> Document {
    // A figure that is tiny beside the others is still seen.
    let width = (bar.value / most * BARS_WIDTH).max(1.0);
    let baseline = top + BAR_HEIGHT * 0.75;
    let rectangle = Rectangle::new()
        .set("x", LABEL_WIDTH)
        .set("y", top)
        .set("width", (width * 10.0).round() / 10.0)
        .set("height", BAR_HEIGHT)
        .set("rx", 2)
        .set("class", if bar.is_ours { "ours" } else { "other" });
    document
        .add(text(&bar.label, LABEL_WIDTH - 8.0, baseline, "label").set("text-anchor", "end"))
        .add(rectangle)
        .add(text(&figure(bar.value), LABEL_WIDTH + width + 6.0, baseline, "figure"))
}

fn text(content: &str, x: f64, y: f64, class: &str) -> Text {
    Text::new(content).set("x", (x * 10.0).round() / 10.0).set("y", y).set("class", class)
}

/// Three digits that count, and thousands apart.
pub fn figure(value: f64) -> String {
    let digits = if value >= 100.0 { 0 } else { usize::from(value < 10.0) + 1 };
    let plain = format!("{value:.digits$}");
    let (whole, rest) = plain.split_once('.').map_or((plain.as_str(), None), |(whole, rest)| (whole, Some(rest)));
    let mut grouped = String::new();
    for (index, digit) in whole.chars().enumerate() {
        if index > 0 && (whole.len() - index).is_multiple_of(3) {
            grouped.push('\u{202f}');
        }
        grouped.push(digit);
    }
    rest.map_or(grouped.clone(), |rest| format!("{grouped}.{rest}"))
}
