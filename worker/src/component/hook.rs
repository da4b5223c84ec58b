//! The closures of a definition, synchronous or not.

use super::context::Context;
use crate::call::{BoxFuture, CallError};

/// What a method may return: `()` or a `Result` of it.
pub trait IntoResult {
    /// Converts to a `Result`.
    fn into_result(self) -> Result<(), CallError>;
}

impl IntoResult for () {
    fn into_result(self) -> Result<(), CallError> {
        Ok(())
    }
}

impl IntoResult for Result<(), CallError> {
    fn into_result(self) -> Result<(), CallError> {
        self
    }
}

/// What a view may return: HTML or a `Result` of it.
pub trait IntoHtml {
    /// Converts to a `Result`.
    fn into_html(self) -> Result<String, CallError>;
}

impl IntoHtml for String {
    fn into_html(self) -> Result<String, CallError> {
        Ok(self)
    }
}

impl IntoHtml for Result<String, CallError> {
    fn into_html(self) -> Result<String, CallError> {
        self
    }
}

type SyncHook<T, A> = dyn Fn(&mut T, &mut Context, A) -> Result<(), CallError> + Send + Sync;
type AsyncHook<T, A> =
    dyn for<'a> Fn(&'a mut T, &'a mut Context, A) -> BoxFuture<'a, Result<(), CallError>> + Send + Sync;

/// A closure over a component, the call's context and an argument.
pub(super) enum Hook<T, A> {
    Sync(Box<SyncHook<T, A>>),
    Async(Box<AsyncHook<T, A>>),
}

impl<T, A> Hook<T, A> {
    pub(super) fn new(work: impl Fn(&mut T, &mut Context, A) -> Result<(), CallError> + Send + Sync + 'static) -> Self {
        Self::Sync(Box::new(work))
    }

    /// Its bound also tells the compiler the closure's lifetimes.
    pub(super) fn new_async<F>(work: F) -> Self
    where
        F: for<'a> Fn(&'a mut T, &'a mut Context, A) -> BoxFuture<'a, Result<(), CallError>> + Send + Sync + 'static,
    {
        Self::Async(Box::new(work))
    }

    pub(super) async fn run(&self, component: &mut T, context: &mut Context, argument: A) -> Result<(), CallError> {
        match self {
            Self::Sync(work) => work(component, context, argument),
            Self::Async(work) => work(component, context, argument).await,
        }
    }
}
