//! Validation by Laravel's rules, with Laravel's error texts.
//!
//! * [`rule`]: what a rule means
//! * [`message`]: its error texts

mod message;
mod rule;

use serde::Serialize;
use serde_json::{Map, Value};

use crate::call::CallError;
use crate::upload::TemporaryFile;
use rule::{Rule, RuleKind};

/// Finds an uploaded file by its handle.
pub(super) type FindFile<'a> = &'a dyn Fn(&str) -> Option<TemporaryFile>;

/// The rules of one field.
#[derive(Debug, Default)]
struct FieldRules {
    name: String,
    rules: Vec<Rule>,
}

/// The rules of a component, by field: a property, or a path into it such as `items.*.text`.
///
/// ```
/// use diffyne_worker::component::Rules;
/// use serde_json::json;
///
/// let rules = Rules::new([("title", "required|string|max:5"), ("tags.*", "in:red,blue")])
///     .attribute("title", "headline");
/// let state = json!({"title": "too long", "tags": ["red", "green"]});
/// let errors = rules.check(state.as_object().unwrap());
/// assert_eq!(errors["title"], json!(["The headline field must not be greater than 5 characters."]));
/// assert_eq!(errors["tags.1"], json!(["The selected tags.1 is invalid."]));
/// ```
#[derive(Debug, Default)]
pub struct Rules {
    fields: Vec<FieldRules>,
    /// Names of fields in error texts.
    attributes: Map<String, Value>,
    /// Custom error texts by `field.rule`.
    messages: Map<String, Value>,
}

impl Rules {
    /// Rules as Laravel writes them: `required|string|max:500`. Known are required, nullable, bail, string, integer,
    /// numeric, boolean, array, email, url, in, min, max, between; and for uploaded files file, image (JPEG, PNG, BMP, GIF
    /// or WebP) and mimes, by their content. Sizes of files are in kilobytes.
    ///
    /// # Panics
    /// When a rule is unknown or lacks its argument.
    pub fn new<const N: usize>(rules: [(&str, &str); N]) -> Self {
        let fields = rules.iter().map(|(name, text)| {
            let rules = text.split('|').map(|rule| match Rule::parse(rule) {
                Ok(rule) => rule,
                Err(error) => panic!("the rules of {name}: {error}"),
            });
            FieldRules { name: (*name).to_owned(), rules: rules.collect() }
        });
        Self { fields: fields.collect(), ..Self::default() }
    }

    /// Sets a field's name in error texts; the default for `newMessage` is `new message`.
    #[must_use]
    pub fn attribute(mut self, field: &str, name: &str) -> Self {
        self.attributes.insert(field.to_owned(), name.into());
        self
    }

    /// Sets the error text of a field's rule. `:attribute` and the rule's arguments (`:min`, `:max`) are replaced.
    #[must_use]
    pub fn message(mut self, field: &str, rule: &str, text: &str) -> Self {
        self.messages.insert(format!("{field}.{rule}"), text.into());
        self
    }

    /// The errors of all fields, as texts by field; empty when all values are valid. No value is a file here.
    pub fn check(&self, values: &Map<String, Value>) -> Map<String, Value> {
        self.check_files(values, &|_| None)
    }

    /// As [`Self::check`]; `files` finds uploaded files by their handles.
    pub(super) fn check_files(&self, values: &Map<String, Value>, files: FindFile<'_>) -> Map<String, Value> {
        self.errors(values, |_| true, files)
    }

    /// The errors of one field. No value is a file here.
    pub fn check_only(&self, values: &Map<String, Value>, field: &str) -> Map<String, Value> {
        self.check_only_files(values, field, &|_| None)
    }

    /// As [`Self::check_only`]; `files` finds uploaded files by their handles.
    pub(super) fn check_only_files(
        &self,
        values: &Map<String, Value>,
        field: &str,
        files: FindFile<'_>,
    ) -> Map<String, Value> {
        self.errors(values, |name| name == field, files)
    }

    fn errors(
        &self,
        values: &Map<String, Value>,
        wanted: impl Fn(&str) -> bool,
        files: FindFile<'_>,
    ) -> Map<String, Value> {
        let mut errors = Map::new();
        for field in self.fields.iter().filter(|field| wanted(&field.name)) {
            for (path, value) in resolve(values, &field.name) {
                let texts = self.field_errors(field, &path, value, files);
                if !texts.is_empty() {
                    errors.insert(path, texts.into());
                }
            }
        }
        errors
    }

    fn field_errors(&self, field: &FieldRules, path: &str, value: &Value, files: FindFile<'_>) -> Vec<Value> {
        let mut texts = Vec::new();
        let has = |kind: &RuleKind| field.rules.iter().any(|rule| rule.kind == *kind);
        let wants_file = field.rules.iter().any(|rule| rule.kind.is_of_files());
        let file = value.as_str().filter(|_| wants_file).and_then(files);
        let size = rule::Size::of(value, &field.rules, file.as_ref());
        for rule in &field.rules {
            // Of empty text Laravel checks only whether it is required; null passes where it is allowed.
            let is_skipped = rule.kind != RuleKind::Required
                && (rule::is_blank(value) || value.is_null() && has(&RuleKind::Nullable));
            if is_skipped || rule.passes(value, &size, file.as_ref()) {
                continue;
            }
            let custom = self.messages.get(&format!("{}.{}", field.name, rule.name)).and_then(Value::as_str);
            let attribute = self.attributes.get(&field.name).and_then(Value::as_str);
            texts.push(message::text(rule, path, attribute, &size, custom).into());
            // The other rules say nothing about a missing value.
            if rule.kind == RuleKind::Required || has(&RuleKind::Bail) {
                break;
            }
        }
        texts
    }
}

const ABSENT: &Value = &Value::Null;

/// The values at a path with `*` for every item.
fn resolve<'a>(values: &'a Map<String, Value>, path: &str) -> Vec<(String, &'a Value)> {
    let mut parts = path.split('.');
    let first = parts.next().unwrap_or_default();
    let mut found = vec![(first.to_owned(), values.get(first).unwrap_or(ABSENT))];
    for part in parts {
        found = found.into_iter().flat_map(|(path, value)| step(&path, value, part)).collect();
    }
    found
}

fn step<'a>(path: &str, value: &'a Value, part: &str) -> Vec<(String, &'a Value)> {
    let joined = |part: &str| format!("{path}.{part}");
    match (value, part) {
        (Value::Array(items), "*") => {
            items.iter().enumerate().map(|(index, item)| (joined(&index.to_string()), item)).collect()
        }
        (Value::Object(map), "*") => map.iter().map(|(name, item)| (joined(name), item)).collect(),
        (_, "*") => Vec::new(),
        (Value::Array(items), index) => {
            let item = index.parse::<usize>().ok().and_then(|index| items.get(index));
            vec![(joined(part), item.unwrap_or(ABSENT))]
        }
        (value, name) => vec![(joined(part), value.get(name).unwrap_or(ABSENT))],
    }
}

/// The properties of a component.
pub(super) fn values(component: &impl Serialize) -> Result<Map<String, Value>, CallError> {
    match serde_json::to_value(component)? {
        Value::Object(map) => Ok(map),
        _ => Err(CallError::Exception("a component's state must be an object".to_owned())),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use serde_json::json;

    fn errors_of(rules: &str, value: Value) -> Vec<String> {
        let rules = Rules::new([("newMessage", rules)]);
        let state = json!({"newMessage": value});
        let errors = rules.check(state.as_object().unwrap());
        errors.get("newMessage").map(|texts| serde_json::from_value(texts.clone()).unwrap()).unwrap_or_default()
    }

    /// Row by row what a real Laravel 13 answers.
    #[test]
    fn texts_are_laravels() {
        let long = "x".repeat(6);
        let rows: Vec<(&str, Value, &[&str])> = vec![
            ("required|string|min:3|max:5", json!("four"), &[]),
            ("required|string|min:3", json!(" "), &["is required."]),
            ("required|array", json!([]), &["is required."]),
            ("required|string|min:3", json!("xx"), &["must be at least 3 characters."]),
            ("string|max:5", json!(long), &["must not be greater than 5 characters."]),
            ("string|max:5", json!("éééééé"), &["must not be greater than 5 characters."]),
            ("string|between:2,4", json!("x"), &["must be between 2 and 4 characters."]),
            ("string", json!(4), &["must be a string."]),
            ("string", json!(null), &["must be a string."]),
            ("nullable|string|max:5", json!(null), &[]),
            ("string|max:1", json!(""), &[]),
            ("integer", json!("12"), &[]),
            ("integer", json!(5.0), &[]),
            ("integer|min:3", json!(2), &["must be at least 3."]),
            ("integer", json!("x"), &["must be an integer."]),
            ("integer|max:3", json!("abcd"), &["must be an integer.", "must not be greater than 3."]),
            ("numeric", json!("1.5e3"), &[]),
            ("numeric|between:1,2", json!(2.5), &["must be between 1 and 2."]),
            ("numeric", json!("1,5"), &["must be a number."]),
            ("boolean", json!("1"), &[]),
            ("boolean", json!("yes"), &["must be true or false."]),
            ("array|min:2", json!([1]), &["must have at least 2 items."]),
            ("array|max:1", json!([1, 2]), &["must not have more than 1 items."]),
            ("array|between:2,3", json!([1]), &["must have between 2 and 3 items."]),
            ("array", json!("x"), &["must be an array."]),
            ("email", json!("ada@example.com"), &[]),
            ("email", json!("ada.example.com"), &["must be a valid email address."]),
            ("email", json!("a@b@c.com"), &["must be a valid email address."]),
            ("email", json!("a..b@c.com"), &["must be a valid email address."]),
            ("url", json!("https://example.com/x?y=1"), &[]),
            ("url", json!("example.com"), &["must be a valid URL."]),
            ("url", json!("http://"), &["must be a valid URL."]),
            ("bail|string|max:1", json!([1, 2]), &["must be a string."]),
        ];
        for (rules, value, expected) in rows {
            let expected: Vec<String> = expected.iter().map(|text| format!("The new message field {text}")).collect();
            assert_eq!(errors_of(rules, value.clone()), expected, "{rules} on {value}");
        }
        assert_eq!(errors_of("in:a,b", json!("b")), Vec::<String>::new());
        assert_eq!(errors_of("in:a,b", json!("c")), ["The selected new message is invalid."]);
        assert_eq!(errors_of("in:1,2", json!(2)), Vec::<String>::new());
    }

    #[test]
    fn texts_and_names_can_be_customised() {
        let rules = Rules::new([("items.*.text", "required|max:3"), ("age", "integer|min:18")])
            .attribute("items.*.text", "task")
            .message("age", "min", "Be :min, not just :attribute.");
        let state = json!({"items": [{"text": "a"}, {"text": ""}, {}], "age": 3});
        let state = state.as_object().unwrap();
        let errors = rules.check(state);
        assert_eq!(errors.keys().collect::<Vec<_>>(), ["items.1.text", "items.2.text", "age"]);
        assert_eq!(errors["items.1.text"], json!(["The task field is required."]));
        assert_eq!(errors["age"], json!(["Be 18, not just age."]));
        assert_eq!(rules.check_only(state, "age").len(), 1);
    }

    #[test]
    #[should_panic(expected = "the rules of age: unknown rule `mni:3`")]
    fn a_misspelt_rule_stops_the_start() {
        let _ = Rules::new([("age", "mni:3")]);
    }
}
