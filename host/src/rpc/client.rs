//! A client of a running agent's control socket.
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use dropsonde::rpc::client::{Client, Event};
//! use dropsonde::rpc::proto::SubscribeRequest;
//!
//! let client = Client::connect("/run/dropsonde/control.sock").await?;
//! let topics = vec!["metrics.network.>".to_owned()];
//! let mut following = client.follow(SubscribeRequest { topics, ..Default::default() });
//! while let Some(event) = following.next().await? {
//!     match event {
//!         Event::Batch(batch) => println!("{}", batch.json()),
//!         Event::Lost(lost) => eprintln!("too slow: lost {lost:?}"),
//!         Event::Away { reason, retry_in } => eprintln!("{reason}; again in {retry_in:?}"),
//!         Event::Back => eprintln!("goes on"),
//!     }
//! }
//! # Ok(())
//! # }
//! ```

use std::error::Error;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use thiserror::Error;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Response, Status, Streaming};

use super::from_proto;
use super::proto::control_client::ControlClient;
use super::proto::subscribe_reply::Kind;
use super::proto::{LogLine, Losses, SubscribeReply, SubscribeRequest, TailLogRequest};
use crate::model::Batch;

/// Largest message that is taken: a snapshot of many processes.
const LARGEST: usize = 256 << 20;
/// Bytes of one answer that may be on their way.
const WINDOW: u32 = 64 << 10;
/// Pauses between attempts to connect again: the first, and the longest. Each is twice the one
/// before, and up to a quarter longer by chance.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// Why a client has no answer.
#[derive(Debug, Error)]
pub enum ClientError {
    /// Nobody listens at the socket.
    #[error(
        "no agent answers at {path}: {reason}; start one with `dropsonde run`, or name the socket of the one that runs with --control"
    )]
    NoAgent {
        /// The socket.
        path: PathBuf,
        /// Why not.
        reason: String,
    },
    /// The socket is another user's.
    #[error("{0} may not be opened by this user: the agent, or the directory, is another's")]
    NotAllowed(PathBuf),
    /// The agent refused the request; nothing was changed.
    #[error("{}", .0.message())]
    Refused(Box<Status>),
}

impl From<Status> for ClientError {
    fn from(status: Status) -> Self {
        Self::Refused(Box::new(status))
    }
}

/// A connection to an agent; cheap to clone. It is made anew when it breaks.
#[derive(Clone)]
pub struct Client {
    rpc: ControlClient<Channel>,
}

impl Client {
    /// Connects.
    pub async fn connect(path: impl AsRef<Path>) -> Result<Self, ClientError> {
        let path = path.as_ref();
        let no_agent = |reason: String| ClientError::NoAgent { path: path.to_owned(), reason };
        let endpoint = Endpoint::from_shared(format!("unix:{}", path.display()))
            .map_err(|error| no_agent(error.to_string()))?;
        // Little is on its way: what is not taken is to be lost by the agent's policy.
        let endpoint = endpoint.initial_stream_window_size(WINDOW);
        let channel = endpoint.connect().await.map_err(|error| match io_error(&error) {
            Some(io::ErrorKind::PermissionDenied) => ClientError::NotAllowed(path.to_owned()),
            Some(io::ErrorKind::NotFound) => no_agent("there is no socket".to_owned()),
            Some(io::ErrorKind::ConnectionRefused) => no_agent("nobody listens".to_owned()),
            _ => no_agent(innermost(&error)),
        })?;
        let rpc = ControlClient::new(channel).max_decoding_message_size(LARGEST);
        Ok(Self { rpc })
    }

    /// The generated client, for single requests.
    pub fn rpc(&self) -> ControlClient<Channel> {
        self.rpc.clone()
    }

    /// The last batch of a stream, or one no older than `max_age`.
    pub async fn get(&self, stream: &str, max_age: Option<Duration>) -> Result<Batch, ClientError> {
        let max_age = max_age.and_then(|age| age.try_into().ok());
        let request = super::proto::GetRequest { stream: stream.to_owned(), max_age };
        Ok(from_proto::batch(self.rpc().get(request).await?.into_inner()))
    }

    /// The last batch of each snapshot stream, each no older than `max_age` where that can be had.
    pub async fn snapshot(
        &self,
        max_age: Option<Duration>,
    ) -> Result<Vec<Arc<Batch>>, ClientError> {
        let max_age = max_age.and_then(|age| age.try_into().ok());
        let request = super::proto::SnapshotRequest { max_age };
        let reply = self.rpc().snapshot(request).await?.into_inner();
        Ok(reply.batches.into_iter().map(|batch| Arc::new(from_proto::batch(batch))).collect())
    }

    /// Subscribes, and goes on after the agent was away.
    pub fn follow(&self, request: SubscribeRequest) -> Following {
        Following { rpc: self.rpc(), request, taken: 0, replies: Lasting::default() }
    }

    /// Follows a collector's log, and goes on after the agent was away, with all that the one that
    /// is there then has kept. `no_follow` of the request is not heeded.
    pub fn follow_log(&self, request: TailLogRequest) -> FollowingLog {
        let request = TailLogRequest { no_follow: false, ..request };
        FollowingLog { rpc: self.rpc(), request, replies: Lasting::default() }
    }
}

/// What a subscription brings.
#[derive(Debug)]
pub enum Event {
    /// A batch.
    Batch(Box<Batch>),
    /// Batches that were lost since the last event of this kind, by cause: this client was slow.
    Lost(Losses),
    /// The agent has gone; it is asked again after a pause. What it reads meanwhile is missed.
    Away {
        /// Why.
        reason: String,
        /// The pause.
        retry_in: Duration,
    },
    /// It is there again, and the subscription goes on.
    Back,
}

/// What a log that is followed brings.
#[derive(Debug)]
pub enum LogEvent {
    /// A line.
    Line(LogLine),
    /// As [`Event::Away`].
    Away {
        /// Why.
        reason: String,
        /// The pause.
        retry_in: Duration,
    },
    /// As [`Event::Back`].
    Back,
}

/// A subscription that outlives its connection.
pub struct Following {
    rpc: ControlClient<Channel>,
    request: SubscribeRequest,
    /// Batches so far.
    taken: u64,
    replies: Lasting<SubscribeReply>,
}

impl Following {
    /// What comes next; `None` when the request's limit is reached. Fails where the agent refuses
    /// the request, and where it was not there in the first place. Not cancel-safe: a pause that
    /// is cut short begins anew.
    pub async fn next(&mut self) -> Result<Option<Event>, ClientError> {
        if self.request.limit > 0 && self.taken >= self.request.limit {
            return Ok(None);
        }
        loop {
            let (rpc, request) = (&self.rpc, &self.request);
            let limit = request.limit.saturating_sub(self.taken);
            let ask = async {
                rpc.clone().subscribe(SubscribeRequest { limit, ..request.clone() }).await
            };
            let kind = match self.replies.next(ask).await? {
                Came::Reply(reply) => reply.kind,
                Came::Away { reason, retry_in } => {
                    return Ok(Some(Event::Away { reason, retry_in }));
                }
                Came::Back => return Ok(Some(Event::Back)),
            };
            match kind {
                Some(Kind::Batch(batch)) => {
                    self.taken += 1;
                    return Ok(Some(Event::Batch(Box::new(from_proto::batch(batch)))));
                }
                Some(Kind::Lost(lost)) => return Ok(Some(Event::Lost(lost))),
                None => {} // of a newer agent
            }
        }
    }
}

/// A log that outlives the connection by which it is followed.
pub struct FollowingLog {
    rpc: ControlClient<Channel>,
    request: TailLogRequest,
    replies: Lasting<LogLine>,
}

impl FollowingLog {
    /// What comes next. Fails and may be cancelled as [`Following::next`].
    pub async fn next(&mut self) -> Result<LogEvent, ClientError> {
        let (rpc, request) = (&self.rpc, &self.request);
        let ask = async { rpc.clone().tail_log(request.clone()).await };
        let came = self.replies.next(ask).await?;
        Ok(match came {
            Came::Reply(line) => LogEvent::Line(line),
            Came::Away { reason, retry_in } => {
                self.request.lines = u32::MAX; // all that the next agent has kept is new
                LogEvent::Away { reason, retry_in }
            }
            Came::Back => LogEvent::Back,
        })
    }
}

/// Replies without end, which are asked for anew when their connection breaks.
struct Lasting<T> {
    replies: Option<Streaming<T>>,
    /// Before the next attempt.
    pause: Duration,
    /// The last that came was that the agent has gone.
    away: bool,
    was_there: bool,
}

enum Came<T> {
    Reply(T),
    Away { reason: String, retry_in: Duration },
    Back,
}

impl<T> Default for Lasting<T> {
    fn default() -> Self {
        Self { replies: None, pause: FIRST_PAUSE, away: false, was_there: false }
    }
}

impl<T> Lasting<T> {
    /// What comes next. `ask` is awaited if there is no connection.
    async fn next(
        &mut self,
        ask: impl Future<Output = Result<Response<Streaming<T>>, Status>>,
    ) -> Result<Came<T>, ClientError> {
        if self.away {
            tokio::time::sleep(self.pause).await;
            self.pause = longer(self.pause);
        }
        let status = match self.receive(ask).await {
            Ok(came) => return Ok(came),
            Err(status) => status,
        };
        self.replies = None;
        if !self.is_passing(&status) {
            return Err(status.into());
        }
        self.away = true;
        Ok(Came::Away { reason: status.message().to_owned(), retry_in: self.pause })
    }

    async fn receive(
        &mut self,
        ask: impl Future<Output = Result<Response<Streaming<T>>, Status>>,
    ) -> Result<Came<T>, Status> {
        let replies = match &mut self.replies {
            Some(replies) => replies,
            none => {
                let replies = none.insert(ask.await?.into_inner());
                self.was_there = true;
                self.pause = FIRST_PAUSE;
                if std::mem::take(&mut self.away) {
                    return Ok(Came::Back);
                }
                replies
            }
        };
        let reply = replies.message().await?;
        reply.map(Came::Reply).ok_or_else(|| Status::unavailable("the agent has ended"))
    }

    /// Whether it may be otherwise in a moment. An agent that has just started does not know all
    /// streams and collectors yet.
    fn is_passing(&self, status: &Status) -> bool {
        match status.code() {
            Code::Unavailable | Code::Unknown | Code::Internal | Code::Cancelled => self.was_there,
            Code::NotFound | Code::InvalidArgument => self.away,
            _ => false,
        }
    }
}

fn longer(pause: Duration) -> Duration {
    (pause * 2).min(LONGEST_PAUSE).mul_f64(1.0 + fastrand::f64() / 4.0)
}

fn io_error(error: &(dyn Error + 'static)) -> Option<io::ErrorKind> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(io) = error.downcast_ref::<io::Error>() {
            return Some(io.kind());
        }
        next = error.source();
    }
    None
}

fn innermost(error: &(dyn Error + 'static)) -> String {
    let mut last = error;
    while let Some(source) = last.source() {
        last = source;
    }
    last.to_string()
}
