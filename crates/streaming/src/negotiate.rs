//! What an HTTP request asks its connection to become. Pure.

use http::header::{
    CONNECTION, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL, SEC_WEBSOCKET_VERSION, UPGRADE,
};
use http::{HeaderMap, HeaderName};
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use crate::{exec_spdy, exec_websocket, port_forward};

/// Versions of the protocol on SPDY streams that a client takes, and the one chosen.
pub(crate) const SPDY_PROTOCOL: HeaderName = HeaderName::from_static("x-stream-protocol-version");
/// Those that the server takes, where none fits.
pub(crate) const SPDY_ACCEPTED: HeaderName =
    HeaderName::from_static("x-accepted-stream-protocol-versions");
/// The name of SPDY in `Upgrade`.
pub(crate) const SPDY: &str = "SPDY/3.1";

/// Which kind of URL was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Exec or attach.
    RemoteCommand,
    /// Port-forward.
    PortForward,
}

/// What is spoken after the upgrade.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Protocol {
    ExecSpdy(exec_spdy::Version),
    ExecWebSocket(exec_websocket::Protocol),
    ForwardSpdy,
    ForwardWebSocket(port_forward::Protocol),
}

/// An upgrade that both sides can do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Agreement {
    pub(crate) protocol: Protocol,
    /// Its name; `None` where the client named none.
    pub(crate) name: Option<&'static str>,
    /// `Sec-WebSocket-Accept`, for a WebSocket.
    pub(crate) accept: Option<String>,
}

/// Why there is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NoAgreement {
    /// It is a plain request.
    #[error("this URL is for a client that upgrades the connection to {SPDY} or websocket")]
    NoUpgrade,
    /// A WebSocket request that is not as RFC 6455 has it.
    #[error("not a WebSocket handshake: {0}")]
    Handshake(&'static str),
    /// The client offers only what is not spoken here.
    #[error("none of the protocols offered is spoken here; these are: {}", known.join(", "))]
    Protocol {
        known: Vec<&'static str>,
        spdy: bool,
    },
}

/// What the request's headers ask for.
///
/// # Errors
/// [`NoAgreement`].
pub(crate) fn negotiate(kind: Kind, headers: &HeaderMap) -> Result<Agreement, NoAgreement> {
    if !tokens(headers, &CONNECTION).any(|token| token.eq_ignore_ascii_case("upgrade")) {
        return Err(NoAgreement::NoUpgrade);
    }
    let asks = |name: &str| tokens(headers, &UPGRADE).any(|it| it.eq_ignore_ascii_case(name));
    if asks(SPDY) {
        let (protocol, name) = spdy(kind, headers)?;
        return Ok(Agreement {
            protocol,
            name,
            accept: None,
        });
    }
    if asks("websocket") {
        let accept = accept(headers)?;
        let (protocol, name) = websocket(kind, headers)?;
        return Ok(Agreement {
            protocol,
            name,
            accept: Some(accept),
        });
    }
    Err(NoAgreement::NoUpgrade)
}

type Chosen = (Protocol, Option<&'static str>);

fn spdy(kind: Kind, headers: &HeaderMap) -> Result<Chosen, NoAgreement> {
    match kind {
        Kind::RemoteCommand => {
            let known = &exec_spdy::Version::ALL;
            let unnamed = exec_spdy::Version::V1;
            let (version, name) = choose(headers, &SPDY_PROTOCOL, known, unnamed)?;
            Ok((Protocol::ExecSpdy(version), name))
        }
        Kind::PortForward => {
            let known = &[(port_forward::SPDY_PROTOCOL, ())];
            let ((), name) = choose(headers, &SPDY_PROTOCOL, known, ())?;
            Ok((Protocol::ForwardSpdy, name))
        }
    }
}

fn websocket(kind: Kind, headers: &HeaderMap) -> Result<Chosen, NoAgreement> {
    match kind {
        Kind::RemoteCommand => {
            let known = &exec_websocket::Protocol::ALL;
            let unnamed = exec_websocket::Protocol::UNNAMED;
            let (protocol, name) = choose(headers, &SEC_WEBSOCKET_PROTOCOL, known, unnamed)?;
            Ok((Protocol::ExecWebSocket(protocol), name))
        }
        Kind::PortForward => {
            let known = &port_forward::Protocol::ALL;
            let unnamed = port_forward::Protocol::UNNAMED;
            let (protocol, name) = choose(headers, &SEC_WEBSOCKET_PROTOCOL, known, unnamed)?;
            Ok((Protocol::ForwardWebSocket(protocol), name))
        }
    }
}

/// The first that the client names and the server knows.
fn choose<T: Copy>(
    headers: &HeaderMap,
    header: &HeaderName,
    known: &[(&'static str, T)],
    unnamed: T,
) -> Result<(T, Option<&'static str>), NoAgreement> {
    let mut offered = tokens(headers, header).peekable();
    if offered.peek().is_none() {
        return Ok((unnamed, None));
    }
    offered
        .find_map(|offer| known.iter().find(|(name, _)| *name == offer))
        .map(|(name, chosen)| (*chosen, Some(*name)))
        .ok_or_else(|| NoAgreement::Protocol {
            known: known.iter().map(|(name, _)| *name).collect(),
            spdy: *header == SPDY_PROTOCOL,
        })
}

/// What proves to the client that this is a WebSocket server (RFC 6455, section 4.2.2).
fn accept(headers: &HeaderMap) -> Result<String, NoAgreement> {
    if headers
        .get(SEC_WEBSOCKET_VERSION)
        .is_none_or(|it| it != "13")
    {
        return Err(NoAgreement::Handshake("Sec-WebSocket-Version is not 13"));
    }
    match headers.get(SEC_WEBSOCKET_KEY) {
        Some(key) if key.len() == 24 => Ok(derive_accept_key(key.as_bytes())),
        _ => Err(NoAgreement::Handshake("no Sec-WebSocket-Key of 16 bytes")),
    }
}

/// The entries of a header that is a list, over all its lines.
fn tokens<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'a str> {
    headers
        .get_all(name)
        .into_iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(str::trim)
        .filter(|token| !token.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    const WEBSOCKET: &[(&str, &str)] = &[
        ("connection", "keep-alive, Upgrade"),
        ("upgrade", "WebSocket"),
        ("sec-websocket-version", "13"),
        ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ];
    const SPDY_HEADERS: &[(&str, &str)] = &[("connection", "Upgrade"), ("upgrade", "SPDY/3.1")];

    fn ask(
        kind: Kind,
        base: &[(&str, &str)],
        more: &[(&str, &str)],
    ) -> Result<Agreement, NoAgreement> {
        let mut headers = HeaderMap::new();
        for (name, value) in base.iter().chain(more) {
            let name = name.parse::<HeaderName>().unwrap();
            headers.append(name, value.parse().unwrap());
        }
        negotiate(kind, &headers)
    }

    #[test]
    fn the_protocol_is_the_first_of_the_clients_that_is_known() {
        let spdy = "x-stream-protocol-version";
        let websocket = "sec-websocket-protocol";
        for (kind, base, more, expected) in [
            (
                Kind::RemoteCommand,
                SPDY_HEADERS,
                &[
                    (spdy, "v5.channel.k8s.io"),
                    (spdy, "v4.channel.k8s.io"),
                    (spdy, "v3.channel.k8s.io"),
                ][..],
                Some("v4.channel.k8s.io"),
            ),
            (
                Kind::RemoteCommand,
                SPDY_HEADERS,
                &[(spdy, "v9, channel.k8s.io")],
                Some("channel.k8s.io"),
            ),
            (Kind::RemoteCommand, SPDY_HEADERS, &[], None),
            (
                Kind::PortForward,
                SPDY_HEADERS,
                &[(spdy, "portforward.k8s.io")],
                Some("portforward.k8s.io"),
            ),
            (
                Kind::RemoteCommand,
                WEBSOCKET,
                &[(websocket, "v5.channel.k8s.io")],
                Some("v5.channel.k8s.io"),
            ),
            (
                Kind::RemoteCommand,
                WEBSOCKET,
                &[(websocket, "base64.channel.k8s.io, v4.channel.k8s.io")],
                Some("base64.channel.k8s.io"),
            ),
            (
                Kind::PortForward,
                WEBSOCKET,
                &[(websocket, "SPDY/3.1+portforward.k8s.io")],
                Some("SPDY/3.1+portforward.k8s.io"),
            ),
        ] {
            let agreement = ask(kind, base, more).unwrap();
            assert_eq!(agreement.name, expected);
            let accept = agreement.accept.as_deref();
            let example = (base == WEBSOCKET).then_some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
            assert_eq!(accept, example);
        }
    }

    #[test]
    fn what_cannot_be_agreed_on() {
        let no_version = WEBSOCKET.split_at(2).0;
        for (base, more, expected) in [
            (&[][..], &[][..], "this URL is for a client"),
            (&[("upgrade", "SPDY/3.1")], &[], "this URL is for a client"),
            (
                &[("connection", "upgrade"), ("upgrade", "h2c")],
                &[],
                "this URL is for a client",
            ),
            (
                no_version,
                &[],
                "not a WebSocket handshake: Sec-WebSocket-Version",
            ),
            (
                no_version,
                &[
                    ("sec-websocket-version", "13"),
                    ("sec-websocket-key", "short"),
                ],
                "not a WebSocket handshake: no Sec-WebSocket-Key",
            ),
            (
                WEBSOCKET,
                &[("sec-websocket-protocol", "chat")],
                "none of the protocols",
            ),
            (
                SPDY_HEADERS,
                &[("x-stream-protocol-version", "v9")],
                "none of the protocols",
            ),
        ] {
            let error = ask(Kind::RemoteCommand, base, more).unwrap_err();
            assert!(error.to_string().starts_with(expected), "{error}");
        }
    }
}
