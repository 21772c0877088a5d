//! `dropsonde describe`: the streams, and what their columns mean.

use std::process::ExitCode;

use clap::Args as ClapArgs;
use serde_json::json;

use super::ask::{Ended, patiently, put, put_json};
use super::table::Table;
use super::{Target, fail};
use crate::rpc::client::Client;
use crate::rpc::proto::{ColumnInfo, ListStreamsRequest, Role, Stream};

/// What topics begin with.
pub(super) const PREFIXES: &str = "topics begin with metrics., events., health. or host.";

#[derive(ClapArgs)]
pub(super) struct Args {
    /// A stream (`network.interfaces`), or a pattern of topics (`metrics.network.>`); without it,
    /// all streams are listed.
    stream: Option<String>,
    #[command(flatten)]
    target: Target,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

pub(super) fn describe(args: &Args) -> ExitCode {
    args.target.ask(|client| ask(client, args))
}

async fn ask(client: Client, args: &Args) -> Ended {
    let topic = args.stream.clone().unwrap_or_default();
    let mut rpc = client.rpc();
    let streams =
        patiently("streams", rpc.list_streams(ListStreamsRequest { topic })).await?.into_inner();
    if streams.streams.is_empty() {
        let what = args.stream.as_deref().unwrap_or(">");
        return Err(fail(1, format_args!("no stream matches `{what}`; {PREFIXES}")));
    }
    if args.json {
        return put_json(&streams.streams.iter().map(as_json).collect());
    }
    if args.stream.is_some() {
        let texts: Vec<String> = streams.streams.iter().map(columns).collect();
        return put(&texts.join("\n"));
    }
    let mut table = Table::new(["STREAM", "KIND", "COLLECTOR", ">COLUMNS", "WHAT"]);
    for stream in &streams.streams {
        let Stream { name, kind, collector, columns, description, .. } = stream;
        let count = columns.len().to_string();
        let first = description.lines().next().unwrap_or_default().to_owned();
        table.row([name.clone(), kind.clone(), collector.clone(), count, first]);
    }
    put(&table.render())
}

fn role(column: &ColumnInfo) -> &'static str {
    match column.role() {
        Role::Key => "key",
        Role::Counter => "counter",
        Role::Gauge => "gauge",
        Role::Attribute => "attribute",
        Role::Unspecified => "-",
    }
}

fn columns(stream: &Stream) -> String {
    let mut table = Table::new(["COLUMN", "ROLE", "TYPE", "UNIT", "WHAT"]);
    for column in &stream.columns {
        let ColumnInfo { name, r#type, unit, description, .. } = column;
        let [name, kind, unit, text] = [name, r#type, unit, description].map(String::clone);
        table.row([name, role(column).to_owned(), kind, unit, text.replace('\n', " ")]);
    }
    let Stream { topic, description, table: in_sql, .. } = stream;
    let in_sql =
        if in_sql.is_empty() { String::new() } else { format!("Its table in SQL is {in_sql}.\n") };
    format!("{topic}: {description}\n{in_sql}{}", table.render())
}

fn as_json(stream: &Stream) -> serde_json::Value {
    let columns: Vec<_> = stream
        .columns
        .iter()
        .map(|column| {
            json!({
                "name": column.name,
                "role": role(column),
                "type": column.r#type,
                "unit": column.unit,
                "description": column.description,
            })
        })
        .collect();
    json!({
        "topic": stream.topic,
        "name": stream.name,
        "collector": stream.collector,
        "plugin": stream.plugin,
        "kind": stream.kind,
        "table": (!stream.table.is_empty()).then_some(&stream.table),
        "description": stream.description,
        "columns": columns,
    })
}
