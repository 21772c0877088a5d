//! Sinks hand batches to the outside. None of them knows a plugin: everything is derived from
//! schema and batch.

pub(crate) mod connections;
pub(crate) mod explain;
pub(crate) mod follow;
mod graph;
pub(crate) mod http;
pub(crate) mod json;
mod listener;
pub(crate) mod prometheus;

pub(crate) use listener::Listener;
