//! OTLP by HTTP, in protobuf.

use std::time::Duration;

use axum::body::{Body, Bytes, to_bytes};
use axum::http::header::{CONTENT_TYPE, RETRY_AFTER, USER_AGENT};
use axum::http::{HeaderMap, HeaderValue, Method, Request, StatusCode, Uri};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use prost::Message;

use super::{Cause, Outcome, RpcStatus, connection, short};
use crate::config::Otlp;
use crate::sink::otlp::Signal;

/// Most bytes of an answer that are read.
const MAX_ANSWER: usize = 64 << 10;

pub(super) struct Http {
    client: Client<HttpConnector, Body>,
    uri: Uri,
    headers: HeaderMap,
}

impl Http {
    pub(super) fn new(config: &Otlp, signal: Signal) -> Self {
        let mut headers = HeaderMap::new();
        let agent = concat!("dropsonde/", env!("CARGO_PKG_VERSION"));
        headers.insert(USER_AGENT, HeaderValue::from_static(agent));
        headers.extend(config.headers.clone());
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-protobuf"));
        let mut connector = HttpConnector::new();
        connector.set_connect_timeout(Some(config.timeout));
        connector.set_nodelay(true);
        let client = Client::builder(TokioExecutor::new()).build(connector);
        Self { client, uri: uri(&config.endpoint, signal), headers }
    }

    pub(super) async fn send(&mut self, body: Bytes) -> Result<Bytes, Outcome> {
        let mut request = Request::new(Body::from(body));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = self.uri.clone();
        *request.headers_mut() = self.headers.clone();
        let answer = self.client.request(request).await.map_err(|error| connection(&error))?;
        let (head, body) = answer.into_parts();
        // An answer that is too long, or that breaks off, has its status all the same.
        let body = to_bytes(Body::new(body), MAX_ANSWER).await.unwrap_or_default();
        if head.status.is_success() {
            Ok(body)
        } else {
            Err(failed(head.status, &head.headers, &body))
        }
    }
}

/// The path of a signal goes below the endpoint's own.
fn uri(endpoint: &Uri, signal: Signal) -> Uri {
    let path = format!("{}/v1/{}", endpoint.path().trim_end_matches('/'), signal.name());
    let mut parts = endpoint.clone().into_parts();
    parts.path_and_query = path.parse().ok();
    Uri::from_parts(parts).unwrap_or_else(|_| endpoint.clone())
}

fn failed(code: StatusCode, headers: &HeaderMap, body: &[u8]) -> Outcome {
    let status = RpcStatus::decode(body).unwrap_or_default();
    let message = format!("{code}: {}", short(&status.message));
    match code.as_u16() {
        429 | 502 | 503 | 504 => {
            Outcome::Again { cause: Cause::Busy, message, after: retry_after(headers) }
        }
        _ => Outcome::Refused(message),
    }
}

/// In seconds; a date, which would need the receiver's clock to be ours, is not heeded.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let seconds = headers.get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_paths_of_the_signals_go_below_the_endpoint() {
        let of = |endpoint: &str| uri(&endpoint.parse().unwrap(), Signal::Metrics).to_string();
        assert_eq!(of("http://a:4318"), "http://a:4318/v1/metrics");
        assert_eq!(of("http://a/base/"), "http://a/base/v1/metrics");
    }

    #[test]
    fn what_may_be_tried_again_is_what_the_specification_says() {
        let mut headers = HeaderMap::new();
        headers.insert(RETRY_AFTER, HeaderValue::from_static("7"));
        let outcome = |code| failed(StatusCode::from_u16(code).unwrap(), &headers, b"");
        for code in [429, 502, 503, 504] {
            let Outcome::Again { after, .. } = outcome(code) else { panic!("{code}") };
            assert_eq!(after, Some(Duration::from_secs(7)));
        }
        for code in [301, 400, 401, 404, 413, 500, 501] {
            assert!(matches!(outcome(code), Outcome::Refused(_)), "{code}");
        }
        headers.insert(RETRY_AFTER, HeaderValue::from_static("18446744073709551615"));
        assert_eq!(retry_after(&headers), Some(Duration::from_secs(u64::MAX))); // bounded where it is waited for
        headers.insert(RETRY_AFTER, HeaderValue::from_static("Sat, 21 Nov 2026 12:00:00 GMT"));
        assert_eq!(retry_after(&headers), None);
    }
}
