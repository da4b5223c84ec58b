//! What operators see of a program, as text.

use serde_json::{Map, Value, json};

use super::overview::{Column, Figure, Overview, Table, Unit};

/// Columns where the terminal does not say how many it has.
const DEFAULT_WIDTH: usize = 100;
/// The steps of a line in text.
const STEPS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
/// Samples of a line in text: they stand for the last hour.
const SPARK_CHARS: usize = 20;
/// Columns of a figure.
const FIGURE_CHARS: usize = 48;

/// Returns all of it as text, as wide as the terminal.
pub fn text(of: &Overview) -> String {
    lines(of, width()).join("\n")
}

/// Columns of the terminal.
fn width() -> usize {
    let size = rustix::termios::tcgetwinsize(std::io::stdout()).ok();
    size.filter(|size| size.ws_col > 0).map_or(DEFAULT_WIDTH, |size| size.ws_col.into())
}

/// Returns a text without what would move the cursor: clients have named some of it.
pub fn letters(text: &str) -> String {
    crate::telemetry::name(text).to_string()
}

/// Returns what a figure is now.
pub fn value(figure: &Figure) -> String {
    figure.value.map_or_else(|| "–".to_owned(), |value| figure.unit.show(&json!(value)))
}

/// Returns what a row has in a column.
pub fn cell(column: &Column, row: &Map<String, Value>) -> String {
    letters(&column.unit.show(row.get(&column.key).unwrap_or(&Value::Null)))
}

/// All of it, as lines that are no wider than this.
fn lines(of: &Overview, width: usize) -> Vec<String> {
    let uptime = Unit::Seconds.show(&json!(of.uptime_seconds));
    let mut lines = vec![format!("{} {}  {}  up {uptime}", of.program, of.name, of.version)];
    lines.extend(of.problems.iter().map(|problem| format!("! {problem}")));
    lines.push(String::new());
    let columns = (width / FIGURE_CHARS).max(1);
    lines.extend(of.figures.chunks(columns).map(|row| {
        let cells: String = row.iter().map(|one| format!("{:<FIGURE_CHARS$}", figure(one))).collect();
        cells.trim_end().to_owned()
    }));
    for one in &of.tables {
        lines.push(String::new());
        table(&mut lines, one);
    }
    lines.iter().map(|line| cut(line, width)).collect()
}

fn figure(figure: &Figure) -> String {
    format!("{:<16} {:>10} {}", figure.title, value(figure), spark(figure, SPARK_CHARS))
}

/// Returns the last hour in so many letters: the largest value of each part of it.
pub fn spark(figure: &Figure, chars: usize) -> String {
    let values: Vec<f64> = figure.history.iter().copied().chain(figure.value).collect();
    let most = values.iter().copied().fold(0.0, f64::max);
    let part = values.len().div_ceil(chars).max(1);
    let step = |values: &[f64]| {
        let value = values.iter().copied().fold(0.0, f64::max);
        let step = if most > 0.0 { value / most * (STEPS.len() - 1) as f64 } else { 0.0 };
        STEPS[(step.round() as usize).min(STEPS.len() - 1)]
    };
    values.chunks(part).map(step).collect()
}

fn table(lines: &mut Vec<String>, table: &Table) {
    lines.push(table.title.to_uppercase());
    if table.rows.is_empty() {
        return lines.push(format!("  {}", table.empty));
    }
    let show = |row: &Map<String, Value>| -> Vec<(String, bool)> {
        let is_number = |column: &Column| row.get(&column.key).is_some_and(Value::is_number);
        table.columns.iter().map(|column| (cell(column, row), is_number(column))).collect()
    };
    let rows: Vec<Vec<(String, bool)>> = table.rows.iter().map(show).collect();
    let width = |at: usize| {
        let cells = rows.iter().map(|row| row[at].0.chars().count());
        cells.chain([table.columns[at].title.chars().count()]).max().unwrap_or_default()
    };
    let widths: Vec<usize> = (0..table.columns.len()).map(width).collect();
    let line = |cells: Vec<(String, bool)>| {
        let cells = cells.into_iter().zip(&widths).map(|((text, is_number), width)| {
            if is_number { format!("  {text:>width$}") } else { format!("  {text:<width$}") }
        });
        cells.collect::<String>().trim_end().to_owned()
    };
    let is_number = |at: usize| rows.iter().any(|row| row[at].1);
    lines.push(line(
        table.columns.iter().enumerate().map(|(at, column)| (column.title.clone(), is_number(at))).collect(),
    ));
    lines.extend(rows.into_iter().map(line));
}

/// The line as far as it fits.
fn cut(line: &str, width: usize) -> String {
    if line.chars().count() <= width {
        return line.to_owned();
    }
    line.chars().take(width.saturating_sub(1)).chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_are_aligned_and_no_line_is_wider_than_the_terminal() {
        let columns = [("name", "Component", Unit::Plain), ("ms", "p99", Unit::Milliseconds)];
        let rows = [json!({"name": "App\\Cart\u{1b}[2J", "ms": 12.5}), json!({"name": "A", "ms": 7})];
        let history = (0..360).map(f64::from).collect();
        let of = Overview {
            program: "diffyne-gateway".to_owned(),
            name: "g.1".to_owned(),
            version: "1".to_owned(),
            uptime_seconds: 61,
            problems: vec!["no worker is reachable".to_owned()],
            figures: vec![Figure {
                id: "c".to_owned(),
                title: "Connections".to_owned(),
                unit: Unit::Plain,
                value: Some(360.0),
                history,
            }],
            tables: vec![
                Table::new("c", "Components", "None.", &columns).with(rows),
                Table::new("x", "Events", "None.", &columns),
            ],
            actions: Vec::new(),
        };
        let shown = lines(&of, 100);
        assert_eq!(shown[0], "diffyne-gateway g.1  1  up 1 min");
        assert_eq!(shown[1], "! no worker is reachable");
        assert!(shown[3].starts_with("Connections             360 ▁▂▂") && shown[3].ends_with('█'), "{}", shown[3]);
        assert_eq!(
            shown[5..9],
            [
                "COMPONENTS",
                "  Component              p99",
                "  App\\Cart\\u{1b}[2J  12.5 ms",
                "  A                     7 ms"
            ]
        );
        assert_eq!(shown[10..], ["EVENTS", "  None."]);
        for width in [1, 20, 60] {
            assert!(lines(&of, width).iter().all(|line| line.chars().count() <= width));
        }
    }
}
