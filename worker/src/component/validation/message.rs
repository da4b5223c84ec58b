//! The error texts of rules: Laravel's in English.

use super::rule::{Rule, RuleKind, Size, Unit};

/// The text for a field that breaks a rule; `custom` replaces Laravel's.
pub(super) fn text(rule: &Rule, path: &str, attribute: Option<&str>, size: &Size, custom: Option<&str>) -> String {
    let template = custom.unwrap_or_else(|| template(&rule.kind, size.unit));
    let attribute = attribute.map_or_else(|| human_name(path), str::to_owned);
    let argument = |at: usize| rule.arguments.get(at).map_or("", String::as_str);
    let (least, most) = match rule.kind {
        RuleKind::Between(..) => (argument(0), argument(1)),
        _ => (argument(0), argument(0)),
    };
    template
        .replace(":attribute", &attribute)
        .replace(":min", least)
        .replace(":max", most)
        .replace(":values", &rule.arguments.join(", "))
}

fn template(kind: &RuleKind, unit: Unit) -> &'static str {
    match (kind, unit) {
        // These never fail.
        (RuleKind::Nullable | RuleKind::Bail, _) => "",
        (RuleKind::Required, _) => "The :attribute field is required.",
        (RuleKind::String, _) => "The :attribute field must be a string.",
        (RuleKind::Integer, _) => "The :attribute field must be an integer.",
        (RuleKind::Numeric, _) => "The :attribute field must be a number.",
        (RuleKind::Boolean, _) => "The :attribute field must be true or false.",
        (RuleKind::Array, _) => "The :attribute field must be an array.",
        (RuleKind::Email, _) => "The :attribute field must be a valid email address.",
        (RuleKind::Url, _) => "The :attribute field must be a valid URL.",
        (RuleKind::In(_), _) => "The selected :attribute is invalid.",
        (RuleKind::File, _) => "The :attribute field must be a file.",
        (RuleKind::Image, _) => "The :attribute field must be an image.",
        (RuleKind::Mimes(_), _) => "The :attribute field must be a file of type: :values.",
        (RuleKind::Min(_), Unit::Kilobytes) => "The :attribute field must be at least :min kilobytes.",
        (RuleKind::Max(_), Unit::Kilobytes) => "The :attribute field must not be greater than :max kilobytes.",
        (RuleKind::Between(..), Unit::Kilobytes) => "The :attribute field must be between :min and :max kilobytes.",
        (RuleKind::Min(_), Unit::Number) => "The :attribute field must be at least :min.",
        (RuleKind::Min(_), Unit::Characters) => "The :attribute field must be at least :min characters.",
        (RuleKind::Min(_), Unit::Items) => "The :attribute field must have at least :min items.",
        (RuleKind::Max(_), Unit::Number) => "The :attribute field must not be greater than :max.",
        (RuleKind::Max(_), Unit::Characters) => "The :attribute field must not be greater than :max characters.",
        (RuleKind::Max(_), Unit::Items) => "The :attribute field must not have more than :max items.",
        (RuleKind::Between(..), Unit::Number) => "The :attribute field must be between :min and :max.",
        (RuleKind::Between(..), Unit::Characters) => "The :attribute field must be between :min and :max characters.",
        (RuleKind::Between(..), Unit::Items) => "The :attribute field must have between :min and :max items.",
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
