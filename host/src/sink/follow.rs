//! `/api/v1/stream`: a subscription over HTTP, a line of JSON for each batch, for as long as the
//! client reads.

use std::convert::Infallible;
use std::sync::Arc;

use axum::body::{Body, Bytes};
use futures_util::stream;
use serde_json::json;

use super::asked::{Asked, AskedError, Usual};
use super::feed::Feed;
use crate::control::Host;
use crate::model::Batch;

const USUAL: Usual = Usual { name: "http", overflow: "drop-oldest" };

/// Subscribes for a client: the body of its answer.
pub(super) fn follow(host: &Host, asked: &Asked) -> Result<Body, AskedError> {
    let feed = asked.feed(host.bus(), &USUAL)?;
    let follower = Follower { feed, host: host.clone(), waiting: Vec::new().into_iter() };
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
    /// They become text as they are sent.
    waiting: std::vec::IntoIter<Arc<Batch>>,
}

/// Lines are sent together up to so many bytes.
const CHUNK: usize = 64 << 10;

impl Follower {
    /// What is sent next; `None` at the end.
    async fn next(&mut self) -> Option<Bytes> {
        let mut chunk = String::new();
        while chunk.is_empty() {
            for batch in self.waiting.by_ref() {
                chunk.push_str(&batch.json());
                chunk.push('\n');
                if chunk.len() >= CHUNK {
                    return Some(chunk.into());
                }
            }
            if !chunk.is_empty() {
                break;
            }
            let taken = tokio::select! {
                biased; // what came before the end is sent
                taken = self.feed.next() => taken?,
                () = self.host.ended() => return None,
            };
            if let Some(lost) = taken.lost {
                chunk.push_str(&json!({ "lost": lost }).to_string());
                chunk.push('\n');
            }
            self.waiting = taken.batches().cloned().collect::<Vec<_>>().into_iter();
        }
        Some(chunk.into())
    }
}
