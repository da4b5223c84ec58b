//! What the admin listener serves of its program.

use hyper::{Method, StatusCode};
use prometheus::Registry;
use serde_json::Value;

use super::history::{History, Series};
use super::overview::Overview;
use crate::BoxFuture;
use crate::admin_tokens::AdminTokens;

/// What the listener serves of its program.
pub trait AdminSource: Send + Sync + 'static {
    /// The metrics.
    fn registry(&self) -> &Registry;
    /// Brings gauges up to date before a scrape.
    fn refresh(&self) {}
    /// Ready for traffic, or why not.
    fn ready(&self) -> Result<(), String>;
    /// The state of the program for operators, at `GET /health`; none: nothing is there.
    fn health(&self) -> Option<Value> {
        None
    }
    /// What is wrong although the program is ready.
    fn warnings(&self) -> Vec<String> {
        Vec::new()
    }
    /// The figures that are kept for an hour.
    fn series(&self) -> &'static [Series];
    /// What operators see.
    fn overview<'a>(&'a self, history: &'a History) -> BoxFuture<'a, Overview>;
    /// The tokens of those who may send requests below `/api/`.
    fn tokens(&self) -> &AdminTokens;
    /// Whether a request that changes something is an operator's, and so has a line in the log: an application's are
    /// many, and are counted.
    fn is_audited(&self, _path: &str) -> bool {
        true
    }
    /// Answers a request below `/api/` with the right token; `None` when there is nothing at this path.
    fn api<'a>(&'a self, _request: ApiRequest<'a>) -> ApiFuture<'a> {
        Box::pin(std::future::ready(None))
    }
}

/// A request below `/api/`.
#[derive(Debug, Clone, Copy)]
pub struct ApiRequest<'a> {
    /// `GET` to look, `POST` to change.
    pub method: &'a Method,
    /// From `/api/` on.
    pub path: &'a str,
    /// What stands behind the question mark.
    pub query: &'a str,
    /// The body.
    pub body: &'a str,
}

/// The answer to such a request.
pub type ApiFuture<'a> = BoxFuture<'a, Option<(StatusCode, Value)>>;
