//! The protocol between host and runner.

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::assert_one_line;
use crate::runner::frame::{append, take};
use crate::runner::{Reply, Request};

/// Messages come out the same wherever the stream is cut, and stay the same when they are sent
/// on. The bytes are taken as a stream, and as the body of one frame.
pub fn protocol(bytes: &[u8]) -> bool {
    let Some((piece, stream)) = bytes.split_first() else { return false };
    let piece = usize::from(*piece).max(1);
    let mut frame = (stream.len() as u32).to_le_bytes().to_vec();
    frame.extend(stream);
    let messages = [stream, &frame]
        .map(|stream| read::<Reply>(stream, piece) + read::<Request>(stream, piece));
    messages != [0, 0]
}

/// What came of a stream.
#[derive(Debug, PartialEq)]
struct Heard {
    /// Each message, encoded anew.
    messages: Vec<Vec<u8>>,
    error: Option<String>,
    /// Bytes that are no whole frame yet.
    left: usize,
}

/// The number of messages.
fn read<M: Serialize + DeserializeOwned>(stream: &[u8], piece: usize) -> usize {
    let whole = hear::<M>(stream.chunks(stream.len().max(1)));
    assert_eq!(hear::<M>(stream.chunks(piece)).without_left(), whole.without_left());
    // What was sent on is heard in turn, and not a byte is left.
    let sent: Vec<u8> = whole.messages.concat();
    let heard = hear::<M>(std::iter::once(&sent[..]));
    assert_eq!(heard.messages, whole.messages);
    assert_eq!((heard.error, heard.left), (None, 0));
    whole.messages.len()
}

impl Heard {
    /// After an error more or less may have been received: nobody looks at it.
    fn without_left(&self) -> (&[Vec<u8>], Option<&str>, usize) {
        let left = if self.error.is_some() { 0 } else { self.left };
        (&self.messages, self.error.as_deref(), left)
    }
}

fn hear<'a, M: Serialize + DeserializeOwned>(pieces: impl Iterator<Item = &'a [u8]>) -> Heard {
    let mut heard = Heard { messages: Vec::new(), error: None, left: 0 };
    let mut received = Vec::new();
    for piece in pieces {
        received.extend_from_slice(piece);
        loop {
            match take::<M>(&mut received) {
                Ok(Some(message)) => heard.messages.push(encode(&message)),
                Ok(None) => break,
                Err(error) => {
                    assert_one_line(&error.to_string());
                    heard.error = Some(error.to_string());
                    return heard;
                }
            }
        }
    }
    heard.left = received.len();
    heard
}

/// As a frame; what waits to be sent before it stays as it is.
fn encode(message: &impl Serialize) -> Vec<u8> {
    let mut out = b"before".to_vec();
    let appended = append(&mut out, message);
    assert!(appended.is_ok(), "what was received can be sent: {appended:?}");
    assert!(out.starts_with(b"before"));
    out.split_off(6)
}
