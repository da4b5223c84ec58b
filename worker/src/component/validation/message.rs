//! What a broken rule says: Laravel's English texts.

use super::rule::{Kind, Rule, Size, Unit};

/// The text for a field that breaks a rule; `own` takes the place of Laravel's.
pub(super) fn text(rule: &Rule, path: &str, called: Option<&str>, size: &Size, own: Option<&str>) -> String {
    let template = own.unwrap_or_else(|| template(&rule.kind, size.unit));
    let called = called.map_or_else(|| human_name(path), str::to_owned);
    let argument = |at: usize| rule.arguments.get(at).map_or("", String::as_str);
    let (least, most) = match rule.kind {
        Kind::Between(..) => (argument(0), argument(1)),
        _ => (argument(0), argument(0)),
    };
    template.replace(":attribute", &called).replace(":min", least).replace(":max", most)
}

fn template(kind: &Kind, unit: Unit) -> &'static str {
    match (kind, unit) {
        // These never fail.
        (Kind::Nullable | Kind::Bail, _) => "",
        (Kind::Required, _) => "The :attribute field is required.",
        (Kind::String, _) => "The :attribute field must be a string.",
        (Kind::Integer, _) => "The :attribute field must be an integer.",
        (Kind::Numeric, _) => "The :attribute field must be a number.",
        (Kind::Boolean, _) => "The :attribute field must be true or false.",
        (Kind::Array, _) => "The :attribute field must be an array.",
        (Kind::Email, _) => "The :attribute field must be a valid email address.",
        (Kind::Url, _) => "The :attribute field must be a valid URL.",
        (Kind::In(_), _) => "The selected :attribute is invalid.",
        (Kind::Min(_), Unit::Number) => "The :attribute field must be at least :min.",
        (Kind::Min(_), Unit::Characters) => "The :attribute field must be at least :min characters.",
        (Kind::Min(_), Unit::Items) => "The :attribute field must have at least :min items.",
        (Kind::Max(_), Unit::Number) => "The :attribute field must not be greater than :max.",
        (Kind::Max(_), Unit::Characters) => "The :attribute field must not be greater than :max characters.",
        (Kind::Max(_), Unit::Items) => "The :attribute field must not have more than :max items.",
        (Kind::Between(..), Unit::Number) => "The :attribute field must be between :min and :max.",
        (Kind::Between(..), Unit::Characters) => "The :attribute field must be between :min and :max characters.",
        (Kind::Between(..), Unit::Items) => "The :attribute field must have between :min and :max items.",
    }
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
