//! What each rule means to Laravel's validator.

use serde_json::Value;

use crate::upload::TemporaryFile;

/// A rule's meaning, with its arguments.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum RuleKind {
    Required,
    Nullable,
    Bail,
    String,
    Integer,
    Numeric,
    Boolean,
    Array,
    Email,
    Url,
    In(Vec<String>),
    Min(f64),
    Max(f64),
    Between(f64, f64),
    File,
    Image,
    Mimes(Vec<String>),
}

impl RuleKind {
    /// Whether the value has to be the handle of an uploaded file.
    pub(super) fn is_of_files(&self) -> bool {
        matches!(self, Self::File | Self::Image | Self::Mimes(_))
    }
}

/// A rule as it was written, and its meaning.
#[derive(Debug, Clone)]
pub(super) struct Rule {
    pub(super) name: String,
    /// The arguments, as the messages print them.
    pub(super) arguments: Vec<String>,
    pub(super) kind: RuleKind,
}

impl Rule {
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let (name, rest) = text.split_once(':').unwrap_or((text, ""));
        let arguments: Vec<String> = rest.split(',').filter(|_| !rest.is_empty()).map(str::to_owned).collect();
        let number = |at: usize| {
            let argument: Option<&String> = arguments.get(at);
            argument.and_then(|text| text.trim().parse().ok()).ok_or(format!("`{text}` needs a number"))
        };
        let kind = match name {
            "required" => RuleKind::Required,
            "nullable" => RuleKind::Nullable,
            "bail" => RuleKind::Bail,
            "string" => RuleKind::String,
            "integer" => RuleKind::Integer,
            "numeric" => RuleKind::Numeric,
            "boolean" => RuleKind::Boolean,
            "array" => RuleKind::Array,
            "email" => RuleKind::Email,
            "url" => RuleKind::Url,
            "file" => RuleKind::File,
            "image" => RuleKind::Image,
            "mimes" if !arguments.is_empty() => RuleKind::Mimes(arguments.iter().map(|text| extension(text)).collect()),
            "in" if !arguments.is_empty() => RuleKind::In(arguments.clone()),
            "min" => RuleKind::Min(number(0)?),
            "max" => RuleKind::Max(number(0)?),
            "between" => RuleKind::Between(number(0)?, number(1)?),
            _ => return Err(format!("unknown rule `{text}`")),
        };
        Ok(Self { name: name.to_owned(), arguments, kind })
    }

    /// Whether a value passes; `file` is the uploaded file whose handle the value is.
    pub(super) fn passes(&self, value: &Value, size: &Size, file: Option<&TemporaryFile>) -> bool {
        match &self.kind {
            RuleKind::Nullable | RuleKind::Bail => true,
            RuleKind::Required => !(value.is_null() || is_blank(value) || value.as_array().is_some_and(Vec::is_empty)),
            RuleKind::String => value.is_string(),
            RuleKind::Integer => is_integer(value),
            RuleKind::Numeric => number(value).is_some(),
            RuleKind::Boolean => is_boolean(value),
            RuleKind::File => file.is_some(),
            RuleKind::Image => file.is_some_and(TemporaryFile::is_image),
            RuleKind::Mimes(allowed) => {
                let found = file.and_then(TemporaryFile::extension);
                found.is_some_and(|found| allowed.iter().any(|allowed| allowed == found))
            }
            RuleKind::Array => value.is_array() || value.is_object(),
            RuleKind::Email => value.as_str().is_some_and(is_email),
            RuleKind::Url => value.as_str().is_some_and(is_url),
            RuleKind::In(allowed) => match value {
                Value::Array(items) => items.iter().all(|item| allowed.contains(&text(item))),
                value => allowed.contains(&text(value)),
            },
            RuleKind::Min(least) => size.value >= *least,
            RuleKind::Max(most) => size.value <= *most,
            RuleKind::Between(least, most) => (*least..=*most).contains(&size.value),
        }
    }
}

/// Whether a value is text of white space only.
pub(super) fn is_blank(value: &Value) -> bool {
    value.as_str().is_some_and(|text| text.trim().is_empty())
}

/// The unit of a size, which error texts name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unit {
    Number,
    Characters,
    Items,
    Kilobytes,
}

/// The size of a value. Its unit depends on the field's other rules.
#[derive(Debug)]
pub(super) struct Size {
    pub(super) value: f64,
    pub(super) unit: Unit,
}

impl Size {
    pub(super) fn of(value: &Value, rules: &[Rule], file: Option<&TemporaryFile>) -> Self {
        if let Some(file) = file {
            return Self { value: file.size() as f64 / 1024.0, unit: Unit::Kilobytes };
        }
        let has = |kind: &RuleKind| rules.iter().any(|rule| rule.kind == *kind);
        let numeric = has(&RuleKind::Numeric) || has(&RuleKind::Integer);
        let counted = match (value, number(value)) {
            (_, Some(number)) if numeric => number,
            (Value::Array(items), _) => items.len() as f64,
            (Value::Object(map), _) => map.len() as f64,
            (value, _) => text(value).chars().count() as f64,
        };
        let unit = match () {
            () if numeric => Unit::Number,
            () if has(&RuleKind::Array) => Unit::Items,
            () => Unit::Characters,
        };
        Self { value: counted, unit }
    }
}

/// An extension as it is recognised by content: `jpeg` is `jpg`, and a `csv` is text.
fn extension(text: &str) -> String {
    match text.trim().to_ascii_lowercase().as_str() {
        "jpeg" => "jpg".to_owned(),
        "csv" | "log" | "md" => "txt".to_owned(),
        other => other.to_owned(),
    }
}

/// A value as PHP converts it to a string.
fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null | Value::Bool(false) => String::new(),
        Value::Bool(true) => "1".to_owned(),
        value => value.to_string(),
    }
}

fn number(value: &Value) -> Option<f64> {
    match value {
        Value::Number(number) => number.as_f64(),
        Value::String(text) => {
            let digits = text.trim();
            // Rust also parses words such as `inf`.
            let plain = digits.bytes().all(|b| b.is_ascii_digit() || b"+-.eE".contains(&b));
            digits.parse().ok().filter(|_| plain)
        }
        _ => None,
    }
}

fn is_integer(value: &Value) -> bool {
    match value {
        Value::Bool(flag) => *flag,
        Value::Number(number) => number.as_f64().is_some_and(|float| float.fract() == 0.0),
        Value::String(text) => {
            let digits = text.trim().trim_start_matches(['+', '-']);
            text.trim().parse::<i64>().is_ok() && (digits == "0" || !digits.starts_with('0'))
        }
        _ => false,
    }
}

fn is_boolean(value: &Value) -> bool {
    match value {
        Value::Bool(_) => true,
        Value::Number(number) => matches!(number.as_i64(), Some(0 | 1)),
        Value::String(text) => text == "0" || text == "1",
        _ => false,
    }
}

/// One `@` between a dotted name and a host.
fn is_email(text: &str) -> bool {
    let Some((name, host)) = text.rsplit_once('@') else { return false };
    let allowed = |c: char| c.is_alphanumeric() || !c.is_ascii() || "!#$%&'*+-/=?^_`{|}~".contains(c);
    let dotted = |part: &str| part.split('.').all(|atom| !atom.is_empty() && atom.chars().all(allowed));
    let label = |label: &str| {
        let plain = label.chars().all(|c| c.is_alphanumeric() || c == '-');
        plain && (1..=63).contains(&label.len()) && !label.starts_with('-') && !label.ends_with('-')
    };
    name.len() <= 64 && dotted(name) && host.len() <= 253 && host.split('.').all(label)
}

/// A scheme, `://` and a host.
fn is_url(text: &str) -> bool {
    let Some((scheme, rest)) = text.split_once("://") else { return false };
    let scheme_ok = scheme.starts_with(|c: char| c.is_ascii_alphabetic())
        && scheme.chars().all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c));
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    let host = host.rsplit_once(':').filter(|(_, port)| port.parse::<u16>().is_ok()).map_or(host, |(host, _)| host);
    let host_ok = !host.is_empty()
        && host.chars().all(|c| c.is_alphanumeric() || !c.is_ascii() || "-_.[]:".contains(c))
        && !host.starts_with('.');
    scheme_ok && host_ok && !text.chars().any(char::is_whitespace)
}
