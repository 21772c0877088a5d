//! `/ws`: subscriptions over a WebSocket, as many as a page needs. `session` serves one.
//!
//! A client asks by the address (`/ws?topic=metrics.cpu&every=1s`, whose frames have the id 0),
//! by messages, or both:
//!
//! * `{"subscribe":{"topic":"metrics.cpu","every":"1s"},"id":1}`, with the parameters of
//!   `/api/v1/stream`; answered by `{"subscribed":1}`, the last batch of each snapshot stream,
//!   and those that follow, each a frame `{"id":1,"topic":…,"records":[…]}`
//! * `{"unsubscribe":1}`, answered by `{"unsubscribed":1}`, and so is the end of a limit
//!
//! `{"id":1,"lost":{…}}` tells what a client was too slow for; `{"error":…}` what could not be
//! done, with the `id` that it is about if there is one, and changes nothing.

mod message;
mod session;

use std::sync::Arc;

use axum::Router;
use axum::extract::rejection::QueryRejection;
use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::extract::{Extension, Query, RawQuery, State, WebSocketUpgrade};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tokio::sync::Semaphore;

use super::asked::{Asked, Usual};
use super::connections::{self, Place};
use super::guard;
use super::http::{failed, refused};
use crate::control::Host;
use session::{FROM_ADDRESS, Session};

/// A browser that falls behind is to be shown what is, not what was.
const USUAL: Usual = Usual { name: "websocket", overflow: "latest" };
/// Longest message of a client, bytes.
const MAX_MESSAGE: usize = 16 << 10;
/// What is read at once; clients say little.
const READ_BUFFER: usize = 4 << 10;
/// Most WebSockets at once, where there are places for twice as many connections.
const MOST: usize = 256;

#[derive(Clone)]
struct Sockets {
    host: Host,
    /// Room for WebSockets: half of all connections, so that they keep nobody else out.
    room: Arc<Semaphore>,
    most: usize,
}

pub(super) fn router(host: Host) -> Router {
    let most = MOST.min(connections::most() / 2);
    let sockets = Sockets { host, room: Arc::new(Semaphore::new(most)), most };
    Router::new().route("/ws", get(open)).with_state(sockets)
}

async fn open(
    State(Sockets { host, room, most }): State<Sockets>,
    Extension(place): Extension<Place>,
    headers: HeaderMap,
    RawQuery(raw): RawQuery,
    asked: Result<Query<Asked>, QueryRejection>,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Response {
    if let Err((code, text)) = guard::same_origin(&headers) {
        return failed(code, &text);
    }
    let upgrade = match upgrade {
        Ok(upgrade) => upgrade,
        Err(error) => {
            let text = format!("{}; /ws is for WebSockets", error.body_text());
            return failed(error.status(), &text);
        }
    };
    let Ok(room) = room.try_acquire_owned() else {
        // Whoever waits with it open would keep a place that scrapers need.
        let text = format!("{most} WebSockets are open, and no more are taken; close some");
        let close = [(header::CONNECTION, "close"), (header::RETRY_AFTER, "10")];
        return (close, failed(StatusCode::SERVICE_UNAVAILABLE, &text)).into_response();
    };
    // Without parameters it subscribes by messages.
    let feed = match asked {
        _ if raw.is_none_or(|raw| raw.is_empty()) => None,
        Ok(Query(asked)) => match asked.feed(host.bus(), &USUAL) {
            Ok(feed) => Some(feed),
            Err(error) => return refused(&error),
        },
        Err(error) => return failed(StatusCode::BAD_REQUEST, &error.body_text()),
    };
    upgrade
        .max_message_size(MAX_MESSAGE)
        .max_frame_size(MAX_MESSAGE)
        .read_buffer_size(READ_BUFFER)
        .on_upgrade(async move |socket| {
            let mut session = Session::new(socket, host.bus().clone());
            if let Some(feed) = feed {
                session.add(FROM_ADDRESS, feed);
            }
            session.serve(host.ended()).await;
            drop((room, place));
        })
}
