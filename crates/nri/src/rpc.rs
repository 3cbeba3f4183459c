//! What a ttrpc message holds: requests and responses of calls.

use bytes::Bytes;

/// Begins a call.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Request {
    /// Full name of the service.
    #[prost(string, tag = "1")]
    pub(crate) service: String,
    /// Name of the method.
    #[prost(string, tag = "2")]
    pub(crate) method: String,
    /// The encoded request.
    #[prost(bytes = "bytes", tag = "3")]
    pub(crate) payload: Bytes,
    /// How long the caller will wait, in nanoseconds; 0 for ever.
    #[prost(int64, tag = "4")]
    pub(crate) timeout_nano: i64,
}

/// Ends a call.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Response {
    /// How it went; nothing for well.
    #[prost(message, optional, tag = "1")]
    pub(crate) status: Option<Status>,
    /// The encoded response.
    #[prost(bytes = "bytes", tag = "2")]
    pub(crate) payload: Bytes,
}

/// How a call went, in the numbers of `google.rpc.Code`.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Status {
    /// 0 is success.
    #[prost(int32, tag = "1")]
    pub(crate) code: i32,
    /// For people.
    #[prost(string, tag = "2")]
    pub(crate) message: String,
}

/// Something else went wrong.
pub(crate) const UNKNOWN: i32 = 2;
/// The request makes no sense.
pub(crate) const INVALID_ARGUMENT: i32 = 3;
/// Too many requests at once.
pub(crate) const RESOURCE_EXHAUSTED: i32 = 8;
/// The other side does not have the method.
pub(crate) const UNIMPLEMENTED: i32 = 12;
