//! `dropsonde explain`: asks a running host where a value comes from.

use std::process::ExitCode;

use clap::Args as ClapArgs;
use serde_json::Value as Json;

use super::ask::{patiently, put, put_json};
use super::{Target, fail};
use crate::rpc::client::Client;
use crate::rpc::proto::ExplainRequest;
use crate::text::plain;

#[derive(ClapArgs)]
pub(super) struct Args {
    /// `network.interfaces.bytes_recv`, a whole stream, or a name of the Prometheus page.
    name: String,
    #[command(flatten)]
    target: Target,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

pub(super) fn explain(args: &Args) -> ExitCode {
    args.target.ask(async |client: Client| {
        let request = ExplainRequest { name: args.name.clone() };
        let reply = patiently(&args.name, client.rpc().explain(request)).await?.into_inner();
        let found: Json = serde_json::from_str(&reply.json)
            .map_err(|error| fail(1, format_args!("the agent's answer: {error}")))?;
        if args.json {
            return put_json(&found);
        }
        put(&found.as_array().into_iter().flatten().map(explained).collect::<String>())
    })
}

/// Lines for people.
#[derive(Default)]
struct Lines(String);

impl Lines {
    fn heading(&mut self, text: &str) {
        self.0 += &plain(text);
        self.0.push('\n');
    }

    fn line(&mut self, name: &str, value: String) {
        self.heading(&format!("  {name:<14} {value}"));
    }
}

fn explained(stream: &Json) -> String {
    let mut lines = Lines::default();
    let text = |json: &Json| match json {
        Json::Null => "-".to_owned(),
        Json::String(text) => text.clone(),
        other => other.to_string(),
    };
    for column in stream["columns"].as_array().into_iter().flatten() {
        let unit = text(&column["unit"]);
        lines.heading(&format!("{}.{} [{unit}]", text(&stream["stream"]), text(&column["name"])));
        lines.line("means", text(&column["description"]));
        if column["derived_by_the_host"] == true {
            lines.line("derived", "by the host, of what the plugin counts".into());
        }
        if !column["prometheus"].is_null() {
            lines.line("in /metrics", text(&column["prometheus"]));
        }
        if column["rows_without_a_value"].as_u64() > Some(0) {
            lines.line("missing", format!("in {} rows", column["rows_without_a_value"]));
        }
    }
    samples(stream, &mut lines);
    lines.heading(&format!("stream {}: {}", text(&stream["topic"]), text(&stream["description"])));
    let (plugin, collector) = (&stream["plugin"], &stream["collector"]);
    lines.line(
        "plugin",
        format!("{} {} {}", text(&plugin["name"]), text(&plugin["version"]), text(&plugin["file"])),
    );
    lines.line(
        "collector",
        format!(
            "{}, {}, in a {}, every {} s; {} restarts, {} late ticks, {} rows left out",
            text(&collector["name"]),
            text(&collector["phase"]),
            text(&collector["isolation"]),
            text(&collector["interval_seconds"]),
            text(&collector["restarts"]),
            text(&collector["missed_ticks"]),
            text(&collector["rows_left_out"]),
        ),
    );
    if let Some(interval) = collector["paced"]["interval_seconds"].as_f64() {
        let left = collector["paced"]["remaining_seconds"].as_f64();
        let left =
            left.map_or("until the agent ends".into(), |left| format!("for {left:.0} s more"));
        lines.line("paced", format!("each {interval} s by request, {left}"));
    }
    if let Some(error) = collector["last_error"].as_str() {
        lines.line("last error", error.to_owned());
    }
    let read = &stream["last_read"];
    match read["age_seconds"].as_f64() {
        Some(age) => lines.line(
            "last read",
            format!(
                "{} ({age:.1} s ago), number {} of generation {}, {} rows",
                text(&read["time"]),
                text(&read["sequence"]),
                text(&read["generation"]),
                text(&read["rows"])
            ),
        ),
        None => lines.line("last read", "none yet".into()),
    }
    if let Some(demand) = stream["demand_seconds"].as_f64() {
        lines.line("asked for", format!("each {demand} s, by its fastest subscriber"));
    }
    let counts = &stream["counts"];
    lines.line(
        "so far",
        format!(
            "{} reads, {} records; {} requests had the last batch, {} joined a read",
            text(&counts["batches"]),
            text(&counts["records"]),
            text(&counts["cache_hits"]),
            text(&counts["coalesced"]),
        ),
    );
    let subscriptions = stream["subscriptions"].as_array();
    if subscriptions.is_none_or(Vec::is_empty) {
        lines.line("subscribers", "none; pages take the last batch".into());
    }
    for subscription in subscriptions.into_iter().flatten() {
        lines.line("subscriber", subscriber(subscription));
    }
    lines.0
}

fn samples(stream: &Json, lines: &mut Lines) {
    let samples = stream["samples"].as_array().map(Vec::as_slice).unwrap_or_default();
    for sample in samples {
        let (name, labels) = (&sample["name"], &sample["labels"]);
        let [name, labels, kind] =
            [name, labels, &sample["type"]].map(|json| json.as_str().unwrap_or("-"));
        let value =
            sample["value"].as_f64().map_or("no value".to_owned(), |value| value.to_string());
        lines.heading(&format!("{name}{{{labels}}} {value} [{kind}]"));
    }
    let all = stream["samples_in_all"].as_u64().unwrap_or_default();
    if all > samples.len() as u64 {
        lines.heading(&format!("and {} more samples", all - samples.len() as u64));
    }
}

fn subscriber(subscription: &Json) -> String {
    let mut words = subscription["name"].as_str().unwrap_or("-").to_owned();
    if let Some(interval) = subscription["interval_seconds"].as_f64() {
        words += &format!(" each {interval} s");
    }
    if let Some(filter) = subscription["filter"].as_str() {
        words += &format!(" where {filter}");
    }
    if let Some(sample) = subscription["sample"].as_u64() {
        words += &format!(", one in {sample} events");
    }
    let lost: Vec<String> = subscription["lost"]
        .as_object()
        .into_iter()
        .flatten()
        .filter(|(_, count)| count.as_u64() > Some(0))
        .map(|(cause, count)| format!("{count} by {cause}"))
        .collect();
    let lost = if lost.is_empty() { "0".to_owned() } else { lost.join(", ") };
    let (delivered, waiting) = (&subscription["delivered"], &subscription["waiting"]);
    format!("{words}: {delivered} delivered, {lost} lost, {waiting} waiting")
}
