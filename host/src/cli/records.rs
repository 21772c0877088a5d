//! `dropsonde tap`, `get` and `snapshot`: records, as they come or as they are.

use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use clap::{Args, ValueEnum};

use super::ask::{Ended, patiently, put, refused, told_away, told_back};
use super::describe::PREFIXES;
use super::{Target, complain, table};
use crate::rpc::client::{Client, Event};
use crate::rpc::proto::{self, ListStreamsRequest, SubscribeRequest};
use crate::sink::json;

#[derive(Args)]
pub(super) struct TapArgs {
    /// Topics: `*` is one token, `>` the rest; quote it. `metrics.network.>`, `events.>`,
    /// `health.*`.
    #[arg(default_value = ">")]
    topics: Vec<String>,
    /// One batch of each `metrics.*` stream per interval; that often it is read, if it is not
    /// anyway.
    #[arg(long, value_name = "TIME", value_parser = super::span)]
    every: Option<Duration>,
    /// Records for which a predicate is true: `interface != 'lo' and bytes_recv_per_sec > 1e6`.
    #[arg(long = "where", value_name = "PREDICATE")]
    filter: Option<String>,
    /// What is lost if this client is slow.
    #[arg(long, value_enum, default_value_t = Overflow::DropOldest)]
    overflow: Overflow,
    /// Batches that wait under drop-oldest [default: 1024].
    #[arg(long, value_name = "BATCHES", value_parser = clap::value_parser!(u32).range(1..=65_536))]
    room: Option<u32>,
    /// One in so many events.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    sample: Option<u64>,
    /// Ends after so many batches.
    #[arg(long, value_name = "BATCHES", value_parser = clap::value_parser!(u64).range(1..))]
    limit: Option<u64>,
    #[command(flatten)]
    target: Target,
    /// Print a line of JSON for each batch.
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum Overflow {
    /// The oldest that wait.
    DropOldest,
    /// All but the newest of each stream.
    Latest,
}

#[derive(Args)]
pub(super) struct GetArgs {
    /// `network.interfaces`, or its topic.
    stream: String,
    /// Read it anew if it is older than that.
    #[arg(long, value_name = "TIME", value_parser = super::span)]
    max_age: Option<Duration>,
    #[command(flatten)]
    target: Target,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
pub(super) struct SnapshotArgs {
    /// Read anew what is older than that.
    #[arg(long, value_name = "TIME", value_parser = super::span)]
    max_age: Option<Duration>,
    #[command(flatten)]
    target: Target,
}

pub(super) fn tap(args: &TapArgs) -> ExitCode {
    args.target.ask(|client| follow(client, args))
}

impl TapArgs {
    fn request(&self) -> SubscribeRequest {
        let overflow = match self.overflow {
            Overflow::DropOldest => proto::Overflow::DropOldest,
            Overflow::Latest => proto::Overflow::Latest,
        };
        SubscribeRequest {
            topics: self.topics.clone(),
            interval: self.every.and_then(|every| every.try_into().ok()),
            filter: self.filter.clone().unwrap_or_default(),
            overflow: overflow.into(),
            room: self.room.unwrap_or_default(),
            sample: self.sample.unwrap_or_default(),
            name: "tap".to_owned(),
            limit: self.limit.unwrap_or_default(),
        }
    }
}

async fn follow(client: Client, args: &TapArgs) -> Ended {
    for topic in args.topics.iter().filter(|topic| topic.contains(['*', '>'])) {
        let request = ListStreamsRequest { topic: topic.clone() };
        // What can't be read is refused below.
        let streams = client.rpc().list_streams(request).await.map(tonic::Response::into_inner);
        if streams.is_ok_and(|reply| reply.streams.is_empty()) {
            complain(format_args!("dropsonde: nothing matches `{topic}` yet; {PREFIXES}"));
        }
    }
    let mut following = client.follow(args.request());
    while let Some(event) = following.next().await.map_err(refused)? {
        match event {
            Event::Batch(batch) if args.json => put(&format!("{}\n", batch.json()))?,
            Event::Batch(batch) => {
                let at = json::timestamp(batch.wall);
                put(&format!("{at} {}\n{}\n", batch.stream.topic, table::batch(&batch)))?;
            }
            Event::Lost(lost) => {
                let lost = lost.overflow + lost.replaced + lost.deadline + lost.bus;
                complain(format_args!("dropsonde: too slow: {lost} batches were lost"));
            }
            Event::Away { reason, retry_in } => told_away(&reason, retry_in),
            Event::Back => told_back(),
        }
    }
    Ok(())
}

pub(super) fn get(args: &GetArgs) -> ExitCode {
    args.target.ask(async |client: Client| {
        let batch = patiently(&args.stream, client.get(&args.stream, args.max_age)).await?;
        if args.json {
            return put(&format!("{}\n", batch.json()));
        }
        put(&table::batch(&batch))
    })
}

pub(super) fn snapshot(args: &SnapshotArgs) -> ExitCode {
    args.target.ask(async |client: Client| {
        let batches = patiently("all streams", client.snapshot(args.max_age)).await?;
        let newest = batches.iter().map(|batch| batch.wall).max();
        let at = newest.unwrap_or(SystemTime::UNIX_EPOCH);
        put(&format!("{}\n", json::snapshot(&batches, at)))
    })
}
