//! The HTTP API: JSON for programs, a page for Prometheus.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router, middleware};
use serde::Deserialize;
use serde_json::json;

use super::asked::{self, AskedError};
use super::connections::Protocol;
use super::{
    Guard, Listener, connections, dashboard, explain as explain_sink, follow, graph as graph_sink,
    guard, history, json as json_sink, scrape, steer, web_socket,
};
use crate::clock;
use crate::control::Host;

/// Serves until `ended` resolves; open requests are answered first.
pub(crate) async fn serve(
    listener: Listener,
    host: Host,
    guard: Arc<Guard>,
    ended: impl Future<Output = ()> + Send + 'static,
) {
    connections::serve(listener, Protocol::Http, router(host, guard), ended).await;
}

fn router(host: Host, guard: Arc<Guard>) -> Router {
    Router::new()
        .route("/api/v1/snapshot", get(snapshot))
        .route("/api/v1/plugins", get(plugins))
        .route("/api/v1/collectors", get(collectors))
        .route("/api/v1/streams", get(streams))
        .route("/api/v1/status", get(status))
        .route("/api/v1/explain", get(explain))
        .route("/api/v1/stream", get(stream))
        .route("/api/v1/history", get(history::history))
        .route("/api/v1/{collector}", get(graph))
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .fallback(not_found)
        .with_state(host.clone())
        .merge(dashboard::router(guard.clone()))
        .merge(steer::router(host.clone(), guard.clone()))
        .merge(scrape::router(host.clone()))
        .merge(web_socket::router(host))
        .layer(middleware::from_fn_with_state(guard, guard::host))
}

/// Longest that a request for fresh values waits for a collector; after that it gets the last.
const PATIENCE: Duration = Duration::from_secs(2);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Freshness {
    /// `500ms`; without it, what the collectors' own intervals give.
    max_age: Option<String>,
}

type Asked = Result<Query<Freshness>, QueryRejection>;

fn max_age(asked: Asked) -> Result<Option<Duration>, String> {
    let Query(freshness) = asked.map_err(|error| error.body_text())?;
    let parsed = freshness.max_age.as_deref().map(humantime::parse_duration).transpose();
    parsed.map_err(|error| format!("max_age: {error}; write a duration such as 500ms or 2s"))
}

async fn snapshot(State(host): State<Host>, asked: Asked) -> Response {
    let max_age = match max_age(asked) {
        Ok(max_age) => max_age,
        Err(message) => return failed(StatusCode::BAD_REQUEST, &message),
    };
    let batches = match max_age {
        Some(max_age) => host.snapshot(max_age, PATIENCE).await,
        None => host.latest(),
    };
    Json(json_sink::snapshot(&batches, clock::wall())).into_response()
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Name {
    of: String,
}

async fn explain(State(host): State<Host>, asked: Result<Query<Name>, QueryRejection>) -> Response {
    match asked {
        Ok(Query(name)) => {
            Json(explain_sink::explain(&host, &name.of, clock::monotonic())).into_response()
        }
        Err(error) => {
            let text = format!("{}; write ?of=network.interfaces.bytes_recv", error.body_text());
            failed(StatusCode::BAD_REQUEST, &text)
        }
    }
}

/// Batches as they come.
async fn stream(
    State(host): State<Host>,
    asked: Result<Query<asked::Asked>, QueryRejection>,
) -> Response {
    let asked = match asked {
        Ok(Query(asked)) => asked,
        Err(error) => return failed(StatusCode::BAD_REQUEST, &error.body_text()),
    };
    match follow::follow(&host, &asked) {
        Ok(body) => ([(header::CONTENT_TYPE, "application/x-ndjson")], body).into_response(),
        Err(error) => refused(&error),
    }
}

/// The graph of a collector whose streams have the shape of one. A collector that is called as
/// another page can't be asked for.
async fn graph(State(host): State<Host>, Path(collector): Path<String>, asked: Asked) -> Response {
    let max_age = match max_age(asked) {
        Ok(max_age) => max_age,
        Err(message) => return failed(StatusCode::BAD_REQUEST, &message),
    };
    let mut streams = host.bus().streams();
    streams.retain(|stream| *stream.collector == *collector);
    if streams.is_empty() && !host.status().collectors.iter().any(|known| known.name == collector) {
        return not_found().await;
    }
    if !streams.is_empty() && !streams.iter().any(|stream| graph_sink::is_graph(stream)) {
        let text = format!(
            "the collector `{collector}` has no graph: none of its streams has the key `id` and \
             the list `parents`; its values are in /api/v1/snapshot"
        );
        return failed(StatusCode::NOT_FOUND, &text);
    }
    let batches = host.of_collector(&collector, max_age, PATIENCE).await;
    match graph_sink::graph(&batches, clock::monotonic()) {
        Some(graph) => Json(graph).into_response(),
        None => {
            let text = format!(
                "the collector `{collector}` has not delivered its graph yet; /api/v1/collectors \
                 has its last error"
            );
            failed(StatusCode::SERVICE_UNAVAILABLE, &text)
        }
    }
}

async fn plugins(State(host): State<Host>) -> Response {
    Json(host.status().plugins).into_response()
}

async fn collectors(State(host): State<Host>) -> Response {
    Json(host.status().collectors).into_response()
}

async fn status(State(host): State<Host>) -> Response {
    Json(host.status()).into_response()
}

async fn streams(State(host): State<Host>) -> Response {
    let streams: Vec<_> = host
        .bus()
        .streams()
        .iter()
        .map(|stream| {
            json!({
                "topic": stream.topic,
                "name": stream.name,
                "collector": *stream.collector,
                "plugin": *stream.plugin,
                "kind": stream.schema.kind,
                "description": stream.schema.description,
                "columns": stream.schema.columns,
            })
        })
        .collect();
    Json(streams).into_response()
}

/// The process is there and serves.
async fn healthz() -> &'static str {
    "ok\n"
}

/// Every required collector delivers, and on time.
async fn readyz(State(host): State<Host>) -> Response {
    let status = host.status();
    let required: Vec<_> =
        status.collectors.iter().filter(|collector| collector.required).collect();
    let ready = required.iter().all(|collector| collector.ready);
    let collectors: Vec<_> = required
        .into_iter()
        .map(|collector| {
            json!({
                "collector": collector.name,
                "ready": collector.ready,
                "status": collector.status,
                "phase": collector.phase,
                "reason": collector.reason,
            })
        })
        .collect();
    let code = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (code, Json(json!({ "ready": ready, "collectors": collectors }))).into_response()
}

async fn not_found() -> Response {
    failed(
        StatusCode::NOT_FOUND,
        "no such page; there are /, /metrics, /api/v1/snapshot, /api/v1/plugins, /api/v1/collectors, /api/v1/streams, /api/v1/stream, /ws, /api/v1/history, /api/v1/status, /api/v1/explain, /healthz and /readyz, and /api/v1/COLLECTOR for a collector that has a graph",
    )
}

/// What a client asks for can't be had.
pub(super) fn refused(error: &AskedError) -> Response {
    let code = match error {
        AskedError::Wrong(_) => StatusCode::BAD_REQUEST,
        AskedError::Unknown(_) => StatusCode::NOT_FOUND,
        AskedError::Busy(_) => StatusCode::SERVICE_UNAVAILABLE,
    };
    failed(code, &error.to_string())
}

pub(super) fn failed(code: StatusCode, message: &str) -> Response {
    (code, Json(json!({ "error": message }))).into_response()
}
