//! Answers that go on: batches and log lines, for as long as a client takes them.

use std::collections::VecDeque;
use std::time::SystemTime;

use futures_util::{Stream, stream};
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;
use tonic::Status;

use super::convert;
use super::proto::{self, subscribe_reply::Kind};
use crate::bus::{Losses, Overflow, Subscribe, Subscription};
use crate::config::suggestion;
use crate::control::{Host, LogLine};
use crate::schedule::MIN_INTERVAL;
use crate::sink::asked;

/// Batches that may wait for a client, unless it says otherwise.
const ROOM: usize = 1024;

/// Patterns that one subscription may have: each is compared with each topic.
const MOST_TOPICS: usize = 64;

/// Reads a request to subscribe; nothing has happened if it is wrong.
pub(super) fn subscription(
    host: &Host,
    from: &proto::SubscribeRequest,
) -> Result<Subscribe, Status> {
    let wrong = |what: String| Status::invalid_argument(what);
    if from.topics.len() > MOST_TOPICS {
        return Err(wrong(format!("topics: {MOST_TOPICS} at most")));
    }
    // What `describe` lists is a name; what is subscribed to is a topic.
    let topics = from.topics.iter().map(|asked| topic_of(host, asked).unwrap_or(asked.clone()));
    let topics: Vec<String> = topics.collect();
    let mut topics = topics.iter().map(String::as_str);
    let topic = |error| wrong(format!("topics: {error}"));
    let mut request = Subscribe::to(topics.next().unwrap_or(">")).map_err(topic)?;
    for pattern in topics {
        request = request.and(pattern).map_err(topic)?;
    }
    let name = if from.name.is_empty() { "grpc" } else { &from.name };
    request = request.named(asked::name(name).map_err(wrong)?);
    if let Some(interval) = from.interval {
        let interval = convert::duration(interval, "interval").map_err(wrong)?;
        if interval < MIN_INTERVAL {
            let least = humantime::format_duration(MIN_INTERVAL);
            return Err(wrong(format!("interval: the shortest is {least}")));
        }
        request = request.every(interval);
    }
    if !from.filter.is_empty() {
        request =
            request.filter(&from.filter).map_err(|error| wrong(format!("filter: {error}")))?;
    }
    let overflow = match (proto::Overflow::try_from(from.overflow), from.room as usize) {
        (Ok(proto::Overflow::DropOldest), 0) => Overflow::DropOldest(ROOM),
        (Ok(proto::Overflow::DropOldest), room) if room <= asked::MAX_ROOM => {
            Overflow::DropOldest(room)
        }
        (Ok(proto::Overflow::DropOldest), _) => {
            return Err(wrong(format!("room: between 1 and {} batches", asked::MAX_ROOM)));
        }
        (Ok(proto::Overflow::Latest), 0) => Overflow::Latest,
        (Ok(proto::Overflow::Latest), _) => {
            return Err(wrong(
                "room goes with drop-oldest; of latest, one of each stream waits".into(),
            ));
        }
        (Err(_), _) => {
            return Err(wrong(format!("overflow: there is no policy {}", from.overflow)));
        }
    };
    let request = request.sample(from.sample).overflow(overflow);
    asked::exists(host.bus(), &request).map_err(|error| match error {
        asked::AskedError::Wrong(what) => Status::invalid_argument(what),
        asked::AskedError::Busy(what) => Status::resource_exhausted(what),
        asked::AskedError::Unknown(what) => {
            let gone =
                request.patterns().iter().find_map(|pattern| stopped(host, &pattern.to_string()));
            Status::not_found(gone.unwrap_or(what))
        }
    })?;
    Ok(request)
}

/// The topic of a stream that is asked for by topic or by name.
pub(super) fn topic_of(host: &Host, asked: &str) -> Option<String> {
    let streams = host.bus().streams();
    let found = streams.iter().find(|stream| stream.topic == asked || stream.name == asked);
    found.map(|stream| stream.topic.clone())
}

/// Why there is no stream of a name.
pub(super) fn absent(host: &Host, asked: &str) -> String {
    stopped(host, asked).unwrap_or_else(|| {
        let streams = host.bus().streams();
        let known: Vec<&str> = streams.iter().map(|stream| stream.name.as_str()).collect();
        format!("there is no stream `{asked}`; {}", suggestion(asked, &known))
    })
}

/// That the collector whose stream it would be does not run.
fn stopped(host: &Host, asked: &str) -> Option<String> {
    let name = asked.strip_prefix("metrics.").or(asked.strip_prefix("events.")).unwrap_or(asked);
    let collector = name.split('.').next()?;
    let collectors = host.status().collectors;
    let collector = collectors.into_iter().find(|known| known.name == collector && !known.ready)?;
    let why = collector.reason.unwrap_or_else(|| "it does not run".to_owned());
    Some(format!("there is no stream `{asked}` now; its collector is `{}`: {why}", collector.name))
}

/// Batches as they come.
pub(super) fn batches(
    host: Host,
    batches: Subscription,
    limit: u64,
) -> impl Stream<Item = Result<proto::SubscribeReply, Status>> {
    let left = if limit == 0 { u64::MAX } else { limit };
    let client = Client { batches, host, told: Losses::default(), left, ready: VecDeque::new() };
    stream::unfold(client, |mut client| async move {
        let reply = client.next().await?;
        Some((reply, client))
    })
}

struct Client {
    batches: Subscription,
    host: Host,
    /// What it was told that it lost.
    told: Losses,
    left: u64,
    ready: VecDeque<Kind>,
}

impl Client {
    async fn next(&mut self) -> Option<Result<proto::SubscribeReply, Status>> {
        if self.ready.is_empty() {
            if self.left == 0 {
                return None;
            }
            let batch = tokio::select! {
                biased; // what came before the end is sent
                batch = self.batches.recv() => batch,
                () = self.host.ended() => {
                    self.left = 0;
                    return Some(Err(Status::unavailable("the agent has ended")));
                }
            };
            let lost = self.batches.status().lost;
            if lost != self.told {
                self.ready.push_back(Kind::Lost(convert::losses(lost.since(self.told))));
                self.told = lost;
            }
            self.left -= 1;
            self.ready.push_back(Kind::Batch(convert::batch(&batch)));
        }
        let kind = self.ready.pop_front();
        Some(Ok(proto::SubscribeReply { kind }))
    }
}

/// The last lines of a log, then those to come.
pub(super) fn log(
    host: Host,
    last: Vec<LogLine>,
    live: Option<broadcast::Receiver<LogLine>>,
) -> impl Stream<Item = Result<proto::LogLine, Status>> {
    let state = (host, VecDeque::from(last), live);
    stream::unfold(state, |(host, mut last, mut live)| async move {
        if let Some(line) = last.pop_front() {
            return Some((Ok(log_line(line, 0)), (host, last, live)));
        }
        let mut lost = 0;
        let line = loop {
            let receiver = live.as_mut()?;
            tokio::select! {
                line = receiver.recv() => match line {
                    Ok(line) => break line,
                    Err(RecvError::Lagged(count)) => lost += count,
                    Err(RecvError::Closed) => return None,
                },
                () = host.ended() => {
                    let ended = Status::unavailable("the agent has ended");
                    return Some((Err(ended), (host, last, None)));
                }
            }
        };
        Some((Ok(log_line(line, lost)), (host, last, live)))
    })
}

fn log_line(from: LogLine, lost: u64) -> proto::LogLine {
    let LogLine { wall, level, message } = from;
    let timestamp = Some(convert::timestamp(wall));
    proto::LogLine { timestamp, level: level.to_string().to_lowercase(), message, lost }
}

/// The time of an answer.
pub(super) fn now(wall: SystemTime) -> Option<prost_types::Timestamp> {
    Some(convert::timestamp(wall))
}
