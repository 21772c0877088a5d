//! The control interface: gRPC over a Unix socket. Server and client of
//! `proto/dropsonde/v1/control.proto`.

pub mod client;
mod convert;
mod from_proto;
mod query;
mod server;
mod streams;

pub(crate) use server::serve;

/// The messages and services, as generated.
#[allow(missing_docs, clippy::all, unreachable_pub)] // generated
pub mod proto {
    tonic::include_proto!("dropsonde.v1");

    /// What they look like, for reflection.
    pub(super) const DESCRIPTORS: &[u8] =
        include_bytes!(concat!(env!("OUT_DIR"), "/control.descriptors"));
}
