//! Sinks hand batches to the outside. None of them knows a plugin: everything is derived from
//! schema and batch.

pub(crate) mod asked;
pub(crate) mod connections;
mod dashboard;
pub(crate) mod explain;
mod feed;
mod follow;
mod graph;
mod guard;
mod history;
pub(crate) mod http;
pub(crate) mod json;
mod listener;
pub(crate) mod otlp;
pub(crate) mod prometheus;
mod samples;
mod scrape;
mod steer;
mod web_socket;

pub(crate) use guard::Guard;
pub(crate) use listener::Listener;
