//! One WebSocket, from its first subscription to its end.
//!
//! Nothing waits for a client but what its subscriptions hold, and the frame that is being sent:
//! the next ones are taken when that is through.

use std::pin::Pin;
use std::time::Duration;

use axum::Error;
use axum::extract::ws::{CloseFrame, Message, WebSocket, close_code};
use futures_util::{Stream, stream};
use serde_json::json;
use tokio::time::{Instant, MissedTickBehavior, interval_at, sleep_until, timeout};
use tokio_stream::{StreamExt, StreamMap};

use super::USUAL;
use super::message::{Complaint, Wish, parse};
use crate::bus::Bus;
use crate::model::Batch;
use crate::sink::feed::{Feed, Taken};

/// The id of the subscription that the address asks for.
pub(super) const FROM_ADDRESS: u64 = 0;
/// Most subscriptions of one client.
const SUBSCRIPTIONS: usize = 32;
/// How often a client is asked whether it is still there.
const PING: Duration = Duration::from_secs(20);
/// A client that has said nothing for so long, not even that it is there, has gone.
const SILENCE: Duration = Duration::from_secs(60);
/// A frame that is not through by then is not going to be.
const STUCK: Duration = Duration::from_secs(30);
/// How long a client may have no subscription.
const IDLE: Duration = Duration::from_secs(60);

/// Longest reason in a frame that closes, bytes (RFC 6455, section 5.5).
const MAX_REASON: usize = 123;

/// What frames go through; a channel in tests.
pub(super) trait Wire {
    async fn receive(&mut self) -> Option<Result<Message, Error>>;
    async fn send(&mut self, message: Message) -> Result<(), Error>;
}

impl Wire for WebSocket {
    async fn receive(&mut self) -> Option<Result<Message, Error>> {
        self.recv().await
    }

    async fn send(&mut self, message: Message) -> Result<(), Error> {
        self.send(message).await
    }
}

/// What a subscription brings; `None` as the last, when its limit is reached.
type Feeding = Pin<Box<dyn Stream<Item = Option<Taken>> + Send>>;

/// A client that is being served.
pub(super) struct Session<W> {
    wire: W,
    bus: Bus,
    feeds: StreamMap<u64, Feeding>,
    /// The last batches of a subscription that the address asked for.
    first: Vec<String>,
    /// When the client last said something.
    heard: Instant,
    /// Since when it has had no subscription, if it has none.
    idle: Instant,
}

/// What happens next.
enum Event {
    Heard(Option<Result<Message, Error>>),
    Came(u64, Option<Taken>),
    PingDue,
    Idle,
    HostEnded,
}

/// Why a session is over: what the client is told, if it can be told anything.
struct Over(Option<CloseFrame>);

/// It has gone, or reads no more.
const GONE: Over = Over(None);

fn over(code: u16, reason: &'static str) -> Over {
    Over(Some(CloseFrame { code, reason: reason.into() }))
}

impl<W: Wire> Session<W> {
    pub(super) fn new(wire: W, bus: Bus) -> Self {
        let (feeds, now) = (StreamMap::new(), Instant::now());
        Self { wire, bus, feeds, first: Vec::new(), heard: now, idle: now }
    }

    /// Adds a subscription before the client is served.
    pub(super) fn add(&mut self, id: u64, feed: Feed) {
        self.first = self.begin(id, feed);
    }

    /// Serves the client until it leaves, is to leave, or the host ends.
    pub(super) async fn serve(mut self, ended: impl Future<Output = ()>) {
        let Over(Some(frame)) = self.until_over(ended).await else { return };
        let _ = self.send(Message::Close(Some(frame))).await; // it may have gone
    }

    async fn until_over(&mut self, ended: impl Future<Output = ()>) -> Over {
        let mut ended = std::pin::pin!(ended);
        let mut pings = interval_at(Instant::now() + PING, PING);
        pings.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let first = std::mem::take(&mut self.first);
        if let Err(over) = self.send_all(first).await {
            return over;
        }
        loop {
            let event = tokio::select! {
                biased; // what a client has said is heard before it is missed
                () = &mut ended => Event::HostEnded,
                message = self.wire.receive() => Event::Heard(message),
                _ = pings.tick() => Event::PingDue,
                () = sleep_until(self.idle + IDLE), if self.feeds.is_empty() => Event::Idle,
                Some((id, taken)) = self.feeds.next(), if !self.feeds.is_empty() => {
                    Event::Came(id, taken)
                }
            };
            if let Err(over) = self.take(event).await {
                return over;
            }
        }
    }

    async fn take(&mut self, event: Event) -> Result<(), Over> {
        match event {
            Event::Heard(Some(Ok(message))) => {
                self.heard = Instant::now();
                self.answer(message).await
            }
            Event::Heard(Some(Err(error))) => Err(unreadable(&error)),
            Event::Heard(None) => Err(GONE),
            Event::Came(id, Some(taken)) => self.pass_on(id, &taken).await,
            Event::Came(id, None) => self.end(id).await,
            Event::PingDue if self.heard.elapsed() >= SILENCE => Err(GONE),
            Event::PingDue => self.send(Message::Ping(Vec::new().into())).await,
            Event::Idle => Err(over(close_code::POLICY, "60 s without a subscription")),
            Event::HostEnded => Err(over(close_code::AWAY, "the agent is ending")),
        }
    }

    async fn answer(&mut self, message: Message) -> Result<(), Over> {
        let wish = match message {
            Message::Text(text) => parse(&text),
            Message::Binary(_) => {
                let text = "messages are text, of JSON".to_owned();
                Err(Complaint { id: None, text })
            }
            // Pings are answered by the layer below; after a close nothing more comes.
            Message::Ping(_) | Message::Pong(_) | Message::Close(_) => return Ok(()),
        };
        let done = match wish {
            Ok(Wish::Subscribe(id, asked)) => self.check_room(id).and_then(|()| {
                let feed = asked.feed(&self.bus, &USUAL);
                let feed = feed.map_err(|error| Complaint::about(id, error.to_string()))?;
                let mut frames = vec![json!({ "subscribed": id }).to_string()];
                frames.extend(self.begin(id, feed));
                Ok(frames)
            }),
            Ok(Wish::Unsubscribe(id)) if self.feeds.contains_key(&id) => return self.end(id).await,
            Ok(Wish::Unsubscribe(id)) => {
                Err(Complaint::about(id, format!("there is no subscription {id}")))
            }
            Err(complaint) => Err(complaint),
        };
        self.send_all(done.unwrap_or_else(|complaint| vec![complaint.frame()])).await
    }

    fn check_room(&self, id: u64) -> Result<(), Complaint> {
        if self.feeds.contains_key(&id) {
            let text = format!("the id {id} is in use; unsubscribe it first, or choose another");
            return Err(Complaint::about(id, text));
        }
        if self.feeds.len() >= SUBSCRIPTIONS {
            let text = format!("a client may have {SUBSCRIPTIONS} subscriptions; end one first");
            return Err(Complaint::about(id, text));
        }
        Ok(())
    }

    /// Begins a subscription: the frames that come first.
    fn begin(&mut self, id: u64, mut feed: Feed) -> Vec<String> {
        let first = feed.last(&self.bus).iter().map(|batch| frame(id, batch)).collect();
        let feeding = stream::unfold(Some(feed), |feed| async {
            let mut feed = feed?;
            let taken = feed.next().await;
            let rest = taken.is_some().then_some(feed);
            Some((taken, rest))
        });
        self.feeds.insert(id, Box::pin(feeding));
        first
    }

    async fn end(&mut self, id: u64) -> Result<(), Over> {
        self.feeds.remove(&id);
        self.idle = Instant::now();
        self.send_text(json!({ "unsubscribed": id }).to_string()).await
    }

    async fn pass_on(&mut self, id: u64, taken: &Taken) -> Result<(), Over> {
        if let Some(lost) = taken.lost {
            self.send_text(json!({ "id": id, "lost": lost }).to_string()).await?;
        }
        for batch in taken.batches() {
            self.send_text(frame(id, batch)).await?;
        }
        Ok(())
    }

    async fn send_all(&mut self, frames: Vec<String>) -> Result<(), Over> {
        for frame in frames {
            self.send_text(frame).await?;
        }
        Ok(())
    }

    async fn send_text(&mut self, text: String) -> Result<(), Over> {
        self.send(Message::Text(text.into())).await
    }

    async fn send(&mut self, message: Message) -> Result<(), Over> {
        match timeout(STUCK, self.wire.send(message)).await {
            Ok(Ok(())) => Ok(()),
            _ => Err(GONE),
        }
    }
}

/// The line of a batch, which is made once for all, with the id before it.
fn frame(id: u64, batch: &Batch) -> String {
    let line = batch.json();
    format!("{{\"id\":{id},{}", line.strip_prefix('{').unwrap_or_default())
}

/// A client whose message can't be read is told why; what comes after it can't be read either.
fn unreadable(error: &Error) -> Over {
    let mut reason = String::new();
    for letter in error.to_string().chars() {
        if reason.len() + letter.len_utf8() <= MAX_REASON {
            reason.push(letter);
        }
    }
    Over(Some(CloseFrame { code: close_code::POLICY, reason: reason.into() }))
}

#[cfg(test)]
mod tests;
