//! What the error stream of exec and attach says at the end: `metav1.Status` as JSON for protocol
//! version 4 and later, bare text before.

use bytes::Bytes;
use serde_json::json;

/// How a command ended, as its client hears it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// With exit code 0, or an attach that is over.
    Success,
    /// With another exit code.
    ExitCode(i32),
    /// It could not be run or watched to its end; the text says why.
    Failed(String),
}

/// The form in which the client expects it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum StatusForm {
    /// Nothing for success, else text.
    Text,
    /// `metav1.Status`.
    Json,
}

impl Outcome {
    /// The bytes for the error stream; may be none.
    pub(crate) fn encode(&self, form: StatusForm) -> Bytes {
        match form {
            StatusForm::Text => self.text().into(),
            StatusForm::Json => self.json().to_string().into(),
        }
    }

    fn text(&self) -> String {
        match self {
            Self::Success => String::new(),
            Self::ExitCode(code) => format!("command terminated with exit code {code}"),
            Self::Failed(text) => text.clone(),
        }
    }

    fn json(&self) -> serde_json::Value {
        match self {
            Self::Success => json!({"metadata": {}, "status": "Success"}),
            Self::ExitCode(code) => json!({
                "metadata": {},
                "status": "Failure",
                "message": self.text(),
                "reason": "NonZeroExitCode",
                "details": {"causes": [{"reason": "ExitCode", "message": code.to_string()}]},
            }),
            Self::Failed(text) => json!({
                "metadata": {},
                "status": "Failure",
                "message": format!("Internal error occurred: {text}"),
                "reason": "InternalError",
                "details": {"causes": [{"message": text}]},
                "code": 500,
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_clients_of_each_version_read() {
        let failed = Outcome::Failed("no such program".to_owned());
        for (outcome, text, json) in [
            (
                Outcome::Success,
                "",
                r#"{"metadata":{},"status":"Success"}"#,
            ),
            (
                Outcome::ExitCode(7),
                "command terminated with exit code 7",
                r#"{"details":{"causes":[{"message":"7","reason":"ExitCode"}]},"message":"command terminated with exit code 7","metadata":{},"reason":"NonZeroExitCode","status":"Failure"}"#,
            ),
            (
                failed,
                "no such program",
                r#"{"code":500,"details":{"causes":[{"message":"no such program"}]},"message":"Internal error occurred: no such program","metadata":{},"reason":"InternalError","status":"Failure"}"#,
            ),
        ] {
            assert_eq!(outcome.encode(StatusForm::Text), text);
            assert_eq!(outcome.encode(StatusForm::Json), json);
        }
    }
}
