//! What a client says.

use serde::Deserialize;
use serde_json::{Value as Json, json};

use crate::sink::asked::Asked;

/// What a client wants of its subscriptions.
#[derive(Debug)]
pub(super) enum Wish {
    /// A subscription whose frames have this id.
    Subscribe(u64, Box<Asked>),
    /// The end of one.
    Unsubscribe(u64),
}

/// Why nothing is done.
#[derive(Debug, PartialEq)]
pub(super) struct Complaint {
    /// What it is about, as far as that could be read.
    pub(super) id: Option<u64>,
    pub(super) text: String,
}

impl Complaint {
    pub(super) fn about(id: u64, text: impl Into<String>) -> Self {
        Self { id: Some(id), text: text.into() }
    }

    /// As a frame.
    pub(super) fn frame(&self) -> String {
        match self.id {
            Some(id) => json!({ "error": self.text, "id": id }).to_string(),
            None => json!({ "error": self.text }).to_string(),
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Message {
    subscribe: Option<Asked>,
    unsubscribe: Option<u64>,
    id: Option<u64>,
}

/// What is expected, for those who wrote something else.
const EXPECTED: &str =
    r#"write {"subscribe":{"topic":"metrics.cpu","every":"1s"},"id":1} or {"unsubscribe":1}"#;

/// Reads a message.
pub(super) fn parse(text: &str) -> Result<Wish, Complaint> {
    let message: Message = serde_json::from_str(text).map_err(|error| {
        let tree: Option<Json> = serde_json::from_str(text).ok();
        let id = tree.and_then(|tree| tree.get("id")?.as_u64());
        Complaint { id, text: format!("{error}; {EXPECTED}") }
    })?;
    match message {
        Message { subscribe: Some(asked), unsubscribe: None, id: Some(id) } => {
            Ok(Wish::Subscribe(id, asked.into()))
        }
        Message { subscribe: Some(_), unsubscribe: None, id: None } => {
            let text = "subscribe needs an id, a number that its frames then have".to_owned();
            Err(Complaint { id: None, text })
        }
        Message { subscribe: None, unsubscribe: Some(id), id: None } => Ok(Wish::Unsubscribe(id)),
        Message { id, .. } => Err(Complaint { id, text: EXPECTED.to_owned() }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_subscribes_or_unsubscribes() {
        let text = r#"{"subscribe":{"topic":"metrics.cpu","every":"1s","room":7},"id":3}"#;
        assert!(matches!(parse(text), Ok(Wish::Subscribe(3, _))));
        assert!(matches!(parse(r#"{"subscribe":{},"id":0}"#), Ok(Wish::Subscribe(0, _))));
        assert!(matches!(parse(r#"{"unsubscribe":3}"#), Ok(Wish::Unsubscribe(3))));
    }

    #[test]
    fn another_message_is_told_what_is_wrong_with_it_and_what_is_expected() {
        for (text, id, part) in [
            ("", None, "EOF while parsing"),
            ("subscribe", None, "expected value"),
            ("[]", None, "write {\"subscribe\""),
            ("{}", None, "write {\"subscribe\""),
            (r#"{"id":4}"#, Some(4), "write {\"subscribe\""),
            (r#"{"subscribe":{},"unsubscribe":1}"#, None, "write {\"subscribe\""),
            (r#"{"subscribe":{"topic":"x"}}"#, None, "subscribe needs an id"),
            (r#"{"subscribe":{"topics":"x"},"id":5}"#, Some(5), "unknown field `topics`"),
            (r#"{"subscribe":{"topic":7},"id":5}"#, Some(5), "invalid type: integer `7`"),
            (r#"{"subscribe":"metrics.cpu","id":5}"#, Some(5), "invalid type: string"),
            (r#"{"subscribe":{},"id":-1}"#, None, "invalid value: integer `-1`"),
            (r#"{"subscribe":{},"id":"one"}"#, None, "invalid type: string \"one\""),
            (r#"{"unsubscribe":true}"#, None, "invalid type: boolean `true`"),
            (r#"{"hello":1}"#, None, "unknown field `hello`"),
        ] {
            let complaint = parse(text).unwrap_err();
            assert_eq!(complaint.id, id, "{text}: {}", complaint.text);
            assert!(complaint.text.contains(part), "{text}: {}", complaint.text);
        }
    }
}
