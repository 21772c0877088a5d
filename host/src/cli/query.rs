//! `dropsonde query`: SQL over everything live.

use std::io::{self, IsTerminal, Read};
use std::process::ExitCode;
use std::time::Duration;

use clap::Args as ClapArgs;
use serde_json::{Map, Value as Json};
use tokio::time::MissedTickBehavior;
use tonic::Status;

use super::ask::{Ended, patiently, put};
use super::table::{Table, float};
use super::{Target, complain, fail};
use crate::rpc::client::Client;
use crate::rpc::proto::query_reply::Kind;
use crate::rpc::proto::query_value::Value;
use crate::rpc::proto::{QueryRequest, QueryRow, QueryValue};

/// Shortest time between two answers of --watch.
const SHORTEST: Duration = Duration::from_millis(100);
/// ECMA-48: the cursor to the top left, and nothing on the screen.
const CLEAR: &str = "\x1b[H\x1b[2J";

#[derive(ClapArgs)]
pub(super) struct Args {
    /// One SELECT, as SQLite has it; `-` reads it from standard input. Each snapshot stream is a
    /// table: `select interface, bytes_recv_per_sec from network_interfaces order by 2 desc limit
    /// 5`. `describe` shows streams, tables and columns, and so do the tables dropsonde_streams
    /// and dropsonde_columns; dropsonde_collectors says how the collectors are.
    sql: String,
    /// Ask again each time so long after, until interrupted.
    #[arg(long, value_name = "TIME", value_parser = pause)]
    watch: Option<Duration>,
    /// Read anew what is older than that.
    #[arg(long, value_name = "TIME", value_parser = super::span)]
    max_age: Option<Duration>,
    /// Most rows, up to 1000000 [default: 10000].
    #[arg(long, value_name = "ROWS", value_parser = clap::value_parser!(u64).range(1..))]
    limit: Option<u64>,
    /// Longest that the query may take, up to 60s [default: 5s].
    #[arg(long, value_name = "TIME", value_parser = super::span)]
    timeout: Option<Duration>,
    #[command(flatten)]
    target: Target,
    /// Print a JSON object for each row, one a line.
    #[arg(long)]
    json: bool,
}

fn pause(text: &str) -> Result<Duration, String> {
    let pause = super::span(text)?;
    if pause < SHORTEST { Err("the shortest is 100ms".into()) } else { Ok(pause) }
}

pub(super) fn query(args: &Args) -> ExitCode {
    let sql = match args.sql.as_str() {
        "-" => {
            let mut sql = String::new();
            match io::stdin().read_to_string(&mut sql) {
                Ok(_) => sql,
                Err(error) => return fail(1, format_args!("standard input: {error}")),
            }
        }
        sql => sql.to_owned(),
    };
    let request = QueryRequest {
        sql,
        max_age: args.max_age.and_then(|age| age.try_into().ok()),
        timeout: args.timeout.and_then(|timeout| timeout.try_into().ok()),
        limit: args.limit.unwrap_or_default(),
    };
    args.target.ask(|client| ask(client, args, request))
}

async fn ask(client: Client, args: &Args, request: QueryRequest) -> Ended {
    patiently("the answer", print(&client, args, &request, "")).await??;
    let Some(pause) = args.watch else { return Ok(()) };
    let mut ticks = tokio::time::interval(pause);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks.tick().await; // that was the first answer
    let between = match (io::stdout().is_terminal(), args.json) {
        (_, true) => "",
        (true, false) => CLEAR,
        (false, false) => "\n",
    };
    loop {
        ticks.tick().await;
        match print(&client, args, &request, between).await {
            Ok(printed) => printed?,
            // The SQL was right once: an agent that is restarted, or a table that is not there
            // for a while, is no reason to end.
            Err(status) => {
                complain(format_args!("dropsonde: {}; asking again", status.message()));
            }
        }
    }
}

/// Asks once, and prints the answer: rows of JSON as they come, a table once it is whole.
async fn print(
    client: &Client,
    args: &Args,
    request: &QueryRequest,
    before: &str,
) -> Result<Ended, Status> {
    let mut replies = client.rpc().query(request.clone()).await?.into_inner();
    let (mut answer, mut truncated) = (Answer::default(), false);
    while let Some(reply) = replies.message().await? {
        match reply.kind {
            Some(Kind::Columns(columns)) => answer.columns = columns.names,
            Some(Kind::Rows(rows)) if args.json => {
                if let Err(ended) = put(&answer.lines(rows.rows)) {
                    return Ok(Err(ended));
                }
            }
            Some(Kind::Rows(rows)) => answer.rows.extend(rows.rows),
            Some(Kind::End(end)) => truncated = end.truncated,
            None => {} // of a newer agent
        }
    }
    let put = if args.json { Ok(()) } else { put(&format!("{before}{}", answer.table())) };
    if truncated {
        complain(format_args!("dropsonde: there are more rows than that; --limit gives more"));
    }
    Ok(put)
}

#[derive(Default)]
struct Answer {
    columns: Vec<String>,
    rows: Vec<QueryRow>,
}

impl Answer {
    /// Rows as lines of JSON. A second column of the same name is `name_2`.
    fn lines(&self, rows: Vec<QueryRow>) -> String {
        let names: Vec<String> = self
            .columns
            .iter()
            .enumerate()
            .map(|(index, name)| {
                let before = self.columns.iter().take(index);
                match before.filter(|before| *before == name).count() {
                    0 => name.clone(),
                    count => format!("{name}_{}", count + 1),
                }
            })
            .collect();
        let line = |row: QueryRow| {
            let values = row.values.into_iter().map(json);
            let object: Map<String, Json> = names.iter().cloned().zip(values).collect();
            format!("{}\n", Json::Object(object))
        };
        rows.into_iter().map(line).collect()
    }

    fn table(&self) -> String {
        let is_number = |column: usize| {
            let values = self.rows.iter().filter_map(|row| row.values.get(column));
            let mut values = values.filter_map(|value| value.value.as_ref()).peekable();
            values.peek().is_some()
                && values.all(|value| matches!(value, Value::Integer(_) | Value::Real(_)))
        };
        let head: Vec<String> = self
            .columns
            .iter()
            .enumerate()
            .map(|(index, name)| {
                let mark = if is_number(index) { ">" } else { "" };
                format!("{mark}{}", name.to_uppercase())
            })
            .collect();
        let mut table = Table::new(head.iter().map(String::as_str));
        for row in &self.rows {
            table.row(row.values.iter().map(cell));
        }
        table.render()
    }
}

fn cell(value: &QueryValue) -> String {
    match &value.value {
        None => "-".to_owned(),
        Some(Value::Integer(value)) => value.to_string(),
        Some(Value::Real(value)) => float(*value),
        Some(Value::Text(text)) => text.clone(),
        Some(Value::Blob(bytes)) => format!("x'{}'", hex(bytes)),
    }
}

fn json(value: QueryValue) -> Json {
    match value.value {
        None => Json::Null,
        Some(Value::Integer(value)) => value.into(),
        Some(Value::Real(value)) => value.into(), // infinity becomes null
        Some(Value::Text(text)) => text.into(),
        Some(Value::Blob(bytes)) => hex(&bytes).into(),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
