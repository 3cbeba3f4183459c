//! HTTP requests: from the URL to an upgraded connection, or to the reason why not.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::header::{
    ALLOW, CONNECTION, CONTENT_TYPE, HeaderValue, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_PROTOCOL,
    UPGRADE,
};
use http::{Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::sync::OwnedSemaphorePermit;

use crate::activity::{Activity, Watched};
use crate::negotiate::{
    Agreement, Kind, NoAgreement, Protocol, SPDY, SPDY_ACCEPTED, SPDY_PROTOCOL, negotiate,
};
use crate::request::{PortForward, RemoteCommand, Ticket};
use crate::server::Shared;
use crate::websocket::channel_frame::Encoding;
use crate::{chain, exec_spdy, exec_websocket, port_forward, spdy, websocket};

type Answer = Response<Full<Bytes>>;

/// Bytes on their way between a tunnel and the SPDY connection inside of it.
const TUNNEL_BUFFER: usize = 64 << 10;
/// How long connections live on when the server ends.
const FAREWELL: Duration = Duration::from_secs(1);

/// Answers one request; an upgraded connection is served by a task of its own.
pub(crate) async fn answer(
    shared: Arc<Shared>,
    socket: Arc<TcpStream>,
    mut request: Request<Incoming>,
) -> Result<Answer, Infallible> {
    let prepared = prepare(&shared, &request);
    let answer = match prepared {
        Ok((agreement, session)) => {
            let upgrade = hyper::upgrade::on(&mut request);
            let tasks = shared.tasks.clone();
            tasks.spawn(async move {
                tokio::select! {
                    () = serve(&shared, session, upgrade, socket) => {}
                    () = ended(&shared) => {}
                }
            });
            switching(&agreement)
        }
        Err(refusal) => {
            tracing::debug!(path = request.uri().path().get(..12), %refusal, "refused");
            refusal.answer()
        }
    };
    Ok(answer)
}

/// Returns when the server ends, after the time that clients of exec and attach need to hear of it.
async fn ended(shared: &Shared) {
    shared.ending.cancelled().await;
    tokio::time::sleep(FAREWELL).await;
}

/// Why a request is not served.
#[derive(Debug, thiserror::Error)]
enum Refusal {
    #[error("no such URL, or it was used, or its minute is over")]
    NotFound,
    #[error("only GET and POST")]
    Method,
    #[error(transparent)]
    NoAgreement(#[from] NoAgreement),
    #[error("too many streaming connections")]
    TooMany,
    #[error("a WebSocket client's ports are given with the request for the URL: {0}")]
    Ports(&'static str),
}

impl Refusal {
    fn answer(&self) -> Answer {
        let status = match self {
            Self::NotFound => StatusCode::NOT_FOUND,
            Self::Method => StatusCode::METHOD_NOT_ALLOWED,
            Self::NoAgreement(NoAgreement::NoUpgrade) => StatusCode::UPGRADE_REQUIRED,
            Self::NoAgreement(NoAgreement::Handshake(_)) | Self::Ports(_) => {
                StatusCode::BAD_REQUEST
            }
            Self::NoAgreement(NoAgreement::Protocol { .. }) => StatusCode::FORBIDDEN,
            Self::TooMany => StatusCode::SERVICE_UNAVAILABLE,
        };
        let mut answer = Response::new(Full::from(format!("{self}\n")));
        *answer.status_mut() = status;
        let headers = answer.headers_mut();
        let text = HeaderValue::from_static("text/plain; charset=utf-8");
        headers.insert(CONTENT_TYPE, text);
        headers.insert(CONNECTION, HeaderValue::from_static("close"));
        match self {
            Self::Method => {
                headers.insert(ALLOW, HeaderValue::from_static("GET, POST"));
            }
            Self::NoAgreement(NoAgreement::NoUpgrade) => {
                headers.insert(UPGRADE, HeaderValue::from_static("SPDY/3.1, websocket"));
            }
            Self::NoAgreement(NoAgreement::Protocol { known, spdy: true }) => {
                for name in known {
                    headers.append(SPDY_ACCEPTED, HeaderValue::from_static(name));
                }
            }
            Self::NotFound | Self::NoAgreement(_) | Self::TooMany | Self::Ports(_) => {}
        }
        answer
    }
}

/// What an upgraded connection is for.
struct Session {
    work: Work,
    /// Counts it among the open ones.
    _permit: OwnedSemaphorePermit,
}

enum Work {
    ExecSpdy(RemoteCommand, exec_spdy::Version),
    ExecWebSocket(RemoteCommand, exec_websocket::Protocol),
    ForwardSpdy(PortForward),
    ForwardTunnel(PortForward),
    ForwardWebSocket(PortForward, Encoding),
}

/// Everything that can be refused; the token is taken last, so that a wrong request leaves it.
fn prepare<B>(shared: &Shared, request: &Request<B>) -> Result<(Agreement, Session), Refusal> {
    let path = split_path(request.uri().path());
    let (kind, word, token) = path.ok_or(Refusal::NotFound)?;
    if ![Method::GET, Method::POST].contains(request.method()) {
        return Err(Refusal::Method);
    }
    let agreement = negotiate(kind, request.headers())?;
    let permit = shared.sessions.clone().try_acquire_owned();
    let permit = permit.map_err(|_| Refusal::TooMany)?;
    let ticket = shared.tokens.redeem(token, Instant::now());
    let ticket = ticket.filter(|ticket| ticket.word() == word);
    let work = work(agreement.protocol, ticket.ok_or(Refusal::NotFound)?)?;
    let session = Session {
        work,
        _permit: permit,
    };
    Ok((agreement, session))
}

/// What a URL's path is for, its first word, and its token.
pub(crate) fn split_path(path: &str) -> Option<(Kind, &str, &str)> {
    let (word, token) = path.strip_prefix('/')?.split_once('/')?;
    let kind = match word {
        "exec" | "attach" => Kind::RemoteCommand,
        "portforward" => Kind::PortForward,
        _ => return None,
    };
    Some((kind, word, token))
}

fn work(protocol: Protocol, ticket: Ticket) -> Result<Work, Refusal> {
    Ok(match (ticket, protocol) {
        (Ticket::RemoteCommand(what), Protocol::ExecSpdy(version)) => Work::ExecSpdy(what, version),
        (Ticket::RemoteCommand(what), Protocol::ExecWebSocket(protocol)) => {
            Work::ExecWebSocket(what, protocol)
        }
        (Ticket::PortForward(what), Protocol::ForwardSpdy) => Work::ForwardSpdy(what),
        (Ticket::PortForward(what), Protocol::ForwardWebSocket(protocol)) => match protocol {
            port_forward::Protocol::Tunnel => Work::ForwardTunnel(what),
            port_forward::Protocol::Channels(_) if what.ports.is_empty() => {
                return Err(Refusal::Ports("there were none"));
            }
            port_forward::Protocol::Channels(Encoding::Base64) if what.ports.len() > 5 => {
                return Err(Refusal::Ports("base64 has channels for five"));
            }
            port_forward::Protocol::Channels(encoding) => Work::ForwardWebSocket(what, encoding),
        },
        _ => return Err(Refusal::NotFound),
    })
}

fn switching(agreement: &Agreement) -> Answer {
    let mut answer = Response::new(Full::default());
    *answer.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = answer.headers_mut();
    headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    let (upgrade, header) = match &agreement.accept {
        None => (SPDY, SPDY_PROTOCOL),
        Some(accept) => {
            // Base64 is a header's value always.
            if let Ok(accept) = HeaderValue::from_str(accept) {
                headers.insert(SEC_WEBSOCKET_ACCEPT, accept);
            }
            ("websocket", SEC_WEBSOCKET_PROTOCOL)
        }
    };
    headers.insert(UPGRADE, HeaderValue::from_static(upgrade));
    if let Some(name) = agreement.name {
        headers.insert(header, HeaderValue::from_static(name));
    }
    answer
}

async fn serve(shared: &Shared, session: Session, upgrade: OnUpgrade, socket: Arc<TcpStream>) {
    let upgraded = match upgrade.await {
        Ok(upgraded) => upgraded,
        Err(error) => {
            tracing::debug!(error = chain(&error), "a client left before it was served");
            return;
        }
    };
    let activity = Activity::new(socket);
    let io = Watched::new(TokioIo::new(upgraded), activity.clone());
    tokio::select! {
        result = run(shared, session.work, io) => {
            if let Err(text) = result {
                tracing::debug!(text, "a streaming connection ended badly");
            }
        }
        why = activity.useless(shared.config.idle_timeout) => {
            tracing::info!(?why, "a streaming connection is closed");
        }
    }
}

async fn run(
    shared: &Shared,
    work: Work,
    io: Watched<TokioIo<hyper::upgrade::Upgraded>>,
) -> Result<(), String> {
    let (engine, setup) = (&shared.engine, shared.config.setup_timeout);
    match work {
        Work::ExecSpdy(what, version) => {
            let app = |opened| exec_spdy::run(shared, &what, version, setup, opened);
            spdy::serve(io, app).await.map_err(|error| chain(&error))
        }
        Work::ExecWebSocket(what, protocol) => exec_websocket::run(shared, &what, protocol, io)
            .await
            .map_err(|error| chain(&error)),
        Work::ForwardSpdy(what) => {
            let app = |opened| port_forward::run_spdy(engine, &what, setup, opened);
            spdy::serve(io, app).await.map_err(|error| chain(&error))
        }
        Work::ForwardTunnel(what) => {
            let app = |opened| port_forward::run_spdy(engine, &what, setup, opened);
            let (outside, inside) = tokio::io::duplex(TUNNEL_BUFFER);
            let (tunnel, spdy) =
                tokio::join!(websocket::tunnel(io, outside), spdy::serve(inside, app));
            tunnel.map_err(|error| chain(&error))?;
            spdy.map_err(|error| chain(&error))
        }
        Work::ForwardWebSocket(what, encoding) => {
            port_forward::run_websocket(engine, &what, encoding, io)
                .await
                .map_err(|error| chain(&error))
        }
    }
}
