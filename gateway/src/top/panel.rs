//! One table: the order of its rows, which of them are shown, and how.

use std::cmp::Ordering;

use diffyne_shared::admin::overview::Table;
use diffyne_shared::admin::terminal;
use ratatui::Frame;
use ratatui::layout::{Constraint, Rect};
use ratatui::text::{Line, Span};
use ratatui::widgets::{self, Block, BorderType, Cell, Paragraph, Row};
use serde_json::{Map, Value};

use super::theme::Theme;

/// Columns between two columns of a table.
const GAP_CHARS: u16 = 2;
/// A column is made no narrower to have its table fit.
const COLUMN_CHARS_MIN: u16 = 8;
/// Lines of a panel that are no rows: its border, and the head of its columns.
const FRAME_LINES: u16 = 3;

/// The order of rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Order {
    column: usize,
    is_descending: bool,
}

/// What keys have changed of a panel.
#[derive(Debug, Default)]
pub(super) struct PanelState {
    /// None: as the program gives them.
    order: Option<Order>,
    /// The first row that is shown.
    first: usize,
}

impl PanelState {
    /// Sorts by the next column; after the last one, as the program gives them. Numbers begin with the largest.
    pub(super) fn sort_by_next(&mut self, table: &Table) {
        let column = self.order.map_or(0, |order| order.column + 1);
        self.order =
            (column < table.columns.len()).then(|| Order { column, is_descending: has_numbers(table, column) });
        self.first = 0;
    }

    /// Turns the order round.
    pub(super) fn reverse(&mut self) {
        let order = self.order.get_or_insert(Order { column: 0, is_descending: false });
        order.is_descending = !order.is_descending;
        self.first = 0;
    }

    /// Shows rows further down, or up.
    pub(super) fn scroll(&mut self, table: &Table, rows: isize) {
        let last = table.rows.len().saturating_sub(1);
        self.first = self.first.saturating_add_signed(rows).min(last);
    }

    fn rows<'a>(&self, table: &'a Table) -> Vec<&'a Map<String, Value>> {
        let mut rows: Vec<&Map<String, Value>> = table.rows.iter().collect();
        if let Some(order) = self.order
            && let Some(column) = table.columns.get(order.column)
        {
            rows.sort_by(|a, b| {
                let found = compare(a.get(&column.key), b.get(&column.key));
                if order.is_descending { found.reverse() } else { found }
            });
        }
        rows
    }
}

/// Numbers by their size, everything else by its text; what has no value comes first.
fn compare(a: Option<&Value>, b: Option<&Value>) -> Ordering {
    let rank = |value: &Value| match value {
        Value::Null => 0,
        Value::Number(_) => 1,
        _ => 2,
    };
    let (a, b) = (a.unwrap_or(&Value::Null), b.unwrap_or(&Value::Null));
    match (a.as_f64(), b.as_f64()) {
        (Some(a), Some(b)) => a.total_cmp(&b),
        _ => rank(a).cmp(&rank(b)).then_with(|| text(a).cmp(text(b))),
    }
}

fn text(value: &Value) -> &str {
    match value {
        Value::Bool(true) => "yes",
        other => other.as_str().unwrap_or_default(),
    }
}

fn has_numbers(table: &Table, column: usize) -> bool {
    let key = &table.columns[column].key;
    table.rows.iter().any(|row| row.get(key).is_some_and(Value::is_number))
}

/// How a panel is drawn.
#[derive(Debug, Clone, Copy)]
pub(super) struct Look {
    /// Keys are for it.
    pub has_focus: bool,
    /// Colours.
    pub theme: Theme,
}

/// Draws a table.
pub(super) fn draw(frame: &mut Frame<'_>, area: Rect, table: &Table, state: &PanelState, look: Look) {
    let Look { has_focus, theme } = look;
    let room = usize::from(area.height.saturating_sub(FRAME_LINES));
    let first = state.first.min(table.rows.len().saturating_sub(room));
    let title = Span::styled(format!(" {} ", terminal::letters(&table.title)), theme.title());
    let mut block = Block::bordered()
        .border_type(if has_focus { BorderType::Thick } else { BorderType::Plain })
        .border_style(if has_focus { theme.focus() } else { theme.quiet() })
        .title(title);
    if table.rows.len() > room {
        let last = (first + room).min(table.rows.len());
        let place = format!(" {}–{last} of {} ", (first + 1).min(last), table.rows.len());
        block = block.title_bottom(Line::styled(place, theme.quiet()).right_aligned());
    }
    if table.rows.is_empty() {
        let empty = Line::styled(terminal::letters(&table.empty), theme.quiet());
        return frame.render_widget(Paragraph::new(empty).block(block), area);
    }
    let rows: Vec<Vec<String>> = state
        .rows(table)
        .into_iter()
        .skip(first)
        .take(room)
        .map(|row| table.columns.iter().map(|column| terminal::cell(column, row)).collect())
        .collect();
    let heads: Vec<String> = (0..table.columns.len()).map(|column| head(table, state, column)).collect();
    let widths = widths(&heads, &rows, area.width.saturating_sub(2));
    let numbers: Vec<bool> = (0..table.columns.len()).map(|column| has_numbers(table, column)).collect();
    let cells = |texts: Vec<String>| {
        let aligned = texts.into_iter().zip(&numbers).map(|(text, is_number)| {
            let line = Line::from(text);
            Cell::from(if *is_number { line.right_aligned() } else { line })
        });
        Row::new(aligned.collect::<Vec<_>>())
    };
    let drawn = widgets::Table::new(rows.into_iter().map(cells), widths.into_iter().map(Constraint::Length))
        .header(cells(heads).style(theme.title()))
        .column_spacing(GAP_CHARS)
        .block(block);
    frame.render_widget(drawn, area);
}

/// What stands above a column, with an arrow when rows go by it.
fn head(table: &Table, state: &PanelState, column: usize) -> String {
    let title = terminal::letters(&table.columns[column].title);
    match state.order {
        Some(order) if order.column == column => format!("{title} {}", if order.is_descending { '▼' } else { '▲' }),
        _ => title,
    }
}

/// The widths of the columns. What does not fit is taken from the widest.
fn widths(heads: &[String], rows: &[Vec<String>], room: u16) -> Vec<u16> {
    let chars = |text: &String| u16::try_from(text.chars().count()).unwrap_or(u16::MAX).min(room);
    let widest = |(at, head): (usize, &String)| rows.iter().map(|row| chars(&row[at])).fold(chars(head), u16::max);
    let mut widths: Vec<u16> = heads.iter().enumerate().map(widest).collect();
    let gaps = usize::from(GAP_CHARS) * widths.len().saturating_sub(1);
    while widths.iter().map(|width| usize::from(*width)).sum::<usize>() + gaps > usize::from(room) {
        match widths.iter_mut().max() {
            Some(widest) if *widest > COLUMN_CHARS_MIN => *widest -= 1,
            _ => break,
        }
    }
    widths
}

#[cfg(test)]
mod tests {
    use diffyne_shared::admin::overview::Unit;
    use serde_json::json;

    use super::*;

    fn table() -> Table {
        let rows = [json!({"name": "B", "n": 5}), json!({"name": "a", "n": null}), json!({"name": "C", "n": 40.5})];
        let columns = [("name", "Name", Unit::Plain), ("n", "Number", Unit::Plain)];
        Table::new("t", "T", "None.", &columns).with(rows)
    }

    fn names(state: &PanelState, table: &Table) -> String {
        state.rows(table).iter().map(|row| row["name"].as_str().unwrap_or_default()).collect()
    }

    #[test]
    fn rows_are_sorted_by_one_column_after_the_other_and_at_last_as_they_came() {
        let (table, mut state) = (table(), PanelState::default());
        let mut orders = vec![names(&state, &table)];
        for _ in 0..3 {
            state.sort_by_next(&table);
            orders.push(names(&state, &table));
            state.reverse();
            orders.push(names(&state, &table));
        }
        // A text begins with A, a number with the largest; the third time nothing is sorted, until it is turned round.
        assert_eq!(orders, ["BaC", "BCa", "aCB", "CBa", "aBC", "BaC", "aCB"]);
    }

    #[test]
    fn columns_are_made_to_fit() {
        let heads = ["Name".to_owned(), "Number".to_owned()];
        let rows = [vec!["x".repeat(60), "7".to_owned()]];
        assert_eq!(widths(&heads, &rows, 80), [60, 6]);
        assert_eq!(widths(&heads, &rows, 40), [32, 6]);
        assert_eq!(widths(&heads, &rows, 3), [3, 3]);
        assert_eq!(widths(&heads, &[], 0), [0, 0]);
    }
}
