//! OTLP by gRPC. Requests are bytes already, so they travel as they are.

use std::error::Error;

use axum::body::Bytes;
use axum::http::uri::PathAndQuery;
use prost::Message;
use prost::bytes::{Buf, BufMut};
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::metadata::MetadataMap;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status};

use super::{Cause, Outcome, RpcStatus, connection, short};
use crate::config::Otlp;
use crate::sink::otlp::Signal;

pub(super) struct Grpc {
    endpoint: Endpoint,
    client: tonic::client::Grpc<Channel>,
    path: PathAndQuery,
    metadata: MetadataMap,
}

impl Grpc {
    pub(super) fn new(config: &Otlp, signal: Signal) -> Self {
        let endpoint = Endpoint::from(config.endpoint.clone()).connect_timeout(config.timeout);
        let path = match signal {
            Signal::Metrics => "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export",
            Signal::Logs => "/opentelemetry.proto.collector.logs.v1.LogsService/Export",
        };
        Self {
            client: tonic::client::Grpc::new(endpoint.connect_lazy()),
            path: PathAndQuery::from_static(path),
            metadata: MetadataMap::from_headers(config.headers.clone()),
            endpoint,
        }
    }

    /// Takes another connection: the one that gave no answer may be dead, and nothing says so.
    pub(super) fn reconnect(&mut self) {
        self.client = tonic::client::Grpc::new(self.endpoint.connect_lazy());
    }

    pub(super) async fn send(&mut self, body: Bytes) -> Result<Bytes, Outcome> {
        self.client.ready().await.map_err(|error| connection(&error))?;
        let mut request = tonic::Request::new(body);
        *request.metadata_mut() = self.metadata.clone();
        let answer = self.client.unary(request, self.path.clone(), AsItIs).await;
        answer.map(tonic::Response::into_inner).map_err(|status| failed(&status))
    }
}

fn failed(status: &Status) -> Outcome {
    // A status that has a cause is none of the receiver's: the connection failed.
    if status.source().is_some() {
        return connection(status);
    }
    let message = format!("{:?}: {}", status.code(), short(status.message()));
    let after = RpcStatus::decode(status.details()).ok().and_then(|details| details.retry_delay());
    match status.code() {
        Code::Cancelled
        | Code::DeadlineExceeded
        | Code::Aborted
        | Code::OutOfRange
        | Code::Unavailable
        | Code::DataLoss => Outcome::Again { cause: Cause::Busy, message, after },
        Code::ResourceExhausted if after.is_some() => {
            Outcome::Again { cause: Cause::Busy, message, after }
        }
        _ => Outcome::Refused(message),
    }
}

/// Messages that are bytes already.
struct AsItIs;

impl Codec for AsItIs {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for AsItIs {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, message: Bytes, out: &mut EncodeBuf<'_>) -> Result<(), Status> {
        out.reserve(message.len());
        out.put(message);
        Ok(())
    }
}

impl Decoder for AsItIs {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, message: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(message.copy_to_bytes(message.remaining())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_be_tried_again_is_what_the_specification_says() {
        let again = |code| matches!(failed(&Status::new(code, "no")), Outcome::Again { .. });
        let codes: Vec<Code> = (0..17).map(Code::from).filter(|code| again(*code)).collect();
        let expected = [
            Code::Cancelled,
            Code::DeadlineExceeded,
            Code::Aborted,
            Code::OutOfRange,
            Code::Unavailable,
            Code::DataLoss,
        ];
        assert_eq!(codes, expected);
    }

    #[test]
    fn an_exhausted_receiver_is_tried_again_only_if_it_says_when() {
        let type_url = "type.googleapis.com/google.rpc.RetryInfo".to_owned();
        let info = prost_types::Any { type_url, value: Vec::new() };
        let details = RpcStatus { details: vec![info], ..RpcStatus::default() }.encode_to_vec();
        let status = Status::with_details(Code::ResourceExhausted, "later", details.into());
        let message = "ResourceExhausted: later".to_owned();
        let after = Some(std::time::Duration::ZERO);
        assert_eq!(failed(&status), Outcome::Again { cause: Cause::Busy, message, after });
    }
}
