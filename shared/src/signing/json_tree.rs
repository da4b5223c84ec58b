//! JSON that is signed: a state that is at hand, or one whose texts are parts of the message that it was read from.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

/// In objects with more members, names are looked for through a hash table.
const LINEAR_MEMBERS_MAX: usize = 16;

/// A JSON value, whoever holds it.
pub trait JsonTree: Clone + Default + From<Value> {
    /// The members of an object, in their order.
    type Members<'a>: ExactSizeIterator<Item = (&'a str, &'a Self)>
    where
        Self: 'a;

    /// What it is.
    fn shape(&self) -> Shape<'_, Self>;

    /// The member of an object with this name.
    fn member(&self, name: &str) -> Option<&Self>;

    /// The members, to find several by their names.
    fn by_name(&self) -> MembersByName<'_, Self> {
        MembersByName::Tree(self)
    }

    /// The object with the members of another one: they take the places of those with the same names, or are added. An
    /// empty list is an empty object here, as in PHP.
    #[must_use]
    fn with_members(&self, other: &Self) -> Self;

    /// A copy.
    fn to_value(&self) -> Value;

    /// Whether it is an object; PHP encodes an empty one as a list.
    fn is_object(&self) -> bool {
        match self.shape() {
            Shape::Object(_) => true,
            Shape::List(items) => items.is_empty(),
            _ => false,
        }
    }

    /// Whether it is this truth value.
    fn is_bool(&self, flag: bool) -> bool {
        matches!(self.shape(), Shape::Bool(found) if found == flag)
    }
}

/// The members of an object by their names.
pub enum MembersByName<'a, T> {
    /// Few, or a tree that finds them fast by itself.
    Tree(&'a T),
    /// Many.
    Table(HashMap<&'a str, &'a T>),
}

impl<'a, T: JsonTree> MembersByName<'a, T> {
    /// The member with this name.
    pub fn get(&self, name: &str) -> Option<&'a T> {
        match self {
            Self::Tree(tree) => tree.member(name),
            Self::Table(members) => members.get(name).copied(),
        }
    }
}

/// What a JSON value is.
pub enum Shape<'a, T: JsonTree> {
    /// `null`.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A number.
    Number(&'a Number),
    /// A text.
    Text(&'a str),
    /// A list.
    List(&'a [T]),
    /// An object.
    Object(T::Members<'a>),
}

/// The members of a [`Value`].
pub struct OwnedMembers<'a>(serde_json::map::Iter<'a>);

impl<'a> Iterator for OwnedMembers<'a> {
    type Item = (&'a str, &'a Value);

    fn next(&mut self) -> Option<Self::Item> {
        self.0.next().map(|(name, value)| (name.as_str(), value))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.0.size_hint()
    }
}

impl ExactSizeIterator for OwnedMembers<'_> {}

impl JsonTree for Value {
    type Members<'a> = OwnedMembers<'a>;

    fn shape(&self) -> Shape<'_, Self> {
        match self {
            Self::Null => Shape::Null,
            Self::Bool(flag) => Shape::Bool(*flag),
            Self::Number(number) => Shape::Number(number),
            Self::String(text) => Shape::Text(text),
            Self::Array(items) => Shape::List(items),
            Self::Object(map) => Shape::Object(OwnedMembers(map.iter())),
        }
    }

    fn member(&self, name: &str) -> Option<&Self> {
        self.as_object()?.get(name)
    }

    fn with_members(&self, other: &Self) -> Self {
        let mut members = self.as_object().cloned().unwrap_or_default();
        members.extend(other.as_object().into_iter().flatten().map(|(name, value)| (name.clone(), value.clone())));
        Self::Object(members)
    }

    fn to_value(&self) -> Value {
        self.clone()
    }
}

/// A JSON value whose texts are parts of the JSON that it was read from, where they have no escapes. It is read in less
/// than half of the time that a [`Value`] takes.
#[derive(Debug, Clone, Default, PartialEq)]
pub enum BorrowedJson<'a> {
    /// `null`.
    #[default]
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A number.
    Number(Number),
    /// A text.
    Text(Cow<'a, str>),
    /// A list.
    List(Vec<Self>),
    /// The members of an object, each name once.
    Object(Vec<(Cow<'a, str>, Self)>),
}

/// The members of a [`BorrowedJson`].
pub struct BorrowedMembers<'a, 'm>(std::slice::Iter<'a, (Cow<'m, str>, BorrowedJson<'m>)>);

impl<'a, 'm> Iterator for BorrowedMembers<'a, 'm> {
    type Item = (&'a str, &'a BorrowedJson<'m>);

    fn next(&mut self) -> Option<Self::Item> {
        self.0.next().map(|(name, value)| (&**name, value))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.0.size_hint()
    }
}

impl ExactSizeIterator for BorrowedMembers<'_, '_> {}

impl<'m> JsonTree for BorrowedJson<'m> {
    type Members<'a>
        = BorrowedMembers<'a, 'm>
    where
        Self: 'a;

    fn shape(&self) -> Shape<'_, Self> {
        match self {
            Self::Null => Shape::Null,
            Self::Bool(flag) => Shape::Bool(*flag),
            Self::Number(number) => Shape::Number(number),
            Self::Text(text) => Shape::Text(text),
            Self::List(items) => Shape::List(items),
            Self::Object(members) => Shape::Object(BorrowedMembers(members.iter())),
        }
    }

    fn member(&self, name: &str) -> Option<&Self> {
        let Self::Object(members) = self else { return None };
        members.iter().find(|(known, _)| known == name).map(|(_, value)| value)
    }

    fn by_name(&self) -> MembersByName<'_, Self> {
        match self {
            // A client chooses how many there are, and how often one is looked for.
            Self::Object(members) if members.len() > LINEAR_MEMBERS_MAX => {
                MembersByName::Table(BorrowedMembers(members.iter()).collect())
            }
            _ => MembersByName::Tree(self),
        }
    }

    fn with_members(&self, other: &Self) -> Self {
        let mut members = Vec::new();
        for json in [self, other] {
            if let Self::Object(more) = json {
                members.extend(more.iter().cloned());
            }
        }
        without_repeated(&mut members);
        Self::Object(members)
    }

    fn to_value(&self) -> Value {
        match self {
            Self::Null => Value::Null,
            Self::Bool(flag) => Value::Bool(*flag),
            Self::Number(number) => Value::Number(number.clone()),
            Self::Text(text) => Value::String(text.clone().into_owned()),
            Self::List(items) => items.iter().map(Self::to_value).collect(),
            Self::Object(members) => {
                let members = members.iter().map(|(name, value)| (name.clone().into_owned(), value.to_value()));
                Value::Object(members.collect::<Map<_, _>>())
            }
        }
    }
}

impl From<Value> for BorrowedJson<'_> {
    fn from(value: Value) -> Self {
        match value {
            Value::Null => Self::Null,
            Value::Bool(flag) => Self::Bool(flag),
            Value::Number(number) => Self::Number(number),
            Value::String(text) => Self::Text(Cow::Owned(text)),
            Value::Array(items) => Self::List(items.into_iter().map(Self::from).collect()),
            Value::Object(members) => {
                let members = members.into_iter().map(|(name, value)| (Cow::Owned(name), Self::from(value)));
                Self::Object(members.collect())
            }
        }
    }
}

/// Leaves of members with the same name the last value, at the place of the first.
fn without_repeated<T>(members: &mut Vec<(Cow<'_, str>, T)>) {
    let is_new = |(index, (name, _)): (usize, &(Cow<'_, str>, T))| {
        members[..index].iter().all(|(known, _)| known.len() != name.len() || known != name)
    };
    if members.len() <= LINEAR_MEMBERS_MAX && members.iter().enumerate().all(is_new) {
        return;
    }
    let mut places: HashMap<Cow<'_, str>, usize> = HashMap::with_capacity(members.len());
    let mut kept: Vec<(Cow<'_, str>, T)> = Vec::with_capacity(members.len());
    for (name, value) in members.drain(..) {
        if let Some(place) = places.get(&name) {
            kept[*place].1 = value;
        } else {
            places.insert(name.clone(), kept.len());
            kept.push((name, value));
        }
    }
    members.extend(kept);
}

impl<'de: 'a, 'a> Deserialize<'de> for BorrowedJson<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(JsonVisitor)
    }
}

struct JsonVisitor;

impl<'de> Visitor<'de> for JsonVisitor {
    type Value = BorrowedJson<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E: Error>(self) -> Result<Self::Value, E> {
        Ok(BorrowedJson::Null)
    }

    fn visit_none<E: Error>(self) -> Result<Self::Value, E> {
        Ok(BorrowedJson::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_any(self)
    }

    fn visit_bool<E: Error>(self, flag: bool) -> Result<Self::Value, E> {
        Ok(BorrowedJson::Bool(flag))
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<Self::Value, E> {
        Ok(BorrowedJson::Number(number.into()))
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<Self::Value, E> {
        Ok(BorrowedJson::Number(number.into()))
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<Self::Value, E> {
        Ok(Number::from_f64(number).map_or(BorrowedJson::Null, BorrowedJson::Number))
    }

    fn visit_borrowed_str<E: Error>(self, text: &'de str) -> Result<Self::Value, E> {
        Ok(BorrowedJson::Text(Cow::Borrowed(text)))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
        Ok(BorrowedJson::Text(Cow::Owned(text.to_owned())))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = list.next_element()? {
            items.push(item);
        }
        Ok(BorrowedJson::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut object: A) -> Result<Self::Value, A::Error> {
        let mut members = Vec::new();
        while let Some((Name(name), value)) = object.next_entry()? {
            members.push((name, value));
        }
        without_repeated(&mut members);
        Ok(BorrowedJson::Object(members))
    }
}

/// A member's name.
struct Name<'a>(Cow<'a, str>);

impl<'de: 'a, 'a> Deserialize<'de> for Name<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(NameVisitor)
    }
}

struct NameVisitor;

impl<'de> Visitor<'de> for NameVisitor {
    type Value = Name<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a member's name")
    }

    fn visit_borrowed_str<E: Error>(self, name: &'de str) -> Result<Self::Value, E> {
        Ok(Name(Cow::Borrowed(name)))
    }

    fn visit_str<E: Error>(self, name: &str) -> Result<Self::Value, E> {
        Ok(Name(Cow::Owned(name.to_owned())))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use serde_json::json;

    use super::*;

    fn borrowed(text: &str) -> BorrowedJson<'_> {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn it_is_read_as_a_value_is_and_repeated_names_as_php_reads_them() {
        let many: Vec<String> = (0..40).map(|index| format!(r#""k{}":{index}"#, index % 19)).collect();
        let texts = [
            "null",
            r#"{"a":1,"b":[true,-0,1.50,1e300,18446744073709551615,"x\u00e9\n","plain"],"a":{"":null}}"#,
            r#"{"a\"b":1,"a\u0022b":2,"c":3}"#,
            r#"{"$serde_json::private::RawValue":"[1]"}"#,
            &format!("{{{}}}", many.join(",")),
        ];
        for text in texts {
            let json = borrowed(text);
            if !text.contains("private") {
                let value: Value = serde_json::from_str(text).unwrap();
                assert_eq!(json.to_value(), value, "{text}");
                assert_eq!(json.to_value().to_string(), value.to_string(), "the same order, {text}");
            }
            assert_eq!(BorrowedJson::from(json.to_value()), json, "{text}");
        }
        for text in ["", "{", r#"["\ud800"]"#, "[1e999]", "{1:2}", "1 2"] {
            assert!(serde_json::from_str::<BorrowedJson<'_>>(text).is_err(), "{text}");
        }
        let BorrowedJson::Object(members) = borrowed(r#"{"a":"b"}"#) else { panic!() };
        assert!(matches!(&members[0], (Cow::Borrowed("a"), BorrowedJson::Text(Cow::Borrowed("b")))));
    }

    #[test]
    fn members_of_another_object_take_the_places_of_the_same_names() {
        let cases = [
            (json!({"a": 1, "b": 2}), json!({"c": 3, "a": 4}), json!({"a": 4, "b": 2, "c": 3})),
            (json!([]), json!({"a": 1}), json!({"a": 1})),
            (json!({"a": 1}), json!([]), json!({"a": 1})),
        ];
        for (one, other, together) in cases {
            assert_eq!(one.with_members(&other).to_string(), together.to_string());
            let borrowed = BorrowedJson::from(one).with_members(&BorrowedJson::from(other));
            assert_eq!(borrowed.to_value().to_string(), together.to_string());
        }
    }

    #[test]
    fn an_empty_list_counts_as_an_object() {
        for (text, is_object) in [("{}", true), ("[]", true), ("[1]", false), ("null", false), (r#""""#, false)] {
            assert_eq!(borrowed(text).is_object(), is_object, "{text}");
            assert_eq!(serde_json::from_str::<Value>(text).unwrap().is_object(), text == "{}");
            assert_eq!(JsonTree::is_object(&serde_json::from_str::<Value>(text).unwrap()), is_object, "{text}");
        }
        assert!(borrowed("true").is_bool(true) && !borrowed("false").is_bool(true) && !borrowed("1").is_bool(true));
        assert_eq!(borrowed(r#"{"a":1}"#).member("a").map(JsonTree::to_value), Some(json!(1)));
        assert_eq!(borrowed("[1]").member("a"), None);
        for members in [1, LINEAR_MEMBERS_MAX + 1] {
            let names: Vec<String> = (0..members).map(|index| format!(r#""k{index}":{index}"#)).collect();
            let text = format!("{{{}}}", names.join(","));
            let (json, last) = (borrowed(&text), format!("k{}", members - 1));
            assert_eq!(json.by_name().get(&last).map(JsonTree::to_value), Some(json!(members - 1)));
            assert_eq!(json.by_name().get("other"), None);
        }
    }
}
