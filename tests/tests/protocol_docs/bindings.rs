//! Examples with placeholders, and the messages that they are compared with.

use std::collections::{BTreeSet, HashMap};

use anyhow::{Context as _, ensure};
use serde_json::Value;

/// The values that placeholders stand for.
#[derive(Default)]
pub struct Bindings(HashMap<String, Value>);

impl Bindings {
    /// A message with its placeholders replaced.
    pub fn fill(&self, template: &Value) -> anyhow::Result<Value> {
        Ok(match template {
            Value::String(text) => match placeholder(text) {
                Some(("", name, "")) => self.get(name)?.clone(),
                Some((before, name, after)) => {
                    let value = self.get(name)?.as_str().context("only a string can be part of a string")?;
                    format!("{before}{value}{after}").into()
                }
                None => template.clone(),
            },
            Value::Array(items) => items.iter().map(|item| self.fill(item)).collect::<anyhow::Result<Vec<_>>>()?.into(),
            Value::Object(fields) => {
                let fields = fields.iter().map(|(name, value)| Ok((name.clone(), self.fill(value)?)));
                Value::Object(fields.collect::<anyhow::Result<_>>()?)
            }
            other => other.clone(),
        })
    }

    fn get(&self, name: &str) -> anyhow::Result<&Value> {
        self.0.get(name).with_context(|| format!("{{{{{name}}}}} stands for nothing yet"))
    }

    /// Compares what came with what the page says, and notes what new placeholders stand for.
    pub fn compare(&mut self, template: &Value, actual: &Value) -> anyhow::Result<()> {
        match (template, actual) {
            (Value::String(text), _) if text == "<any>" => {}
            (Value::String(text), _) if matches!(placeholder(text), Some(("", _, ""))) => {
                let (_, name, _) = placeholder(text).unwrap();
                let known = self.0.entry(name.to_owned()).or_insert_with(|| actual.clone());
                ensure!(known == actual, "{{{{{name}}}}} was {known}, is {actual}");
            }
            (Value::Array(expected), Value::Array(items)) => {
                ensure!(expected.len() == items.len(), "{actual} has {} items", items.len());
                for (expected, item) in expected.iter().zip(items) {
                    self.compare(expected, item)?;
                }
            }
            (Value::Object(expected), Value::Object(fields)) => {
                let names = |fields: &serde_json::Map<String, Value>| fields.keys().cloned().collect::<BTreeSet<_>>();
                ensure!(names(expected) == names(fields), "fields: {:?}", names(fields));
                for (name, expected) in expected {
                    self.compare(expected, &fields[name]).with_context(|| name.clone())?;
                }
            }
            _ => ensure!(template == actual, "{actual} instead of {template}"),
        }
        Ok(())
    }
}

/// The text before, in and behind `{{..}}`.
fn placeholder(text: &str) -> Option<(&str, &str, &str)> {
    let (before, rest) = text.split_once("{{")?;
    let (name, after) = rest.split_once("}}")?;
    Some((before, name, after))
}
