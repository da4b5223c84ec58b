//! Async values: a call is answered with a placeholder, and the value comes when a future has made it.
//!
//! The placeholder is in the state, with a number. What comes later is a second transition of the component, which starts
//! from the state of that answer. A page that has gone on by then sends the value back with its newest state, as a call of
//! [`METHOD`].

use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use diffyne_shared::telemetry::{self, LogThrottle};
use futures_util::FutureExt as _;
use futures_util::stream::FuturesUnordered;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::call::message::CallMessage;
use crate::call::{BoxFuture, CallError, ClientInfo};

/// The method by which a page hands a value over that came for an older state.
pub(super) const METHOD: &str = "$async";
/// Calls of a worker whose values are still to come, at most. Beyond it, calls wait for their values.
pub(super) const OPEN_CALLS_MAX: usize = 1024;
/// Values of one call, at most.
const VALUES_MAX: usize = 16;
/// JavaScript keeps integers up to here.
const NUMBER_MAX: u64 = 1 << 53;
/// Limits log lines about failed values: anybody can cause them.
static LINES: LogThrottle = LogThrottle::new(10, 50);
const TOO_LATE: &str = "The value did not come in time.";
const LOST: &str = "The connection was lost before the value came.";

/// A property whose value comes later, see [`Context::assign_async`](super::Context::assign_async).
///
/// A template sees `loading`, which is true or not, `value`, and `failed`, a text. While a new value is loading, the old
/// one is still there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Async<T> {
    /// The number of the value that is to come.
    loading: Option<u64>,
    value: Option<T>,
    failed: Option<String>,
}

impl<T> Default for Async<T> {
    fn default() -> Self {
        Self { loading: None, value: None, failed: None }
    }
}

impl<T> Async<T> {
    /// Whether a value is to come.
    pub fn is_loading(&self) -> bool {
        self.loading.is_some()
    }

    /// The value that came last.
    pub fn value(&self) -> Option<&T> {
        self.value.as_ref()
    }

    /// Why no value came.
    pub fn failed(&self) -> Option<&str> {
        self.failed.as_deref()
    }
}

type MakeValue = BoxFuture<'static, Result<Value, CallError>>;

/// A value that is to come.
pub(super) struct PendingValue {
    property: String,
    number: u64,
    future: MakeValue,
}

/// The values of a call that are to come.
#[derive(Default)]
pub(super) struct PendingValues {
    /// The lock is never contended: it makes the futures of a context shareable.
    values: Mutex<Vec<PendingValue>>,
    fault: Option<&'static str>,
    /// Room for calls whose values come after the answer; `None`: the client cannot be sent more.
    pub(super) slots: Option<Arc<Semaphore>>,
    /// Whether clients may see exceptions.
    pub(super) debug: bool,
    /// Held while values come after the answer; `None`: the answer waits for them.
    permit: Option<OwnedSemaphorePermit>,
}

impl PendingValues {
    fn values(&mut self) -> &mut Vec<PendingValue> {
        self.values.get_mut().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn is_empty(&mut self) -> bool {
        self.fault.is_none() && self.values().is_empty()
    }

    /// Forgets the values: what they are for is not shown.
    pub(super) fn clear(&mut self) {
        self.values().clear();
    }

    pub(super) fn add<T: Serialize>(
        &mut self,
        property: &str,
        future: impl Future<Output = Result<T, CallError>> + Send + 'static,
    ) {
        let values = self.values();
        values.retain(|other| other.property != property);
        if values.len() >= VALUES_MAX {
            self.fault = Some("a call assigns more than 16 values");
            return;
        }
        let future = Box::pin(async move { Ok(serde_json::to_value(future.await?)?) });
        values.push(PendingValue { property: property.to_owned(), number: fastrand::u64(1..NUMBER_MAX), future });
    }
}

/// Puts placeholders into the properties of a component for values that come after the answer, or waits for them.
pub(super) async fn place(
    class: &str,
    values: &mut Map<String, Value>,
    pending: &mut PendingValues,
) -> Result<(), CallError> {
    if let Some(fault) = pending.fault {
        return Err(CallError::Exception(fault.to_owned()));
    }
    for value in pending.values().iter() {
        let loading = values.get_mut(&value.property).and_then(|known| known.get_mut("loading"));
        let no_async = || CallError::Exception(format!("{} is no property of the type Async", value.property));
        *loading.ok_or_else(no_async)? = value.number.into();
    }
    pending.permit = pending.slots.as_ref().and_then(|slots| Arc::clone(slots).try_acquire_owned().ok());
    if pending.permit.is_some() {
        return Ok(());
    }
    let (debug, mut waiting) = (pending.debug, std::mem::take(pending.values()));
    let made = futures_util::future::join_all(waiting.iter_mut().map(|value| made(&mut value.future))).await;
    for (value, made) in waiting.iter().zip(made) {
        settle(values, &value.property, value.number, settled(made, (class, &value.property), debug));
    }
    Ok(())
}

/// Puts a value into its property, if that is still the value that the property waits for.
pub(super) fn settle(values: &mut Map<String, Value>, property: &str, number: u64, made: Result<Value, String>) {
    let Some(Value::Object(known)) = values.get_mut(property) else { return };
    if known.get("loading") != Some(&number.into()) {
        return;
    }
    known.insert("loading".to_owned(), Value::Null);
    match made {
        Ok(value) => {
            known.insert("value".to_owned(), value);
            known.insert("failed".to_owned(), Value::Null);
        }
        Err(text) => drop(known.insert("failed".to_owned(), text.into())),
    }
}

/// Gives up all values that a state waits for.
pub(super) fn give_up(values: &mut Map<String, Value>) {
    let waiting: Vec<_> =
        values.iter().filter_map(|(name, value)| Some((name.clone(), value.get("loading")?.as_u64()?))).collect();
    for (name, number) in waiting {
        settle(values, &name, number, Err(LOST.to_owned()));
    }
}

/// The text of a failure is for the page: what an exception says is not.
fn settled(made: Result<Value, CallError>, (class, property): (&str, &str), debug: bool) -> Result<Value, String> {
    made.map_err(|error| {
        let text = format!("{error:?}");
        if let Some(left_out) = LINES.allow() {
            tracing::error!(component = class, property, error = %telemetry::error(&text), left_out, "an async value failed");
        }
        if debug { text } else { "The value could not be loaded.".to_owned() }
    })
}

/// Waits for a value. A future that panics fails.
async fn made(future: &mut MakeValue) -> Result<Value, CallError> {
    let made = AssertUnwindSafe(future).catch_unwind().await;
    made.unwrap_or_else(|_panic| Err(CallError::Exception("it panicked".to_owned())))
}

/// What came of a value, by the property that got it.
pub(super) fn made_of(mut property: Value) -> Result<Value, String> {
    let mut take = |name| property.get_mut(name).map(Value::take).unwrap_or_default();
    match take("failed") {
        Value::String(text) => Err(text),
        _ => Ok(take("value")),
    }
}

/// What a page hands over by [`METHOD`]: a value that came for an older state, or nothing where the connection was lost.
pub(super) enum HandedValue {
    Lost,
    Value { property: String, number: u64, state: Map<String, Value>, signature: String },
}

impl HandedValue {
    pub(super) fn read(message: &CallMessage<'_>) -> Result<Self, CallError> {
        let invalid = || CallError::Invalid("Invalid request".to_owned());
        let mut params = message.positional()?.into_iter();
        match (params.next(), params.next(), params.next(), params.next()) {
            (None, ..) => Ok(Self::Lost),
            (
                Some(Value::String(property)),
                Some(number),
                Some(Value::Object(state)),
                Some(Value::String(signature)),
            ) => {
                let number = number.as_u64().ok_or_else(invalid)?;
                Ok(Self::Value { property, number, state, signature })
            }
            _ => Err(invalid()),
        }
    }
}

/// A call whose values come after its answer.
pub(super) struct OpenCall {
    pub(super) class: String,
    pub(super) id: String,
    pub(super) client: ClientInfo,
    /// The state of the last answer.
    pub(super) state: Value,
    deadline: Instant,
    debug: bool,
    values: Vec<PendingValue>,
    /// Held until the last value has come.
    _permit: OwnedSemaphorePermit,
}

impl OpenCall {
    /// How many values are to come.
    pub(super) fn len(&self) -> usize {
        self.values.len()
    }

    /// The call, if values of it are to come after its answer.
    pub(super) fn of(
        pending: &mut PendingValues,
        (class, id): (&str, &str),
        client: &ClientInfo,
        state: &Value,
        deadline: Instant,
    ) -> Option<Self> {
        let permit = pending.permit.take()?;
        Some(Self {
            class: class.to_owned(),
            id: id.to_owned(),
            client: client.clone(),
            state: state.clone(),
            deadline,
            debug: pending.debug,
            values: std::mem::take(pending.values()),
            _permit: permit,
        })
    }

    /// The values in the order in which they come: the property, the number and what was made, until the time is over.
    pub(super) fn take_values(&mut self) -> FuturesUnordered<BoxFuture<'static, MadeValue>> {
        let (deadline, debug) = (self.deadline.into(), self.debug);
        let (class, values): (Arc<str>, _) = (self.class.as_str().into(), std::mem::take(&mut self.values).into_iter());
        values
            .map(|PendingValue { property, number, mut future }| -> BoxFuture<'static, MadeValue> {
                let class = Arc::clone(&class);
                Box::pin(async move {
                    let made = tokio::time::timeout_at(deadline, made(&mut future)).await;
                    let made = match made {
                        Ok(made) => settled(made, (&class, &property), debug),
                        Err(_late) => Err(TOO_LATE.to_owned()),
                    };
                    MadeValue { property, number, made }
                })
            })
            .collect()
    }
}

/// What came of a value.
#[derive(Debug)]
pub struct MadeValue {
    pub(super) property: String,
    pub(super) number: u64,
    pub(super) made: Result<Value, String>,
}
