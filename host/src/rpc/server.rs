//! What the agent answers on its control socket.

use std::pin::Pin;
use std::time::Duration;

use futures_util::Stream;
use tonic::service::Routes;
use tonic::{Request, Response, Status};
use tonic_health::server::health_reporter;

use super::proto::control_server::{Control, ControlServer};
use super::{convert, proto, query, streams};
use crate::bus::Pattern;
use crate::clock;
use crate::config::suggestion;
use crate::control::{Host, ReloadOutcome, SteerError};
use crate::sink::connections::{self, Protocol};
use crate::sink::{Listener, explain};

/// Longest that a snapshot waits for a collector; after that it has the last batch.
const PATIENCE: Duration = Duration::from_secs(2);

type Answer<T> = Result<Response<T>, Status>;
type Stream_<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// Serves until `ended` resolves; requests that are under way are answered first.
pub(crate) async fn serve(
    listener: Listener,
    host: Host,
    ended: impl Future<Output = ()> + Send + 'static,
) {
    let (health, health_service) = health_reporter();
    health.set_serving::<ControlServer<Server>>().await;
    let control = ControlServer::new(Server { host }).max_decoding_message_size(LARGEST_REQUEST);
    let mut routes = Routes::new(control).add_service(health_service);
    let described = || {
        tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(proto::DESCRIPTORS)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
    };
    // Clients ask for one or the other version.
    match (described().build_v1(), described().build_v1alpha()) {
        (Ok(v1), Ok(v1alpha)) => routes = routes.add_service(v1).add_service(v1alpha),
        (Err(error), _) | (_, Err(error)) => tracing::error!("no reflection: {error}"),
    }
    let router = routes.prepare().into_axum_router();
    connections::serve(listener, Protocol::Grpc, router, ended).await;
}

struct Server {
    host: Host,
}

fn steered(error: SteerError) -> Status {
    let text = error.to_string();
    match error {
        SteerError::Unknown { .. } => Status::not_found(text),
        SteerError::Absent { .. } | SteerError::Disabled(_) | SteerError::NoRounds(_) => {
            Status::failed_precondition(text)
        }
        SteerError::TooShort => Status::invalid_argument(text),
        SteerError::Ended => Status::unavailable(text),
    }
}

fn asked(from: Option<prost_types::Duration>, name: &str) -> Result<Option<Duration>, Status> {
    from.map(|from| convert::duration(from, name)).transpose().map_err(Status::invalid_argument)
}

/// Longest name that is looked for, in bytes.
const LONGEST_NAME: usize = 512;
/// Largest request, in bytes: SQL may have 64 KiB.
const LARGEST_REQUEST: usize = 128 << 10;

fn name<'a>(given: &'a str, field: &str) -> Result<&'a str, Status> {
    if given.len() <= LONGEST_NAME {
        return Ok(given);
    }
    let text = format!("{field}: it has {} bytes; a name has {LONGEST_NAME} at most", given.len());
    Err(Status::invalid_argument(text))
}

impl Server {
    /// The topic of a stream that is asked for by topic or by name.
    fn topic(&self, asked: &str) -> Result<String, Status> {
        let asked = name(asked, "stream")?;
        let found = streams::topic_of(&self.host, asked);
        found.ok_or_else(|| Status::not_found(streams::absent(&self.host, asked)))
    }

    fn knows(&self, collector: &str) -> Result<(), Status> {
        name(collector, "collector")?;
        let collectors = self.host.status().collectors;
        if collectors.iter().any(|known| known.name == collector) {
            return Ok(());
        }
        let known: Vec<&str> = collectors.iter().map(|known| known.name.as_str()).collect();
        let hint = suggestion(collector, &known);
        Err(Status::not_found(format!("there is no collector `{collector}`; {hint}")))
    }
}

#[tonic::async_trait]
impl Control for Server {
    type SubscribeStream = Stream_<proto::SubscribeReply>;
    type QueryStream = Stream_<proto::QueryReply>;
    type TailLogStream = Stream_<proto::LogLine>;

    async fn get_status(&self, _: Request<proto::GetStatusRequest>) -> Answer<proto::Status> {
        Ok(Response::new(convert::status(&self.host.status(), clock::wall())))
    }

    async fn list_streams(
        &self,
        request: Request<proto::ListStreamsRequest>,
    ) -> Answer<proto::ListStreamsReply> {
        let asked = request.into_inner().topic;
        name(&asked, "topic")?;
        let mut streams = self.host.bus().streams();
        if !asked.is_empty() {
            let pattern: Pattern = asked
                .parse()
                .map_err(|error| Status::invalid_argument(format!("topic: {error}")))?;
            if pattern.is_wild() {
                streams.retain(|stream| pattern.matches(&stream.topic));
            } else {
                let topic = self.topic(&asked)?;
                streams.retain(|stream| stream.topic == topic);
            }
        }
        let streams = streams.iter().map(|stream| convert::stream(stream)).collect();
        Ok(Response::new(proto::ListStreamsReply { streams }))
    }

    async fn subscribe(
        &self,
        request: Request<proto::SubscribeRequest>,
    ) -> Answer<Self::SubscribeStream> {
        let asked = request.into_inner();
        let request = streams::subscription(&self.host, &asked)?;
        let batches = self.host.subscribe(request);
        Ok(Response::new(Box::pin(streams::batches(self.host.clone(), batches, asked.limit))))
    }

    async fn get(&self, request: Request<proto::GetRequest>) -> Answer<proto::Batch> {
        let request = request.into_inner();
        let max_age = asked(request.max_age, "max_age")?;
        let topic = self.topic(&request.stream)?;
        // However old: a read is made only where there is none at all.
        let batch = self.host.get(&topic, max_age.unwrap_or(Duration::MAX)).await;
        let batch = batch.map_err(|failure| {
            Status::failed_precondition(format!("`{topic}` could not be read: {failure}"))
        })?;
        Ok(Response::new(convert::batch(&batch)))
    }

    async fn snapshot(
        &self,
        request: Request<proto::SnapshotRequest>,
    ) -> Answer<proto::SnapshotReply> {
        let batches = match asked(request.into_inner().max_age, "max_age")? {
            Some(max_age) => self.host.snapshot(max_age, PATIENCE).await,
            None => self.host.latest(),
        };
        let batches = batches.iter().map(|batch| convert::batch(batch)).collect();
        Ok(Response::new(proto::SnapshotReply { batches, timestamp: streams::now(clock::wall()) }))
    }

    async fn explain(
        &self,
        request: Request<proto::ExplainRequest>,
    ) -> Answer<proto::ExplainReply> {
        let asked = request.into_inner().name;
        name(&asked, "name")?;
        let found = explain::explain(&self.host, &asked, clock::monotonic());
        if found.is_empty() {
            let why = streams::absent(&self.host, &asked);
            let text = format!("nothing is called `{asked}`; {why}");
            return Err(Status::not_found(text));
        }
        let json = serde_json::Value::from(found).to_string();
        Ok(Response::new(proto::ExplainReply { json }))
    }

    async fn query(&self, request: Request<proto::QueryRequest>) -> Answer<Self::QueryStream> {
        let asked = query::asked(request.into_inner()).map_err(Status::invalid_argument)?;
        let rows = self.host.query(asked).await.map_err(query::refused)?;
        Ok(Response::new(Box::pin(query::answer(self.host.clone(), rows))))
    }

    async fn restart(
        &self,
        request: Request<proto::RestartRequest>,
    ) -> Answer<proto::RestartReply> {
        self.host
            .restart(name(&request.into_inner().collector, "collector")?)
            .await
            .map_err(steered)?;
        Ok(Response::new(proto::RestartReply {}))
    }

    async fn set_enabled(
        &self,
        request: Request<proto::SetEnabledRequest>,
    ) -> Answer<proto::SetEnabledReply> {
        let proto::SetEnabledRequest { collector, enabled } = request.into_inner();
        name(&collector, "collector")?;
        let changed = self.host.set_enabled(&collector, enabled).await.map_err(steered)?;
        Ok(Response::new(proto::SetEnabledReply { changed }))
    }

    async fn set_interval(
        &self,
        request: Request<proto::SetIntervalRequest>,
    ) -> Answer<proto::SetIntervalReply> {
        let proto::SetIntervalRequest { collector, interval, lasting } = request.into_inner();
        let (interval, lasting) = (asked(interval, "interval")?, asked(lasting, "lasting")?);
        if interval.is_none() && lasting.is_some() {
            return Err(Status::invalid_argument("lasting goes with interval"));
        }
        name(&collector, "collector")?;
        self.host.set_interval(&collector, interval, lasting).await.map_err(steered)?;
        Ok(Response::new(proto::SetIntervalReply {}))
    }

    async fn reload(&self, _: Request<proto::ReloadRequest>) -> Answer<proto::ReloadReply> {
        let none = proto::ReloadReply::default();
        match self.host.reload().await {
            Some(ReloadOutcome::Unchanged) => {
                Ok(Response::new(proto::ReloadReply { unchanged: true, ..none }))
            }
            Some(ReloadOutcome::Applied { collectors, needs_restart }) => {
                let needs_restart = needs_restart.into_iter().map(str::to_owned).collect();
                Ok(Response::new(proto::ReloadReply { collectors, needs_restart, ..none }))
            }
            Some(ReloadOutcome::Rejected(errors)) => {
                Err(Status::failed_precondition(errors.to_string()))
            }
            None => Err(steered(SteerError::Ended)),
        }
    }

    async fn tail_log(
        &self,
        request: Request<proto::TailLogRequest>,
    ) -> Answer<Self::TailLogStream> {
        let proto::TailLogRequest { collector, lines, no_follow } = request.into_inner();
        self.knows(&collector)?;
        let (last, live) = self.host.follow_log(&collector, lines as usize);
        let live = (!no_follow).then_some(live);
        Ok(Response::new(Box::pin(streams::log(self.host.clone(), last, live))))
    }
}
