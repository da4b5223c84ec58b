//! What operators see of a running program: figures with their last hour, and tables. The page, the terminal and scripts get
//! the same.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// Where it is, as JSON.
pub const OVERVIEW_PATH: &str = "/api/overview";

/// What a number is, and so how it is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Unit {
    /// A text, or a number of things.
    Plain,
    /// Things a second.
    PerSecond,
    /// Milliseconds.
    Milliseconds,
    /// Bytes.
    Bytes,
    /// Bytes a second.
    BytesPerSecond,
    /// Seconds.
    Seconds,
    /// A moment, in milliseconds since 1970.
    Time,
}

impl Unit {
    /// The value as people read it.
    pub fn show(self, value: &Value) -> String {
        let Some(number) = value.as_f64() else {
            return match value {
                Value::String(text) => text.clone(),
                Value::Bool(true) => "yes".to_owned(),
                _ => "–".to_owned(),
            };
        };
        match self {
            Self::Plain => plain(number),
            Self::PerSecond => format!("{}/s", plain(number)),
            Self::Milliseconds => format!("{} ms", plain(number)),
            Self::Bytes => bytes(number),
            Self::BytesPerSecond => format!("{}/s", bytes(number)),
            Self::Seconds => seconds(number as u64),
            Self::Time => clock_time(number as u64 / 1000),
        }
    }
}

/// Whole numbers as they are; of others, as many digits as mean something.
fn plain(number: f64) -> String {
    match number.abs() {
        whole if whole.fract() == 0.0 || whole >= 100.0 => format!("{number:.0}"),
        small if small < 1.0 => format!("{number:.2}"),
        _ => format!("{number:.1}"),
    }
}

fn bytes(number: f64) -> String {
    let units = ["B", "KiB", "MiB", "GiB"];
    let (mut number, mut unit) = (number, 0);
    while number >= 1024.0 && unit + 1 < units.len() {
        number /= 1024.0;
        unit += 1;
    }
    format!("{} {}", plain(if unit == 0 { number.round() } else { number }), units[unit])
}

fn seconds(number: u64) -> String {
    match number {
        0..60 => format!("{number} s"),
        60..3_600 => format!("{} min", number / 60),
        3_600..86_400 => format!("{} h {} min", number / 3_600, number % 3_600 / 60),
        _ => format!("{} d {} h", number / 86_400, number % 86_400 / 3_600),
    }
}

fn clock_time(unix_seconds: u64) -> String {
    let day = unix_seconds % 86_400;
    format!("{:02}:{:02}:{:02} UTC", day / 3_600, day % 3_600 / 60, day % 60)
}

/// A number, now and in the last hour.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Figure {
    /// Its name for scripts.
    pub id: String,
    /// Its name for people.
    pub title: String,
    /// What it is.
    pub unit: Unit,
    /// Now; none: not known yet.
    pub value: Option<f64>,
    /// The last hour, the newest last, one every ten seconds.
    pub history: Vec<f64>,
}

/// A column of a table.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Column {
    /// The key of its values.
    pub key: String,
    /// What stands above them.
    pub title: String,
    /// What they are.
    pub unit: Unit,
}

/// A table.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Table {
    /// Its name for scripts.
    pub id: String,
    /// Its name for people.
    pub title: String,
    /// What stands there when it has no rows.
    pub empty: String,
    /// Its columns.
    pub columns: Vec<Column>,
    /// Its rows, by the keys of the columns.
    pub rows: Vec<Map<String, Value>>,
}

impl Table {
    /// A table without rows; a column is its key, its title and its unit.
    pub fn new(id: &str, title: &str, empty: &str, columns: &[(&str, &str, Unit)]) -> Self {
        let column = |(key, title, unit): &(&str, &str, Unit)| Column {
            key: (*key).to_owned(),
            title: (*title).to_owned(),
            unit: *unit,
        };
        Self {
            id: id.to_owned(),
            title: title.to_owned(),
            empty: empty.to_owned(),
            columns: columns.iter().map(column).collect(),
            rows: Vec::new(),
        }
    }

    /// Adds rows, each a JSON object.
    #[must_use]
    pub fn with(mut self, rows: impl IntoIterator<Item = Value>) -> Self {
        let objects = rows.into_iter().filter_map(|row| match row {
            Value::Object(row) => Some(row),
            _ => None,
        });
        self.rows.extend(objects);
        self
    }
}

/// Something that an operator can do.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Action {
    /// What is asked for, below `/api/`.
    pub name: String,
    /// What stands on the button.
    pub title: String,
    /// What happens then.
    pub explanation: String,
    /// The name of the value that it needs, if any, as the body has it.
    pub field: Option<String>,
}

/// What operators see of a running program.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Overview {
    /// `diffyne-gateway` or `diffyne-worker`.
    pub program: String,
    /// Which of them.
    pub name: String,
    /// Its version and commit.
    pub version: String,
    /// For how long it has run.
    pub uptime_seconds: u64,
    /// What is wrong, as text.
    pub problems: Vec<String>,
    /// Figures.
    pub figures: Vec<Figure>,
    /// Tables.
    pub tables: Vec<Table>,
    /// What can be done.
    pub actions: Vec<Action>,
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn numbers_are_shown_as_people_read_them() {
        let shown = [
            (Unit::Plain, json!(12_345), "12345"),
            (Unit::Plain, json!("App\\Cart"), "App\\Cart"),
            (Unit::Plain, json!(null), "–"),
            (Unit::PerSecond, json!(0.25), "0.25/s"),
            (Unit::Milliseconds, json!(12.34), "12.3 ms"),
            (Unit::Bytes, json!(1023), "1023 B"),
            (Unit::Bytes, json!(5_242_880), "5 MiB"),
            (Unit::BytesPerSecond, json!(1536), "1.5 KiB/s"),
            (Unit::Seconds, json!(3_725), "1 h 2 min"),
            (Unit::Time, json!(86_399_000), "23:59:59 UTC"),
        ];
        for (unit, value, text) in shown {
            assert_eq!(unit.show(&value), text);
        }
    }
}
