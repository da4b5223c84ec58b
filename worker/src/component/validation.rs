//! Validation by Laravel's rules, in Laravel's words.

use serde_json::{Map, Value};

/// The errors of all fields; empty when everything is fine.
pub(super) fn check(fields: &[(&str, Value, &str)]) -> Map<String, Value> {
    let mut errors = Map::new();
    for (field, value, rules) in fields {
        let texts = check_field(field, value, rules);
        if !texts.is_empty() {
            errors.insert((*field).to_owned(), texts.into());
        }
    }
    errors
}

fn check_field(field: &str, value: &Value, rules: &str) -> Vec<String> {
    let name = human_name(field);
    let empty = is_empty(value);
    let mut texts = Vec::new();
    for rule in rules.split('|') {
        let (rule, argument) = rule.split_once(':').unwrap_or((rule, ""));
        let limit: f64 = argument.parse().unwrap_or(0.0);
        match rule {
            "required" if empty => {
                // Laravel stops at the first rule that an absent value breaks.
                return vec![format!("The {name} field is required.")];
            }
            // The other rules look at values only.
            _ if empty => {}
            "string" if !value.is_string() => texts.push(format!("The {name} field must be a string.")),
            "integer" if integer(value).is_none() => texts.push(format!("The {name} field must be an integer.")),
            "max" if size(value) > limit => {
                texts.push(format!("The {name} field must not be greater than {argument}{}.", unit(value)));
            }
            "min" if size(value) < limit => {
                texts.push(format!("The {name} field must be at least {argument}{}.", unit(value)));
            }
            _ => {}
        }
    }
    texts
}

/// `newMessage` and `new_message` become `new message`.
fn human_name(field: &str) -> String {
    let mut out = String::new();
    for c in field.chars() {
        if c.is_uppercase() && !out.is_empty() {
            out.push(' ');
        }
        out.extend(if c == '_' { ' ' } else { c }.to_lowercase());
    }
    out
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => text.trim().is_empty(),
        Value::Array(items) => items.is_empty(),
        _ => false,
    }
}

fn integer(value: &Value) -> Option<i64> {
    match value {
        Value::String(text) => text.trim().parse().ok(),
        value => value.as_i64(),
    }
}

fn size(value: &Value) -> f64 {
    match value {
        Value::String(text) => text.chars().count() as f64,
        Value::Array(items) => items.len() as f64,
        value => value.as_f64().unwrap_or(0.0),
    }
}

fn unit(value: &Value) -> &'static str {
    match value {
        Value::String(_) => " characters",
        Value::Array(_) => " items",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn texts_are_laravels() {
        let rules = "required|string|min:3|max:5";
        let texts = |value: Value| check(&[("newMessage", value, rules)]).get("newMessage").cloned();
        assert_eq!(texts(json!("four")), None);
        assert_eq!(texts(json!(" ")), Some(json!(["The new message field is required."])));
        assert_eq!(texts(json!("xx")), Some(json!(["The new message field must be at least 3 characters."])));
        let long = texts(json!("éééééé"));
        assert_eq!(long, Some(json!(["The new message field must not be greater than 5 characters."])));
        let number = texts(json!(4));
        assert_eq!(number, Some(json!(["The new message field must be a string."])));
    }
}
