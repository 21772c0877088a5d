//! `/metrics`: the page for Prometheus. Making it costs far more than sending it, so scrapers that
//! come at the same time get the same page.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use axum::routing::get;

use super::prometheus::{self, LeftOut};
use super::samples::Unfit;
use crate::clock;
use crate::control::Host;

/// How old a page may be: far less than the interval at which most collectors read.
const FRESH: Duration = Duration::from_millis(20);
const TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";

#[derive(Clone)]
struct Pages {
    host: Host,
    last: Arc<Mutex<Last>>,
}

#[derive(Default)]
struct Last {
    page: Option<Page>,
    told: Told,
}

/// A page, and since when it is there (`CLOCK_MONOTONIC`).
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
        if let Some(page) = last.page.as_ref().filter(|page| now.saturating_sub(page.made) < FRESH)
        {
            return page.text.clone();
        }
        let made = prometheus::page(&self.host.latest(), &self.host.status());
        for (collector, count, (metric, why)) in last.told.news(&made.left_out) {
            tracing::warn!(
                collector,
                "{count} of its samples left out of /metrics, the first `{metric}`: {why}"
            );
        }
        let text = Bytes::from(made.text);
        // Those who came while it was made get it too.
        last.page = Some(Page { made: clock::monotonic(), text: text.clone() });
        text
    }
}

/// How many samples the log says are left out, by collector.
#[derive(Default)]
struct Told(HashMap<String, u64>);

impl Told {
    /// Whose samples are left out now and were not, or are twice as many as the log says: how many
    /// they are, and the first of them.
    fn news<'a>(
        &mut self,
        left_out: &'a BTreeMap<String, LeftOut>,
    ) -> Vec<(&'a str, u64, &'a (String, Unfit))> {
        self.0.retain(|name, _| left_out.get(name).is_some_and(|now| now.first.is_some()));
        let mut news = Vec::new();
        for (name, now) in left_out {
            let Some(first) = &now.first else { continue };
            let count = now.duplicates + now.unfit;
            let told = self.0.entry(name.clone()).or_default();
            if *told == 0 || count >= told.saturating_mul(2) {
                *told = count;
                news.push((name.as_str(), count, first));
            }
        }
        news
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_out_is_said_once_and_again_when_it_is_far_more_or_was_none() {
        let mut told = Told::default();
        let mut said = |unfit: u64| {
            let first = (unfit > 0).then(|| ("a".to_owned(), Unfit::Type));
            let now = LeftOut { unfit, first, ..LeftOut::default() };
            let now = BTreeMap::from([("exec".to_owned(), now)]);
            told.news(&now).first().map(|(name, count, _)| ((*name).to_owned(), *count))
        };
        let news = |count| Some(("exec".to_owned(), count));
        assert_eq!([said(0), said(3), said(3), said(5)], [None, news(3), None, None]);
        assert_eq!([said(6), said(0), said(1)], [news(6), None, news(1)]);
    }
}
