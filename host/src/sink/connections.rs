//! Connections of the HTTP API and of the control socket: so many at once, and none that only
//! waits for ever. What they take of descriptors must leave enough for the agent itself.

use std::io;
use std::os::fd::AsFd;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::Request;
use hyper::body::Incoming;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use rustix::io::Errno;
use rustix::net::{RecvFlags, recv};
use rustix::process::{Resource, getrlimit};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_io_timeout::TimeoutStream;

use super::Listener;

/// Most connections at once, where descriptors allow it; those beyond wait to be accepted.
const MOST: u64 = 512;
/// A client that has not sent the whole head of its request by then is let go, and so is one that
/// keeps its connection and asks for nothing more.
const HEAD: Duration = Duration::from_secs(30);
/// A client that takes nothing of what is written to it for so long is let go: its answer, of
/// megabytes maybe, would wait for ever.
const STALLED: Duration = Duration::from_secs(60);
/// Requests that a gRPC client may have under way on one connection.
const STREAMS: u32 = 64;
/// Longest head of a request, bytes, and what is held for a client beyond its subscription's
/// queue and the piece of an answer that is being made.
const BUFFER: usize = 64 << 10;
/// How long nothing is accepted after the kernel refused.
const PAUSE: Duration = Duration::from_millis(500);

/// The place of a connection among those that there may be at once. Each request carries it: a
/// WebSocket keeps it, which goes on when HTTP has ended.
#[derive(Clone)]
pub(super) struct Place(
    #[expect(dead_code, reason = "held until it is dropped")] Arc<OwnedSemaphorePermit>,
);

/// A quarter of the descriptors, so that runners can be started and files be read whatever
/// clients do.
pub(super) fn most() -> usize {
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
    type Connection: AsyncRead + AsyncWrite + AsFd + Unpin + Send + Sync + 'static;
    async fn accept(&self) -> io::Result<Self::Connection>;
}

impl Accept for TcpListener {
    type Connection = tokio::net::TcpStream;
    async fn accept(&self) -> io::Result<Self::Connection> {
        let (connection, _) = self.accept().await?;
        // A frame does not wait for word of the one before; a client that has gone won't notice.
        let _ = connection.set_nodelay(true);
        Ok(connection)
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
    let most = most();
    let room = Arc::new(Semaphore::new(most));
    let under_way = GracefulShutdown::new();
    let http = builder(protocol);
    let mut ended = pin!(ended);
    loop {
        let next = async {
            // An error if it is closed, which it never is.
            let place = room.clone().acquire_owned().await;
            (place, listener.accept().await)
        };
        let (place, connection) = tokio::select! {
            next = next => next,
            () = &mut ended => break,
        };
        let Ok(place) = place.map(|place| Place(Arc::new(place))) else { break };
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
        let router = TowerToHyperService::new(router.clone());
        let service = service_fn(move |mut request: Request<Incoming>| {
            request.extensions_mut().insert(place.clone());
            router.call(request)
        });
        let (http, watcher) = (http.clone(), under_way.watcher());
        tokio::spawn(async move {
            if let Protocol::Grpc = protocol
                && !matches!(tokio::time::timeout(HEAD, greeted(&connection)).await, Ok(true))
            {
                return;
            }
            let mut connection = TimeoutStream::new(connection);
            connection.set_write_timeout(Some(STALLED));
            let connection = TokioIo::new(Box::pin(connection));
            let connection = http.serve_connection_with_upgrades(connection, service);
            drop(watcher.watch(connection.into_owned()).await); // its end is the client's affair
        });
    }
    drop(listener);
    under_way.shutdown().await;
    // WebSockets are not under way as HTTP; all places are free when the last one has ended.
    let _ = room.acquire_many(u32::try_from(most).unwrap_or(u32::MAX)).await;
}

/// Whether a client has begun as HTTP/2 does: 24 bytes (RFC 9113, section 3.4). The library waits
/// for them without end. They are looked at and left where they are.
async fn greeted(connection: &impl AsFd) -> bool {
    let mut preface = [0; 24];
    let mut pause = Duration::from_millis(1);
    loop {
        match recv(connection, &mut preface, RecvFlags::PEEK | RecvFlags::DONTWAIT) {
            Ok((24, _)) => return true,
            Ok((0, _)) => return false,
            Ok(_) | Err(Errno::AGAIN | Errno::INTR) => {}
            Err(_) => return false,
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(Duration::from_millis(100));
    }
}

fn builder(protocol: Protocol) -> auto::Builder<TokioExecutor> {
    let builder = auto::Builder::new(TokioExecutor::new());
    let mut builder = match protocol {
        Protocol::Http => builder.http1_only(),
        Protocol::Grpc => builder.http2_only(),
    };
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD)
        .max_buf_size(BUFFER)
        .http2()
        .timer(TokioTimer::new())
        // A client that is gone without a word is found out, and one asks so much at once.
        .keep_alive_interval(HEAD)
        .max_concurrent_streams(STREAMS)
        // What a slow client does not take waits in its queue on the bus, where it is counted.
        .max_send_buf_size(BUFFER);
    builder
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};

    use axum::routing::get;
    use tokio::sync::oneshot;

    use super::*;

    const LENGTH: usize = 32 << 20;

    /// What a client gets that reads after `pause` only. The clock stands but while all wait.
    fn taken_after(pause: Duration) -> usize {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .start_paused(true)
            .build()
            .unwrap();
        runtime.block_on(async {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap();
            let router = Router::new().route("/", get(|| async { vec![0_u8; LENGTH] }));
            let (end, ended) = oneshot::channel::<()>();
            let server = serve(Listener::Tcp(listener), Protocol::Http, router, async {
                let _ = ended.await;
            });
            let server = tokio::spawn(server);
            let mut client = std::net::TcpStream::connect(address).unwrap();
            client.write_all(b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").unwrap();
            tokio::time::sleep(pause).await;
            let reader = tokio::task::spawn_blocking(move || {
                let mut taken = Vec::new();
                let _ = client.read_to_end(&mut taken); // it may be reset
                taken.len()
            });
            let taken = reader.await.unwrap();
            drop(end);
            server.await.unwrap();
            taken
        })
    }

    #[test]
    fn a_client_that_takes_nothing_of_its_answer_is_let_go() {
        assert!(taken_after(STALLED / 2) > LENGTH);
        assert!(taken_after(STALLED * 2) < LENGTH);
    }
}
