//! What a definition keeps of its closures: a piece of work on a component, now or later.

use std::future::Future;
use std::pin::Pin;

use super::context::Context;
use super::failure::Failure;

/// A future that a method returns.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// What a method may return: nothing, or nothing and why not.
pub trait Returned {
    /// As a result.
    fn into_result(self) -> Result<(), Failure>;
}

impl Returned for () {
    fn into_result(self) -> Result<(), Failure> {
        Ok(())
    }
}

impl Returned for Result<(), Failure> {
    fn into_result(self) -> Result<(), Failure> {
        self
    }
}

/// What a view may return: HTML, or why there is none.
pub trait Rendered {
    /// As a result.
    fn into_html(self) -> Result<String, Failure>;
}

impl Rendered for String {
    fn into_html(self) -> Result<String, Failure> {
        Ok(self)
    }
}

impl Rendered for Result<String, Failure> {
    fn into_html(self) -> Result<String, Failure> {
        self
    }
}

type Now<T, A> = dyn Fn(&mut T, &mut Context, A) -> Result<(), Failure> + Send + Sync;
type Later<T, A> = dyn for<'a> Fn(&'a mut T, &'a mut Context, A) -> BoxFuture<'a, Result<(), Failure>> + Send + Sync;

/// Work on a component, with an argument.
pub(super) enum Hook<T, A> {
    Now(Box<Now<T, A>>),
    Later(Box<Later<T, A>>),
}

impl<T, A> Hook<T, A> {
    pub(super) fn now(work: impl Fn(&mut T, &mut Context, A) -> Result<(), Failure> + Send + Sync + 'static) -> Self {
        Self::Now(Box::new(work))
    }

    /// Also names the closure's lifetimes for the compiler.
    pub(super) fn later<F>(work: F) -> Self
    where
        F: for<'a> Fn(&'a mut T, &'a mut Context, A) -> BoxFuture<'a, Result<(), Failure>> + Send + Sync + 'static,
    {
        Self::Later(Box::new(work))
    }

    pub(super) async fn run(&self, component: &mut T, context: &mut Context, argument: A) -> Result<(), Failure> {
        match self {
            Self::Now(work) => work(component, context, argument),
            Self::Later(work) => work(component, context, argument).await,
        }
    }
}
