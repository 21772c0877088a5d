//! Connections of the HTTP API and of the control socket: so many at once, and none that only
//! waits for ever. What they take of descriptors must leave enough for the agent itself.

use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use rustix::process::{Resource, getrlimit};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::Semaphore;

use super::Listener;

/// Most connections at once, where descriptors allow it; those beyond wait to be accepted.
const MOST: u64 = 512;
/// A client that has not sent the whole head of its request by then is let go, and so is one that
/// keeps its connection and asks for nothing more.
const HEAD: Duration = Duration::from_secs(30);
/// Requests that a gRPC client may have under way on one connection.
const STREAMS: u32 = 64;
/// Bytes that are held for a gRPC client beyond its subscription's queue.
const BUFFER: usize = 64 << 10;
/// How long nothing is accepted after the kernel refused.
const PAUSE: Duration = Duration::from_millis(500);

/// A quarter of the descriptors, so that runners can be started and files be read whatever
/// clients do.
fn most() -> usize {
    let limit = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    usize::try_from((limit / 4).clamp(4, MOST)).unwrap_or(4)
}

/// What is spoken.
#[derive(Clone, Copy)]
pub(crate) enum Protocol {
    /// HTTP/1.1.
    Http,
    /// gRPC: HTTP/2 without TLS, from the first byte.
    Grpc,
}

/// Serves until `ended` resolves; requests that are under way are answered first.
pub(crate) async fn serve(
    listener: Listener,
    protocol: Protocol,
    router: Router,
    ended: impl Future<Output = ()> + Send + 'static,
) {
    match listener {
        Listener::Tcp(listener) => accept(listener, protocol, router, ended).await,
        Listener::Unix(listener, _removed_at_the_end) => {
            accept(listener, protocol, router, ended).await;
        }
    }
}

/// Where connections come from.
trait Accept {
    type Connection: AsyncRead + AsyncWrite + Unpin + Send + 'static;
    async fn accept(&self) -> io::Result<Self::Connection>;
}

impl Accept for TcpListener {
    type Connection = tokio::net::TcpStream;
    async fn accept(&self) -> io::Result<Self::Connection> {
        self.accept().await.map(|(connection, _)| connection)
    }
}

impl Accept for UnixListener {
    type Connection = tokio::net::UnixStream;
    async fn accept(&self) -> io::Result<Self::Connection> {
        self.accept().await.map(|(connection, _)| connection)
    }
}

async fn accept(
    listener: impl Accept,
    protocol: Protocol,
    router: Router,
    ended: impl Future<Output = ()>,
) {
    let room = Arc::new(Semaphore::new(most()));
    let under_way = GracefulShutdown::new();
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(HEAD);
    let mut grpc = http2::Builder::new(TokioExecutor::new());
    // A client that is gone without a word is found out, and one asks so much at once.
    grpc.timer(TokioTimer::new()).keep_alive_interval(HEAD).max_concurrent_streams(STREAMS);
    // What a slow client does not take waits in its queue on the bus, where it is counted.
    grpc.max_send_buf_size(BUFFER);
    let mut ended = pin!(ended);
    loop {
        let next = async {
            // The semaphore is never closed.
            let place = room.clone().acquire_owned().await;
            (place, listener.accept().await)
        };
        let (place, connection) = tokio::select! {
            next = next => next,
            () = &mut ended => break,
        };
        let connection = match connection {
            Ok(connection) => connection,
            // The client went away again.
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => continue,
            Err(error) => {
                tracing::warn!("can't accept a connection: {error}");
                tokio::time::sleep(PAUSE).await;
                continue;
            }
        };
        let service = TowerToHyperService::new(router.clone());
        let connection = TokioIo::new(connection);
        match protocol {
            Protocol::Http => {
                let served = under_way.watch(http.serve_connection(connection, service));
                tokio::spawn(async move { drop((served.await, place)) });
            }
            Protocol::Grpc => {
                let served = under_way.watch(grpc.serve_connection(connection, service));
                tokio::spawn(async move { drop((served.await, place)) });
            }
        }
    }
    drop(listener);
    under_way.shutdown().await;
}
