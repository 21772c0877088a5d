//! What the agent says and what is typed, as events.

use std::io;
use std::time::Duration;

use ratatui::crossterm::event;
use tokio::sync::mpsc::Sender;
use tokio::task::JoinHandle;
use tokio::time::{MissedTickBehavior, interval, timeout};
use tonic::Code;

use super::state::{State, Told};
use crate::model::Batch;
use crate::rpc::client::{self, Client, ClientError};
use crate::rpc::proto::{
    GetStatusRequest, LogLine, Overflow, RestartRequest, SetEnabledRequest, Status,
    SubscribeRequest, TailLogRequest,
};

/// How long the agent has to tell its state.
const PATIENCE: Duration = Duration::from_secs(3);
/// Lines of a log that come first.
const LOG_LINES: u32 = 256;

/// What the screen is told.
pub(super) enum Event {
    /// The agent's state, or why there is none.
    Status(Result<Box<Status>, String>),
    /// A batch, as it came.
    Batch(Box<Batch>),
    /// The last batch of a stream of the collector that is looked into.
    Looked(Box<Batch>),
    /// The log of a collector follows, from its oldest line.
    LogBegins(String),
    /// A line of a collector's log.
    Log(String, LogLine),
    /// What came of a deed.
    Outcome(Told),
    /// A key, or another size; fails where the terminal has gone.
    Input(io::Result<event::Event>),
}

/// What a person tells a collector.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Deed {
    Restart,
    Disable,
    Enable,
}

impl Deed {
    /// Before it is done, and after.
    pub(super) fn words(self) -> (&'static str, &'static str) {
        match self {
            Self::Restart => ("restart", "restarted"),
            Self::Disable => ("disable", "disabled"),
            Self::Enable => ("enable", "enabled"),
        }
    }
}

/// Reads the terminal on a thread of its own, which ends with the process: a read can't be
/// called off.
pub(super) fn read_keys(events: Sender<Event>) -> io::Result<()> {
    let read = move || {
        loop {
            let input = event::read();
            let failed = input.is_err();
            if events.blocking_send(Event::Input(input)).is_err() || failed {
                return;
            }
        }
    };
    std::thread::Builder::new().name("dropsonde-keys".into()).spawn(read).map(drop)
}

/// The requests that run at the agent.
pub(super) struct Feeds {
    client: Client,
    events: Sender<Event>,
    every: Duration,
    _status: Task,
    /// The streams of the panels, at the rate of the frames.
    panels: Option<Subscribed>,
    /// The streams of the collector that is looked into, at their own rate.
    opened: Option<Subscribed>,
    log: Option<Subscribed>,
}

/// A request and what it asks for.
struct Subscribed {
    topics: Vec<String>,
    task: Task,
}

/// Ends when dropped.
struct Task(JoinHandle<()>);

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Feeds {
    /// Asks for the agent's state from now on.
    pub(super) fn start(client: Client, events: Sender<Event>, every: Duration) -> Self {
        let _status = Task(tokio::spawn(ask_status(client.clone(), events.clone(), every)));
        Self { client, events, every, _status, panels: None, opened: None, log: None }
    }

    /// Subscribes to what is to be shown, where that is another than before, or has ended: an
    /// agent that was away is taken up again when it tells its state.
    pub(super) fn fit(&mut self, state: &State) {
        let make = |topics: &[String], name: &str, interval: Option<Duration>| SubscribeRequest {
            topics: topics.to_vec(),
            interval: interval.and_then(|every| every.try_into().ok()),
            overflow: Overflow::Latest.into(),
            name: name.to_owned(),
            ..SubscribeRequest::default()
        };
        let Self { client, events, every, .. } = &*self;
        let (client, events, every) = (client.clone(), events.clone(), *every);
        fit(&mut self.panels, state.panel_topics(), |topics| {
            let request = make(topics, "top", Some(every));
            tokio::spawn(follow(client.clone(), events.clone(), request))
        });
        let opened = state.opened.as_ref();
        let topics = opened.map(|opened| opened.topics(state)).unwrap_or_default();
        fit(&mut self.opened, topics, |topics| {
            let request = make(topics, "top (one collector)", None);
            tokio::spawn(look_into(client.clone(), events.clone(), request))
        });
        let name = opened.map(|opened| opened.collector.clone());
        fit(&mut self.log, name.into_iter().collect(), |names| {
            let name = names.concat();
            tokio::spawn(tail(client.clone(), events.clone(), name))
        });
    }

    /// Tells the agent; what came of it is an event.
    pub(super) fn act(&self, (deed, collector): (Deed, String)) {
        let (client, events) = (self.client.clone(), self.events.clone());
        tokio::spawn(async move {
            let told = match act(&client, deed, &collector).await {
                Ok(true) => Told::good(format!("{collector}: {}", deed.words().1)),
                Ok(false) => Told::good(format!("{collector}: already {}", deed.words().1)),
                Err(status) => {
                    Told::bad(format!("{collector}: not {}: {}", deed.words().1, status.message()))
                }
            };
            let _ = events.send(Event::Outcome(told)).await;
        });
    }
}

fn fit(
    running: &mut Option<Subscribed>,
    topics: Vec<String>,
    start: impl FnOnce(&[String]) -> JoinHandle<()>,
) {
    let goes_on = |one: &Subscribed| one.topics == topics && !one.task.0.is_finished();
    if topics.is_empty() {
        *running = None; // none at all would mean all
    } else if !running.as_ref().is_some_and(goes_on) {
        let task = Task(start(&topics));
        *running = Some(Subscribed { topics, task });
    }
}

/// Whether it was not so before.
async fn act(client: &Client, deed: Deed, collector: &str) -> Result<bool, tonic::Status> {
    let (mut rpc, collector) = (client.rpc(), collector.to_owned());
    match deed {
        Deed::Restart => rpc.restart(RestartRequest { collector }).await.map(|_| true),
        Deed::Disable | Deed::Enable => {
            let request = SetEnabledRequest { collector, enabled: deed == Deed::Enable };
            Ok(rpc.set_enabled(request).await?.into_inner().changed)
        }
    }
}

async fn ask_status(client: Client, events: Sender<Event>, every: Duration) {
    let mut ticks = interval(every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let mut rpc = client.rpc();
        let answer = match timeout(PATIENCE, rpc.get_status(GetStatusRequest {})).await {
            Ok(Ok(status)) => Ok(Box::new(status.into_inner())),
            Ok(Err(status)) => Err(status.message().to_owned()),
            Err(_) => Err(format!("no answer within {} s", PATIENCE.as_secs())),
        };
        if events.send(Event::Status(answer)).await.is_err() {
            return;
        }
    }
}

/// Ends with the connection, and where the agent refuses.
async fn follow(client: Client, events: Sender<Event>, request: SubscribeRequest) {
    let mut following = client.follow(request);
    loop {
        let event = match following.next().await {
            Ok(Some(client::Event::Batch(batch))) => Event::Batch(batch),
            Ok(Some(client::Event::Lost(_) | client::Event::Back)) => continue, // the newest is here
            Ok(Some(client::Event::Away { .. }) | None) => return,
            Err(ClientError::Refused(status)) if is_refusal(&status) => {
                Event::Outcome(Told::bad(status.message().to_owned()))
            }
            Err(_) => return,
        };
        let ends = matches!(event, Event::Outcome(_));
        if events.send(event).await.is_err() || ends {
            return;
        }
    }
}

/// Not those of an agent that goes, nor of a stream that has just gone.
fn is_refusal(status: &tonic::Status) -> bool {
    matches!(
        status.code(),
        Code::InvalidArgument | Code::FailedPrecondition | Code::ResourceExhausted
    )
}

/// Brings what is there, then what comes.
async fn look_into(client: Client, events: Sender<Event>, request: SubscribeRequest) {
    for topic in &request.topics {
        // Streams of events have no last batch.
        if let Ok(batch) = client.get(topic, None).await
            && events.send(Event::Looked(Box::new(batch))).await.is_err()
        {
            return;
        }
    }
    follow(client, events, request).await;
}

async fn tail(client: Client, events: Sender<Event>, collector: String) {
    let request =
        TailLogRequest { collector: collector.clone(), lines: LOG_LINES, no_follow: false };
    let Ok(lines) = client.rpc().tail_log(request).await else { return };
    let mut lines = lines.into_inner();
    let mut event = Event::LogBegins(collector.clone());
    while events.send(event).await.is_ok() {
        let Ok(Some(line)) = lines.message().await else { return };
        event = Event::Log(collector.clone(), line);
    }
}
