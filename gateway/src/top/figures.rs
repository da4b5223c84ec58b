//! The numbers above the panels, each with its last hour, and the curve of the first of them.

use diffyne_shared::admin::history::SAMPLES_MAX;
use diffyne_shared::admin::overview::Figure;
use diffyne_shared::admin::terminal;
use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::symbols::Marker;
use ratatui::text::{Line, Span};
use ratatui::widgets::{Axis, Block, Chart, Dataset, GraphType, Paragraph};
use serde_json::json;

use super::theme::Theme;

/// Columns of a figure: its title, its value, and its last hour in letters.
const FIGURE_CHARS: u16 = 40;
const TITLE_CHARS: usize = 16;
const VALUE_CHARS: usize = 10;
const SPARK_CHARS: usize = 11;
/// From this width on, the first figure has a curve.
const CURVE_FROM_CHARS: u16 = CURVE_CHARS + 2 * FIGURE_CHARS;
/// Columns of the curve.
const CURVE_CHARS: u16 = 50;
/// Lines of the curve, and of the figures beside it.
const CURVE_LINES: u16 = 8;

/// Returns the lines that the figures take on a terminal of this width.
pub(super) fn lines(figures: &[Figure], width: u16) -> u16 {
    if has_curve(figures, width) { CURVE_LINES } else { figures.len().div_ceil(columns(width)) as u16 }
}

/// Draws them.
pub(super) fn draw(frame: &mut Frame<'_>, area: Rect, figures: &[Figure], theme: Theme) {
    let [curve, rest] = Layout::horizontal([
        Constraint::Length(if has_curve(figures, area.width) { CURVE_CHARS } else { 0 }),
        Constraint::Fill(1),
    ])
    .areas(area);
    if curve.width > 0
        && let Some(first) = figures.first()
    {
        draw_curve(frame, curve, first, theme);
    }
    let rows: Vec<Line<'_>> = figures.chunks(columns(rest.width)).map(|row| line(row, theme)).collect();
    frame.render_widget(Paragraph::new(rows), rest);
}

fn has_curve(figures: &[Figure], width: u16) -> bool {
    width >= CURVE_FROM_CHARS && !figures.is_empty()
}

fn columns(width: u16) -> usize {
    usize::from(width / FIGURE_CHARS).max(1)
}

fn line(figures: &[Figure], theme: Theme) -> Line<'_> {
    let spans = figures.iter().flat_map(|figure| {
        [
            Span::styled(format!("{:<TITLE_CHARS$} ", terminal::letters(&figure.title)), theme.quiet()),
            Span::styled(format!("{:>VALUE_CHARS$} ", terminal::value(figure)), theme.title()),
            Span::styled(format!("{:<SPARK_CHARS$} ", terminal::spark(figure, SPARK_CHARS)), theme.curve()),
        ]
    });
    Line::from(spans.collect::<Vec<_>>())
}

/// The last hour, the newest at the right.
fn draw_curve(frame: &mut Frame<'_>, area: Rect, figure: &Figure, theme: Theme) {
    let values: Vec<f64> = figure.history.iter().copied().chain(figure.value).collect();
    let most = values.iter().copied().fold(1.0, f64::max);
    let points = values.iter().rev().enumerate().map(|(steps_ago, value)| (-(steps_ago as f64), *value));
    let points: Vec<(f64, f64)> = points.collect();
    let curve =
        Dataset::default().marker(Marker::Braille).graph_type(GraphType::Line).style(theme.curve()).data(&points);
    let title =
        Span::styled(format!(" {}: {} ", terminal::letters(&figure.title), terminal::value(figure)), theme.title());
    let chart = Chart::new(vec![curve])
        .block(Block::bordered().border_style(theme.quiet()).title(title))
        .x_axis(Axis::default().style(theme.quiet()).bounds([-(SAMPLES_MAX as f64), 0.0]).labels(["1 h ago", "now"]))
        .y_axis(
            Axis::default()
                .style(theme.quiet())
                .bounds([0.0, most])
                .labels(["0".to_owned(), figure.unit.show(&json!(most))]),
        );
    frame.render_widget(chart, area);
}
