//! How a call can fail, and the JSON that tells the client: one form over a WebSocket, one over AJAX.

use std::sync::atomic::{AtomicBool, Ordering};

use diffyne_shared::rpc::{CallKind, Outcome, Transport};
use diffyne_shared::telemetry;
use serde_json::{Map, Value, json};

/// Why a call failed. The `?` operator turns any error into [`CallError::Exception`].
#[derive(Debug, Clone, PartialEq)]
pub enum CallError {
    /// The message is not a valid call.
    Invalid(String),
    /// The component's validation failed: texts by field.
    Validation(Map<String, Value>),
    /// The class has no such method, or clients may not call it.
    UnknownMethod(String),
    /// A parameter is missing or of the wrong type.
    Method(String),
    /// The class has no such property.
    UnknownProperty(String),
    /// The property is not writable, or the value has the wrong type.
    Property(String),
    /// The state's signature is wrong.
    Security,
    /// No signature covers the values of locked properties.
    Unsigned,
    /// There is no such class.
    UnknownComponent(String),
    /// The class is not lazy, so pages may not mount it.
    NotLazy(String),
    /// The session that the connection began with has ended: another tab has logged in or out. The call was not run, or
    /// only until it asked who its user is.
    SessionEnded,
    /// The application's framework responded instead of the component, with this status.
    Refused(u16),
    /// The call ran until its deadline and was ended.
    TimedOut,
    /// The client has left before the answer was complete.
    ClientLeft,
    /// The state cannot come back from this page as it is; the text names class and property.
    Unreturnable(String),
    /// The component failed. Clients see the text in debug mode only.
    Exception(String),
}

impl<E: std::error::Error> From<E> for CallError {
    fn from(error: E) -> Self {
        Self::exception(error)
    }
}

const UNSIGNED: &str = "No signature covers the locked properties of this component. Reload the page.";
const WRONG_SIGNATURE: &str = "Invalid state signature. State may have been tampered with.";
const NOT_LAZY: &str = "Invalid component class";
const SESSION_ENDED: &str = "Your session has changed in another tab. Try again, please.";
const GENERAL: &str = "An error occurred while processing your request.";

impl CallError {
    /// An error of the component itself.
    pub fn exception(error: impl std::fmt::Display) -> Self {
        Self::Exception(error.to_string())
    }

    /// The outcome that the relay and the metrics report.
    pub fn outcome(&self) -> Outcome {
        match self {
            Self::Invalid(_) | Self::Validation(_) | Self::NotLazy(_) => Outcome::ValidationError,
            Self::UnknownMethod(_) | Self::Method(_) => Outcome::MethodError,
            Self::UnknownProperty(_) | Self::Property(_) => Outcome::PropertyError,
            Self::Security | Self::Unsigned | Self::SessionEnded => Outcome::SecurityError,
            Self::UnknownComponent(_) => Outcome::UnknownComponent,
            Self::TimedOut => Outcome::Timeout,
            Self::ClientLeft => Outcome::ClientLeft,
            Self::Refused(_) | Self::Unreturnable(_) | Self::Exception(_) => Outcome::ServerError,
        }
    }

    /// The status of the AJAX response.
    pub fn status(&self, kind: CallKind) -> u16 {
        match self {
            Self::UnknownComponent(_) if kind == CallKind::Mount => 400,
            Self::Validation(_) => 422,
            Self::Invalid(_)
            | Self::UnknownMethod(_)
            | Self::Method(_)
            | Self::UnknownProperty(_)
            | Self::Property(_)
            | Self::NotLazy(_) => 400,
            Self::Security | Self::Unsigned => 403,
            Self::UnknownComponent(_) => 404,
            Self::Refused(status) if (400..600).contains(status) => *status,
            Self::TimedOut => 504,
            // A redirect, to a login page for example.
            Self::SessionEnded | Self::Refused(300..400) => 401,
            Self::Refused(_) | Self::Unreturnable(_) | Self::ClientLeft | Self::Exception(_) => 500,
        }
    }

    /// Logs once why calls of components with locked properties can be refused.
    pub(crate) fn warn_if_unsigned(&self, class: &str) {
        static LOGGED: AtomicBool = AtomicBool::new(false);
        if *self == Self::Unsigned && !LOGGED.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                component = class,
                "a call was refused because no signature covers the component's locked properties: forged, or from a page that \
                 the package rendered without our scripts and without the bridge; DIFFYNE_LOCKED=upstream lets both pass. This is \
                 logged once"
            );
        }
    }

    /// The client's response; `place` is shown in debug mode only.
    pub(crate) fn response(&self, kind: CallKind, transport: Transport, debug: bool, place: &str) -> Value {
        match (kind, transport) {
            (CallKind::Mount, Transport::Ajax) => self.ajax_mount_response(debug, place),
            (_, Transport::Ajax) => self.ajax_response(debug, place),
            (_, Transport::Ws) => self.socket_response(debug, place),
        }
    }

    fn socket_response(&self, debug: bool, place: &str) -> Value {
        match self {
            Self::Invalid(text) => typed(text, "validation_error"),
            Self::UnknownMethod(name) => {
                typed(format!("Method {} does not exist", telemetry::name(name)), "method_error")
            }
            Self::UnknownProperty(name) => {
                typed(format!("Property {} does not exist", telemetry::name(name)), "property_error")
            }
            Self::Security => typed(WRONG_SIGNATURE, "security_error"),
            Self::Unsigned => typed(UNSIGNED, "security_error"),
            Self::UnknownComponent(class) => {
                typed(format!("Component class [{}] does not exist.", telemetry::name(class)), "exception")
            }
            Self::NotLazy(_) => typed(NOT_LAZY, "validation_error"),
            Self::Exception(text) if debug => {
                json!({"s": false, "error": text, "type": "exception", "details": {"exception": place}})
            }
            _ => self.common_response(),
        }
    }

    fn ajax_response(&self, debug: bool, place: &str) -> Value {
        match self {
            Self::Invalid(text) => untyped(text),
            Self::UnknownMethod(name) => {
                typed(format!("Method [{}] does not exist on component.", telemetry::name(name)), "method_error")
            }
            Self::UnknownProperty(name) => {
                typed(format!("Property [{}] does not exist on component.", telemetry::name(name)), "property_error")
            }
            Self::Security => untyped(WRONG_SIGNATURE),
            Self::Unsigned => untyped(UNSIGNED),
            Self::UnknownComponent(_) => untyped("Component class not found"),
            Self::NotLazy(_) => untyped(NOT_LAZY),
            Self::Exception(text) if debug => {
                json!({"s": false, "error": text, "type": "exception", "exception": place})
            }
            _ => self.common_response(),
        }
    }

    /// A failed lazy mount over AJAX.
    fn ajax_mount_response(&self, debug: bool, place: &str) -> Value {
        match self {
            Self::Exception(text) if debug => untyped(&format!("Failed to load component: {text}")),
            Self::Exception(_) => untyped(GENERAL),
            Self::UnknownComponent(_) => untyped(NOT_LAZY),
            _ => json!({"success": false, "error": self.socket_response(debug, place)["error"]}),
        }
    }

    /// The responses that are the same over both transports.
    fn common_response(&self) -> Value {
        match self {
            Self::Validation(errors) => {
                json!({"s": false, "error": "Validation failed", "type": "validation_error", "errors": errors})
            }
            Self::Method(text) => typed(text, "method_error"),
            Self::Property(text) => typed(text, "property_error"),
            Self::SessionEnded => typed(SESSION_ENDED, "session_ended"),
            Self::Unreturnable(text) => typed(text, "server_error"),
            Self::TimedOut => typed("The call took too long. It may or may not have run.", "timeout"),
            Self::Refused(_) => typed(self.refusal_text(), "server_error"),
            _ => typed(GENERAL, "server_error"),
        }
    }

    fn refusal_text(&self) -> &'static str {
        match self.status(CallKind::Call) {
            401 => "You have to log in.",
            403 => "That is not allowed.",
            419 => "The page has expired. Reload it, please.",
            429 => "Too many requests. Wait a moment, please.",
            503 => "The application is down for maintenance.",
            _ => GENERAL,
        }
    }
}

fn typed(error: impl AsRef<str>, kind: &str) -> Value {
    json!({"s": false, "error": error.as_ref(), "type": kind})
}

/// Some AJAX responses have a form of their own, without `s` and `type`.
fn untyped(error: &str) -> Value {
    json!({"success": false, "error": error})
}
