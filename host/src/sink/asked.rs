//! What a client asks for: the parameters of `/api/v1/stream` and `/ws`, and of a message over a
//! WebSocket.

use dropsonde_plugin_api::schema::ValueType;
use serde::Deserialize;
use thiserror::Error;

use super::feed::{self, Feed};
use crate::bus::{Bus, Filter, Overflow, Subscribe};
use crate::config::suggestion;
use crate::model::StreamInfo;
use crate::schedule::MIN_INTERVAL;

/// What a client may ask for. All of it may be left out.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Asked {
    /// Patterns, with commas between them; without it, all streams.
    topic: Option<String>,
    /// One batch of a stream per interval.
    every: Option<String>,
    /// A predicate.
    r#where: Option<String>,
    /// One in so many events.
    sample: Option<u64>,
    /// So many records are sent together, if they come in time.
    gather: Option<usize>,
    /// How long the first of them waits for the others.
    within: Option<String>,
    /// `drop-oldest` or `latest`; without it, what is usual with the kind of client.
    overflow: Option<String>,
    /// How many batches wait under `drop-oldest`.
    room: Option<usize>,
    /// What the subscription is called in the counts of what it lost.
    name: Option<String>,
    /// It ends after so many batches.
    limit: Option<u64>,
}

/// What holds for a kind of client where it does not say otherwise.
pub(super) struct Usual {
    /// What its subscriptions are called.
    pub(super) name: &'static str,
    /// `drop-oldest` or `latest`.
    pub(super) overflow: &'static str,
}

/// Why a client gets nothing.
#[derive(Debug, Error)]
pub(crate) enum AskedError {
    /// What it asks for can't be read.
    #[error("{0}")]
    Wrong(String),
    /// There is no such stream.
    #[error("{0}")]
    Unknown(String),
    /// Others have asked for so much that there is no room.
    #[error("{0}")]
    Busy(String),
}

fn wrong(error: impl std::fmt::Display) -> AskedError {
    AskedError::Wrong(error.to_string())
}

/// Batches that may wait for a client.
pub(crate) const MAX_ROOM: usize = 65_536;
const MAX_NAME: usize = 64;
/// How long events wait for others, if a client asks that they do and does not say how long.
const WITHIN: &str = "1s";

impl Asked {
    /// Subscribes a client; one that asks for what can't be is told why, and nothing changes.
    pub(super) fn feed(&self, bus: &Bus, usual: &Usual) -> Result<Feed, AskedError> {
        let request = self.request(usual)?;
        exists(bus, &request)?;
        let room = Feed::room_for(&request).ok_or_else(|| {
            AskedError::Busy(format!(
                "where: the predicates of all clients have at most {} bytes together; ask again \
                 when others have left, or leave records out at your end",
                feed::PREDICATES
            ))
        })?;
        Ok(Feed::new(bus, request, room, self.limit.unwrap_or(u64::MAX)))
    }

    fn request(&self, usual: &Usual) -> Result<Subscribe, AskedError> {
        let duration = |name: &str, text: &str| {
            let parsed = humantime::parse_duration(text);
            parsed.map_err(|error| wrong(format!("{name}: {error}; write such as 500ms or 2s")))
        };
        let mut patterns = self.topic.as_deref().unwrap_or(">").split(',');
        let first = patterns.next().unwrap_or_default();
        let mut request = Subscribe::to(first).map_err(|error| wrong(format!("topic: {error}")))?;
        for pattern in patterns {
            request = request.and(pattern).map_err(|error| wrong(format!("topic: {error}")))?;
        }
        let name = self.name.as_deref().unwrap_or(usual.name);
        request = request.named(self::name(name).map_err(wrong)?);
        if let Some(every) = &self.every {
            let every = duration("every", every)?;
            if every < MIN_INTERVAL {
                let least = humantime::format_duration(MIN_INTERVAL);
                return Err(wrong(format!("every: the shortest interval is {least}")));
            }
            request = request.every(every);
        }
        if let Some(predicate) = &self.r#where {
            request =
                request.filter(predicate).map_err(|error| wrong(format!("where: {error}")))?;
        }
        match self.sample {
            Some(0) => return Err(wrong("sample: one in 0 events is none; 1 is all of them")),
            Some(one_in) => request = request.sample(one_in),
            None => {}
        }
        match (self.gather, &self.within) {
            (Some(records), within) => {
                let within = duration("within", within.as_deref().unwrap_or(WITHIN))?;
                request = request.gather(records, within);
            }
            (None, Some(_)) => return Err(wrong("within goes with gather")),
            (None, None) => {}
        }
        let room = self.room.unwrap_or(1024);
        if room == 0 || room > MAX_ROOM {
            return Err(wrong(format!("room: between 1 and {MAX_ROOM} batches")));
        }
        let overflow = match self.overflow.as_deref().unwrap_or(usual.overflow) {
            "drop-oldest" => Overflow::DropOldest(room),
            "latest" if self.room.is_some() => {
                return Err(wrong(
                    "room goes with drop-oldest; of latest, one of each stream waits",
                ));
            }
            "latest" => Overflow::Latest,
            "block" => {
                return Err(wrong(
                    "overflow: a client of the HTTP API can't hold collectors up; \
                     use drop-oldest or latest",
                ));
            }
            other => {
                return Err(wrong(format!("overflow: `{other}` is not drop-oldest or latest")));
            }
        };
        Ok(request.overflow(overflow))
    }
}

/// What a client wants to be called.
pub(crate) fn name(name: &str) -> Result<&str, String> {
    if name.is_empty() || name.chars().count() > MAX_NAME || name.contains(char::is_control) {
        return Err(format!("name: it has between 1 and {MAX_NAME} characters, none of control"));
    }
    Ok(name)
}

/// A topic without wildcards must be there, and of the streams that are asked for, one must have
/// all columns of the predicate: a slip of the pen would otherwise wait for ever.
pub(crate) fn exists(bus: &Bus, request: &Subscribe) -> Result<(), AskedError> {
    let streams = bus.streams();
    for pattern in request.patterns().iter().filter(|pattern| !pattern.is_wild()) {
        if !streams.iter().any(|stream| pattern.matches(&stream.topic)) {
            let topic = pattern.to_string();
            let known: Vec<_> = streams.iter().map(|stream| stream.topic.as_str()).collect();
            let hint = suggestion(&topic, &known);
            return Err(AskedError::Unknown(format!("there is no stream `{topic}`; {hint}")));
        }
    }
    let Some(filter) = request.predicate() else { return Ok(()) };
    let asked_for = |stream: &StreamInfo| {
        request.patterns().iter().any(|pattern| pattern.matches(&stream.topic))
    };
    let asked_for: Vec<_> = streams.iter().filter(|stream| asked_for(stream)).collect();
    let complaints: Vec<_> =
        asked_for.iter().map_while(|stream| complaint(filter, stream)).collect();
    match complaints.first() {
        // Of several streams it is enough that one can answer.
        Some(first) if complaints.len() == asked_for.len() => Err(wrong(format!("where: {first}"))),
        _ => Ok(()),
    }
}

/// Why no record of a stream could ever pass.
pub(crate) fn complaint(filter: &Filter, stream: &StreamInfo) -> Option<String> {
    let lacking = filter.columns().into_iter().find(|column| stream.column(column).is_none());
    if let Some(column) = lacking {
        let columns = stream.schema.columns.iter();
        let known: Vec<_> = columns.map(|column| column.name.as_str()).collect();
        let hint = suggestion(column, &known);
        return Some(format!("`{}` has no column `{column}`; {hint}", stream.topic));
    }
    let (column, literal) = filter.mismatch(stream)?;
    let is = match column.value {
        ValueType::Text | ValueType::TextList => "text",
        ValueType::Bool => "true or false",
        _ => "a number",
    };
    let of = &stream.topic;
    Some(format!("`{}` of `{of}` is {is}, and is compared with {literal}", column.name))
}
