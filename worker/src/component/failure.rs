//! How a call can fail, and in which words clients hear of it: the socket's, or those of the HTTP twin.

use std::sync::atomic::{AtomicBool, Ordering};

use diffyne_shared::rpc::{Outcome, Transport};
use diffyne_shared::telemetry;
use serde_json::{Map, Value, json};

/// Why a call did not succeed. Any error becomes an [`Failure::Exception`] by `?`.
#[derive(Debug, Clone, PartialEq)]
pub enum Failure {
    /// The message is not of the shape of a call.
    Invalid(String),
    /// The component's validation: texts by field.
    Validation(Map<String, Value>),
    /// No such method, or none that clients may call.
    UnknownMethod(String),
    /// A parameter is missing or of the wrong type.
    Method(String),
    /// No such property.
    UnknownProperty(String),
    /// Not writable, or a value of the wrong type.
    Property(String),
    /// The signature does not fit.
    Security,
    /// The values of locked properties are covered by no signature.
    Unsigned,
    /// No such class.
    UnknownComponent(String),
    /// A class that pages may not ask for by themselves.
    NotLazy(String),
    /// The application's framework answered instead of the component, with this status.
    Refused(u16),
    /// It was ended, as nobody waits for it any more.
    Late,
    /// The component's own error; clients see the words only in debug mode.
    Exception(String),
}

impl<E: std::error::Error> From<E> for Failure {
    fn from(error: E) -> Self {
        Self::exception(error)
    }
}

const UNSIGNED: &str = "No signature covers the locked properties of this component. Reload the page.";
const GENERAL: &str = "An error occurred while processing your request.";

impl Failure {
    /// An error of the component's own.
    pub fn exception(error: impl std::fmt::Display) -> Self {
        Self::Exception(error.to_string())
    }

    /// How the relay and the metrics call it.
    pub fn outcome(&self) -> Outcome {
        match self {
            Self::Invalid(_) | Self::Validation(_) | Self::NotLazy(_) => Outcome::ValidationError,
            Self::UnknownMethod(_) | Self::Method(_) => Outcome::MethodError,
            Self::UnknownProperty(_) | Self::Property(_) => Outcome::PropertyError,
            Self::Security | Self::Unsigned => Outcome::SecurityError,
            Self::UnknownComponent(_) => Outcome::UnknownComponent,
            Self::Late | Self::Refused(_) | Self::Exception(_) => Outcome::ServerError,
        }
    }

    /// The status of the HTTP twin.
    pub fn status(&self) -> u16 {
        match self {
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
            Self::Late => 504,
            // A redirect, to a login for example.
            Self::Refused(300..400) => 401,
            Self::Refused(_) | Self::Exception(_) => 500,
        }
    }

    /// Tells the operator, once, why calls of components with locked properties may be refused.
    pub(crate) fn warn_of_unsigned(&self, class: &str) {
        static TOLD: AtomicBool = AtomicBool::new(false);
        if *self == Self::Unsigned && !TOLD.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                component = class,
                "a call was refused because no signature covers the component's locked properties: forged, or from a page that \
                 the package rendered without our scripts and without the bridge; DIFFYNE_LOCKED=upstream lets both pass. This is \
                 logged once"
            );
        }
    }

    /// The client's answer; `place` is told in debug mode only.
    pub fn json(&self, transport: Transport, debug: bool, place: &str) -> Value {
        let typed = |error: String, kind: &str| json!({"s": false, "error": error, "type": kind});
        // The twin answers some failures in a shape of their own, without `s` and `type`.
        let plain = |error: &str, kind: &str| match transport {
            Transport::Ws => typed(error.to_owned(), kind),
            Transport::Ajax => json!({"success": false, "error": error}),
        };
        let by_transport = |socket: String, twin: String| match transport {
            Transport::Ws => socket,
            Transport::Ajax => twin,
        };
        match self {
            Self::Validation(errors) => {
                json!({"s": false, "error": "Validation failed", "type": "validation_error", "errors": errors})
            }
            Self::Invalid(text) => plain(text, "validation_error"),
            Self::UnknownMethod(name) => {
                let name = telemetry::name(name);
                let socket = format!("Method {name} does not exist");
                typed(by_transport(socket, format!("Method [{name}] does not exist on component.")), "method_error")
            }
            Self::Method(text) => typed(text.clone(), "method_error"),
            Self::UnknownProperty(name) => {
                let name = telemetry::name(name);
                let socket = format!("Property {name} does not exist");
                typed(by_transport(socket, format!("Property [{name}] does not exist on component.")), "property_error")
            }
            Self::Property(text) => typed(text.clone(), "property_error"),
            Self::Security => plain("Invalid state signature. State may have been tampered with.", "security_error"),
            Self::Unsigned => plain(UNSIGNED, "security_error"),
            Self::UnknownComponent(class) => match transport {
                Transport::Ws => {
                    typed(format!("Component class [{}] does not exist.", telemetry::name(class)), "exception")
                }
                Transport::Ajax => json!({"success": false, "error": "Component class not found"}),
            },
            Self::NotLazy(_) => plain("Invalid component class", "validation_error"),
            Self::Late => typed("The call took too long. It may or may not have run.".to_owned(), "timeout"),
            Self::Refused(_) => {
                let text = match self.status() {
                    401 => "You have to log in.",
                    403 => "That is not allowed.",
                    419 => "The page has expired. Reload it, please.",
                    429 => "Too many requests. Wait a moment, please.",
                    503 => "The application is down for maintenance.",
                    _ => GENERAL,
                };
                typed(text.to_owned(), "server_error")
            }
            Self::Exception(text) if debug => match transport {
                Transport::Ws => {
                    json!({"s": false, "error": text, "type": "exception", "details": {"exception": place}})
                }
                Transport::Ajax => {
                    json!({"s": false, "error": GENERAL, "type": "server_error", "exception": text, "place": place})
                }
            },
            Self::Exception(_) => typed(GENERAL.to_owned(), "server_error"),
        }
    }

    /// The answer to a lazy mount, which has a shape of its own over HTTP.
    pub fn mount_json(&self, transport: Transport, debug: bool, place: &str) -> Value {
        match (transport, self) {
            (Transport::Ajax, Self::Exception(text)) => {
                let why = if debug { format!("Failed to load component: {text}") } else { GENERAL.to_owned() };
                json!({"success": false, "error": why})
            }
            (Transport::Ajax, _) => {
                let socket = self.json(Transport::Ws, debug, place);
                json!({"success": false, "error": socket["error"]})
            }
            (Transport::Ws, _) => self.json(transport, debug, place),
        }
    }
}
