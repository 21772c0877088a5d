//! One try to hand a request over, by gRPC or by HTTP, and what the receiver makes of it: by the
//! OTLP specification, "OTLP/gRPC response" and "OTLP/HTTP response".

mod grpc;
mod http;

use std::time::Duration;

use axum::body::Bytes;
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceResponse;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceResponse;
use prost::Message;

use super::Signal;
use crate::config::{Otlp, Protocol};

/// What came of a try.
#[derive(Debug, PartialEq)]
pub(super) enum Outcome {
    /// The receiver has it, all but so many of its items; it may have something to say.
    Accepted { rejected: u64, message: String },
    /// It may be tried again, not before `after`.
    Again { cause: Cause, message: String, after: Option<Duration> },
    /// The receiver will never take it.
    Refused(String),
}

/// Why a try failed that may be repeated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cause {
    /// No connection, or it broke.
    Connection,
    /// No answer in time.
    Timeout,
    /// The receiver said so.
    Busy,
}

impl Cause {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Connection => "connection",
            Self::Timeout => "timeout",
            Self::Busy => "busy",
        }
    }
}

/// Longest part of what a receiver says that is kept, in characters.
const MAX_MESSAGE: usize = 200;

/// Tries, one at a time.
pub(super) struct Client {
    transport: Transport,
    timeout: Duration,
}

enum Transport {
    Grpc(Box<grpc::Grpc>),
    Http(Box<http::Http>),
}

impl Client {
    /// Connects with the first request. Must be called on the runtime.
    pub(super) fn new(config: &Otlp, signal: Signal) -> Self {
        let transport = match config.protocol {
            Protocol::Grpc => Transport::Grpc(Box::new(grpc::Grpc::new(config, signal))),
            Protocol::HttpProtobuf => Transport::Http(Box::new(http::Http::new(config, signal))),
        };
        Self { transport, timeout: config.timeout }
    }

    /// Takes no longer than the configured timeout.
    pub(super) async fn send(&mut self, signal: Signal, body: Bytes) -> Outcome {
        let tried = async {
            match &mut self.transport {
                Transport::Grpc(grpc) => grpc.send(body).await,
                Transport::Http(http) => http.send(body).await,
            }
        };
        match tokio::time::timeout(self.timeout, tried).await {
            Ok(Ok(answer)) => accepted(signal, &answer),
            Ok(Err(outcome)) => outcome,
            Err(_) => {
                if let Transport::Grpc(grpc) = &mut self.transport {
                    grpc.reconnect();
                }
                let message =
                    format!("no answer within {}", humantime::format_duration(self.timeout));
                Outcome::Again { cause: Cause::Timeout, message, after: None }
            }
        }
    }
}

/// Reads the answer of a receiver that took it. One that can't be read says nothing.
fn accepted(signal: Signal, answer: &[u8]) -> Outcome {
    let (rejected, message) = match signal {
        Signal::Metrics => ExportMetricsServiceResponse::decode(answer)
            .ok()
            .and_then(|answer| answer.partial_success)
            .map(|partial| (partial.rejected_data_points, partial.error_message)),
        Signal::Logs => ExportLogsServiceResponse::decode(answer)
            .ok()
            .and_then(|answer| answer.partial_success)
            .map(|partial| (partial.rejected_log_records, partial.error_message)),
    }
    .unwrap_or_default();
    Outcome::Accepted { rejected: u64::try_from(rejected).unwrap_or(0), message: short(&message) }
}

fn short(message: &str) -> String {
    let plain = |character: char| if character.is_control() { ' ' } else { character };
    message.chars().take(MAX_MESSAGE).map(plain).collect()
}

fn connection(error: &dyn std::error::Error) -> Outcome {
    // What went wrong is said by the last of the causes: "Connection refused".
    let mut last = error;
    while let Some(source) = last.source() {
        last = source;
    }
    let message = short(&last.to_string());
    Outcome::Again { cause: Cause::Connection, message, after: None }
}

/// The messages of google/rpc/status.proto and error_details.proto that a receiver may answer with.
#[derive(Clone, PartialEq, Message)]
struct RpcStatus {
    #[prost(int32, tag = "1")]
    code: i32,
    #[prost(string, tag = "2")]
    message: String,
    #[prost(message, repeated, tag = "3")]
    details: Vec<prost_types::Any>,
}

#[derive(Clone, PartialEq, Message)]
struct RetryInfo {
    #[prost(message, optional, tag = "1")]
    retry_delay: Option<prost_types::Duration>,
}

impl RpcStatus {
    /// When the receiver says that the request may be tried again.
    fn retry_delay(&self) -> Option<Duration> {
        let is_info =
            |detail: &&prost_types::Any| detail.type_url.ends_with("/google.rpc.RetryInfo");
        let info = self.details.iter().find(is_info)?;
        let info = RetryInfo::decode(&*info.value).ok()?;
        let delay = info.retry_delay.unwrap_or_default();
        let seconds = u64::try_from(delay.seconds).unwrap_or(0);
        let nanos = u32::try_from(delay.nanos).unwrap_or(0).min(999_999_999);
        Some(Duration::new(seconds, nanos))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_receiver_says_when_to_try_again() {
        let delay = prost_types::Duration { seconds: 1, nanos: 500_000_000 };
        let value = RetryInfo { retry_delay: Some(delay) }.encode_to_vec();
        let type_url = "type.googleapis.com/google.rpc.RetryInfo".to_owned();
        let details = vec![prost_types::Any { type_url, value }];
        let status = RpcStatus { details, ..RpcStatus::default() };
        let status = RpcStatus::decode(&*status.encode_to_vec()).unwrap();
        assert_eq!(status.retry_delay(), Some(Duration::from_millis(1500)));
        assert_eq!(RpcStatus::default().retry_delay(), None);
    }

    #[test]
    fn what_a_receiver_took_in_part_is_told() {
        use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsPartialSuccess;
        let partial =
            ExportLogsPartialSuccess { rejected_log_records: 3, error_message: "too\nold".into() };
        let answer = ExportLogsServiceResponse { partial_success: Some(partial) }.encode_to_vec();
        let expected = Outcome::Accepted { rejected: 3, message: "too old".into() };
        assert_eq!(accepted(Signal::Logs, &answer), expected);
        let nothing = Outcome::Accepted { rejected: 0, message: String::new() };
        assert_eq!(accepted(Signal::Metrics, b""), nothing);
        assert_eq!(accepted(Signal::Metrics, b"\xff\xff"), nothing);
    }
}
