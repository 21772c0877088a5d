//! Frames on the socket between host and runner: a length (u32, little-endian), then a message.

use serde::Serialize;
use serde::de::DeserializeOwned;
use thiserror::Error;

/// Largest message: a batch of 100,000 rows of ten columns fits.
const MAX_FRAME: usize = 64 << 20;

/// Why the bytes are no message.
#[derive(Debug, Error)]
pub(crate) enum FrameError {
    #[error("a frame of {0} bytes, allowed are {MAX_FRAME}")]
    TooLong(usize),
    #[error("{0}")]
    Encoding(#[from] postcard::Error),
}

/// Appends a message to what waits to be sent.
pub(crate) fn append(out: &mut Vec<u8>, message: &impl Serialize) -> Result<(), FrameError> {
    let start = out.len();
    out.extend([0; 4]);
    let mut writer = std::mem::take(out);
    writer = postcard::to_extend(message, writer)?;
    *out = writer;
    let length = out.len() - start - 4;
    if length > MAX_FRAME {
        out.truncate(start);
        return Err(FrameError::TooLong(length));
    }
    out[start..start + 4].copy_from_slice(&(length as u32).to_le_bytes());
    Ok(())
}

/// Takes the first whole message off what was received, if there is one.
pub(crate) fn take<M: DeserializeOwned>(received: &mut Vec<u8>) -> Result<Option<M>, FrameError> {
    let Some(prefix) = received.first_chunk::<4>() else { return Ok(None) };
    let length = u32::from_le_bytes(*prefix) as usize;
    if length > MAX_FRAME {
        return Err(FrameError::TooLong(length));
    }
    let Some(body) = received.get(4..4 + length) else { return Ok(None) };
    let message = postcard::from_bytes(body)?;
    received.drain(..4 + length);
    Ok(Some(message))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_survive_any_cut_of_the_stream() {
        let mut sent = Vec::new();
        append(&mut sent, &("one", 1_u64)).unwrap();
        append(&mut sent, &("two", 2_u64)).unwrap();
        let mut received = Vec::new();
        let mut messages: Vec<(String, u64)> = Vec::new();
        for byte in sent {
            received.push(byte);
            messages.extend(take(&mut received).unwrap());
        }
        assert_eq!(messages, [("one".to_owned(), 1), ("two".to_owned(), 2)]);
        assert!(received.is_empty());
    }

    #[test]
    fn a_length_that_no_message_has_is_refused_before_it_is_awaited() {
        let mut received = u32::MAX.to_le_bytes().to_vec();
        assert!(matches!(take::<u8>(&mut received), Err(FrameError::TooLong(_))));
    }
}
