//! What the host keeps of a collector: the last batch of each of its snapshot streams. A runner's
//! limits are its own process's; what it hands over is the host's memory.

use dropsonde_plugin_api::schema::{StreamKind, StreamSchema};

use crate::model::{MAX_BATCH, RawBatch};

/// The sizes of the last batches of a generation.
#[derive(Debug, Default)]
pub(super) struct Kept(Vec<usize>);

impl Kept {
    /// Notes a checked batch, in place of the last one of its stream; says why not if all
    /// together are too large.
    pub(super) fn take(&mut self, streams: &[StreamSchema], raw: &RawBatch) -> Result<(), String> {
        let index = raw.stream as usize;
        let Some(schema) = streams.get(index) else { return Ok(()) };
        if schema.kind == StreamKind::Event {
            return Ok(()); // nobody keeps these
        }
        self.0.resize(self.0.len().max(index + 1), 0);
        let before = std::mem::replace(&mut self.0[index], raw.bytes());
        let bytes: usize = self.0.iter().sum();
        if bytes <= MAX_BATCH {
            return Ok(());
        }
        self.0[index] = before;
        Err(format!(
            "with it the last batches of all streams have {bytes} bytes, allowed are {MAX_BATCH}"
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{ColumnData, Data};

    fn stream(kind: StreamKind) -> StreamSchema {
        let (name, description) = (String::new(), String::new());
        StreamSchema { name, kind, description, columns: Vec::new() }
    }

    fn batch(stream: u32, bytes: usize) -> RawBatch {
        let data = Data::Bool(vec![0; bytes]);
        let columns = vec![ColumnData { data, validity: Vec::new() }];
        RawBatch { stream, rows: bytes, monotonic_ns: 0, columns }
    }

    #[test]
    fn the_last_batches_of_all_streams_together_are_bounded() {
        let streams = [StreamKind::Snapshot, StreamKind::Snapshot, StreamKind::Event].map(stream);
        let mut kept = Kept::default();
        assert_eq!(kept.take(&streams, &batch(0, MAX_BATCH - 100)), Ok(()));
        assert_eq!(kept.take(&streams, &batch(1, 100)), Ok(()));
        assert!(kept.take(&streams, &batch(1, 101)).is_err());
        assert_eq!(kept.take(&streams, &batch(2, MAX_BATCH)), Ok(()), "events are not kept");
        // Whoever hands over less makes room for others.
        assert_eq!(kept.take(&streams, &batch(0, 100)), Ok(()));
        assert_eq!(kept.take(&streams, &batch(1, 101)), Ok(()));
    }
}
