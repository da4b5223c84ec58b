//! How a call can fail, in the words that reach the client.

use serde_json::{Map, Value, json};

use diffyne_shared::rpc::Outcome;

/// Why a call did not succeed.
#[derive(Debug, Clone, PartialEq)]
pub enum Failure {
    /// The message is not of the shape of a call.
    Invalid(String),
    /// The component's validation: texts by field.
    Validation(Map<String, Value>),
    /// Unknown or not invokable, or a parameter of the wrong type.
    Method(String),
    /// Unknown or not writable, or a value of the wrong type.
    Property(String),
    /// The signature does not fit.
    Security,
    /// No such class.
    UnknownComponent(String),
    /// The component's own error; clients see the words only in debug mode.
    Exception(String),
}

impl Failure {
    /// An error of the component's own.
    pub fn exception(error: impl std::fmt::Display) -> Self {
        Self::Exception(error.to_string())
    }

    /// How the relay and the metrics call it.
    pub fn outcome(&self) -> Outcome {
        match self {
            Self::Invalid(_) | Self::Validation(_) => Outcome::ValidationError,
            Self::Method(_) => Outcome::MethodError,
            Self::Property(_) => Outcome::PropertyError,
            Self::Security => Outcome::SecurityError,
            Self::UnknownComponent(_) => Outcome::UnknownComponent,
            Self::Exception(_) => Outcome::ServerError,
        }
    }

    /// The status of the HTTP twin.
    pub fn status(&self) -> u16 {
        match self {
            Self::Validation(_) => 422,
            Self::Invalid(_) | Self::Method(_) | Self::Property(_) => 400,
            Self::Security => 403,
            Self::UnknownComponent(_) => 404,
            Self::Exception(_) => 500,
        }
    }

    /// The client's answer.
    pub fn json(&self, debug: bool) -> Value {
        let (error, kind) = match self {
            Self::Validation(errors) => {
                return json!({"s": false, "error": "Validation failed", "type": "validation_error", "errors": errors});
            }
            Self::Invalid(text) => (text.clone(), "validation_error"),
            Self::Method(text) => (text.clone(), "method_error"),
            Self::Property(text) => (text.clone(), "property_error"),
            Self::Security => {
                ("Invalid state signature. State may have been tampered with.".to_owned(), "security_error")
            }
            Self::UnknownComponent(class) => (format!("Component class [{class}] does not exist."), "exception"),
            Self::Exception(text) if debug => (text.clone(), "exception"),
            Self::Exception(_) => ("An error occurred while processing your request.".to_owned(), "server_error"),
        };
        json!({"s": false, "error": error, "type": kind})
    }
}
