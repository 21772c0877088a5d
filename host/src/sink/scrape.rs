//! `/metrics`: the page for Prometheus. Making it costs far more than sending it, so scrapers that
//! come at the same time get the same page.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use axum::routing::get;

use super::prometheus;
use crate::clock;
use crate::control::Host;

/// How old a page may be: far less than the interval at which most collectors read.
const FRESH: Duration = Duration::from_millis(20);
const TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";

#[derive(Clone)]
struct Pages {
    host: Host,
    last: Arc<Mutex<Option<Page>>>,
}

/// A page, and when it was made (`CLOCK_MONOTONIC`).
struct Page {
    made: Duration,
    text: Bytes,
}

pub(super) fn router(host: Host) -> Router {
    Router::new().route("/metrics", get(metrics)).with_state(Pages { host, last: Arc::default() })
}

async fn metrics(State(pages): State<Pages>) -> Response {
    ([(header::CONTENT_TYPE, TEXT)], pages.page()).into_response()
}

impl Pages {
    fn page(&self) -> Bytes {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let now = clock::monotonic();
        if let Some(page) = last.as_ref().filter(|page| now.saturating_sub(page.made) < FRESH) {
            return page.text.clone();
        }
        let text = Bytes::from(prometheus::page(&self.host.latest(), &self.host.status()));
        *last = Some(Page { made: now, text: text.clone() });
        text
    }
}
