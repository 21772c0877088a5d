//! `/api/v1/stream`: a subscription over HTTP, a line of JSON for each batch, for as long as the
//! client reads.

use std::collections::VecDeque;
use std::convert::Infallible;

use axum::body::{Body, Bytes};
use futures_util::stream;
use serde_json::json;

use super::asked::{Asked, AskedError, Usual};
use super::feed::{Feed, Taken};
use crate::control::Host;

const USUAL: Usual = Usual { name: "http", overflow: "drop-oldest" };

/// Subscribes for a client: the body of its answer.
pub(super) fn follow(host: &Host, asked: &Asked) -> Result<Body, AskedError> {
    let feed = asked.feed(host.bus(), &USUAL)?;
    let follower = Follower { feed, host: host.clone(), lines: VecDeque::new() };
    let lines = stream::unfold(follower, |mut follower| async move {
        let lines = follower.next().await?;
        Some((Ok::<_, Infallible>(lines), follower))
    });
    Ok(Body::from_stream(lines))
}

/// A client that is being served.
struct Follower {
    feed: Feed,
    host: Host,
    lines: VecDeque<Bytes>,
}

/// Lines are sent together up to so many bytes.
const CHUNK: usize = 64 << 10;

impl Follower {
    /// What is sent next; `None` at the end.
    async fn next(&mut self) -> Option<Bytes> {
        loop {
            if let Some(lines) = self.lines.pop_front() {
                return Some(lines);
            }
            tokio::select! {
                biased; // what came before the end is sent
                taken = self.feed.next() => self.put(&taken?),
                () = self.host.ended() => return None,
            }
        }
    }

    fn put(&mut self, taken: &Taken) {
        let mut chunk = String::new();
        if let Some(lost) = taken.lost {
            let line = json!({ "lost": lost }).to_string();
            chunk.push_str(&line);
            chunk.push('\n');
        }
        for batch in taken.batches() {
            chunk.push_str(&batch.json());
            chunk.push('\n');
            if chunk.len() >= CHUNK {
                self.lines.push_back(std::mem::take(&mut chunk).into());
            }
        }
        if !chunk.is_empty() {
            self.lines.push_back(chunk.into());
        }
    }
}
