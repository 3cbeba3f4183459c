//! The only place where an error becomes a gRPC status.

use std::error::Error;

use pinpod_model::{Classify, ErrorClass};
use tonic::{Code, Response, Status};

/// The longest message of a status, in bytes: a client of HTTP/2 may take 16 KiB of headers, and each
/// byte may become three on its way.
const MAX_MESSAGE: usize = 4 << 10;

/// Why a request is not answered: any classified error, with its causes as text.
#[derive(Debug)]
pub(crate) struct Refusal {
    class: ErrorClass,
    message: String,
}

impl<E: Classify> From<E> for Refusal {
    fn from(error: E) -> Self {
        Self {
            class: error.class(),
            message: with_causes(&error),
        }
    }
}

impl Refusal {
    /// For a failure of the node itself, where no engine error says it.
    pub(crate) fn internal(what: &str, error: &dyn Error) -> Self {
        let message = format!("{what}: {}", with_causes(error));
        Self {
            class: ErrorClass::Internal,
            message,
        }
    }
}

/// The end of every RPC: the answer, or the status.
pub(crate) fn answer<T>(
    rpc: &'static str,
    result: Result<T, Refusal>,
) -> Result<Response<T>, Status> {
    result.map(Response::new).map_err(|why| refuse(rpc, why))
}

/// The status of an RPC that fails, or of a stream that ends early. It is logged here and nowhere
/// else.
pub(crate) fn refuse(rpc: &'static str, Refusal { class, message }: Refusal) -> Status {
    let message = shortened(message);
    match class {
        // The kubelet asks for what is gone all the time.
        ErrorClass::NotFound | ErrorClass::Unimplemented => {
            tracing::debug!(rpc, ?class, "{message}");
        }
        _ => tracing::warn!(rpc, ?class, "{message}"),
    }
    Status::new(code(class), message)
}

fn code(class: ErrorClass) -> Code {
    match class {
        ErrorClass::InvalidArgument => Code::InvalidArgument,
        ErrorClass::NotFound => Code::NotFound,
        ErrorClass::AlreadyExists => Code::AlreadyExists,
        ErrorClass::FailedPrecondition => Code::FailedPrecondition,
        ErrorClass::ResourceExhausted => Code::ResourceExhausted,
        ErrorClass::Unavailable => Code::Unavailable,
        ErrorClass::PermissionDenied => Code::PermissionDenied,
        ErrorClass::Unauthenticated => Code::Unauthenticated,
        ErrorClass::DeadlineExceeded => Code::DeadlineExceeded,
        ErrorClass::Cancelled => Code::Cancelled,
        ErrorClass::Unimplemented => Code::Unimplemented,
        ErrorClass::Internal => Code::Internal,
    }
}

/// The beginning of a message that is too long for a header, in which statuses travel: clients close
/// a connection, with all its calls, on which a header is longer than they take.
fn shortened(mut message: String) -> String {
    if message.len() > MAX_MESSAGE {
        let whole = message.len();
        message.truncate(message.floor_char_boundary(MAX_MESSAGE));
        message.push_str(&format!("… ({whole} bytes)"));
    }
    message
}

/// `what: why: why that`. A cause that its error already tells (as the `Arc` of a shared job and
/// transparent variants do) is not told twice.
fn with_causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut last = text.clone();
    let mut cause = error.source();
    while let Some(error) = cause {
        let next = error.to_string();
        if next != last {
            text.push_str(": ");
            text.push_str(&next);
        }
        last = next;
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("cannot pin namespaces of pod p")]
    struct Outer(#[source] Middle);

    #[derive(Debug, thiserror::Error)]
    #[error(transparent)]
    struct Middle(#[from] std::io::Error);

    impl Classify for Outer {
        fn class(&self) -> ErrorClass {
            ErrorClass::ResourceExhausted
        }
    }

    #[test]
    fn the_message_has_every_cause_once() {
        let error = || Outer(Middle(std::io::Error::other("no space")));
        let status = answer::<()>("RunPodSandbox", Err(error().into())).unwrap_err();
        assert_eq!(status.code(), Code::ResourceExhausted);
        assert_eq!(status.message(), "cannot pin namespaces of pod p: no space");
        let shared = answer::<()>("RunPodSandbox", Err(Arc::new(error()).into())).unwrap_err();
        assert_eq!(shared.message(), status.message());
    }

    #[test]
    fn a_message_fits_a_header() {
        let error = || std::io::Error::other("é".repeat(1 << 20));
        let refusal = Refusal::internal("what", &error());
        let status = refuse("RunPodSandbox", refusal);
        assert!(status.message().len() < MAX_MESSAGE + 30);
        assert!(status.message().starts_with("what: éé"));
        assert!(status.message().ends_with("é… (2097158 bytes)"));
    }

    #[test]
    fn every_class_has_the_code_of_its_name() {
        use ErrorClass as Class;
        for class in [
            Class::InvalidArgument,
            Class::NotFound,
            Class::AlreadyExists,
            Class::FailedPrecondition,
            Class::ResourceExhausted,
            Class::Unavailable,
            Class::PermissionDenied,
            Class::Unauthenticated,
            Class::DeadlineExceeded,
            Class::Cancelled,
            Class::Unimplemented,
            Class::Internal,
        ] {
            assert_eq!(format!("{:?}", code(class)), format!("{class:?}"));
        }
    }
}
