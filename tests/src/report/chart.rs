//! Figures that a plot shows side by side.

use serde::{Deserialize, Serialize};

/// Figures that are compared with each other.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Chart {
    /// The name of its file.
    pub name: String,
    /// What was measured.
    pub title: String,
    /// The unit, and whether more or less is better.
    pub unit: String,
    /// One for each figure.
    pub bars: Vec<Bar>,
}

/// A figure.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Bar {
    /// Whose it is.
    pub label: String,
    /// The figure.
    pub value: f64,
    /// Whether it is this project's.
    pub is_ours: bool,
}
