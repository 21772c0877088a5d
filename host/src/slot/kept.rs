//! What the host keeps of a collector: the last batch of each of its snapshot streams. A runner's
//! limits are its own process's; what it hands over is the host's memory.

use dropsonde_plugin_api::schema::{StreamKind, StreamSchema};

use crate::model::{MAX_BATCH, RawBatch, check, shown};
use crate::runner::Failure;

/// The sizes of the last batches of a generation.
#[derive(Debug, Default)]
pub(crate) struct Kept(Vec<usize>);

/// What was cut off a batch.
#[derive(Default)]
pub(crate) struct Cut {
    pub(crate) rows: u64,
    pub(crate) what: Option<String>,
}

/// Batches of a generation that does not serve yet, accepted.
#[derive(Debug, Default)]
pub(crate) struct Held {
    batches: Vec<RawBatch>,
    bytes: usize,
}

impl Held {
    pub(crate) fn push(&mut self, raw: RawBatch) -> Result<(), Failure> {
        self.bytes += raw.bytes();
        if self.bytes > MAX_BATCH {
            let bytes = self.bytes;
            return Err(Failure::BadBatch(format!(
                "the batches of the first round have {bytes} bytes, allowed are {MAX_BATCH}"
            )));
        }
        self.batches.push(raw);
        Ok(())
    }

    pub(crate) fn take(&mut self) -> Vec<RawBatch> {
        self.bytes = 0;
        std::mem::take(&mut self.batches)
    }
}

impl Kept {
    /// Checks a batch, and cuts it to as many rows as it may have.
    pub(crate) fn accept(
        &mut self,
        streams: &[StreamSchema],
        rows: u64,
        raw: &mut RawBatch,
    ) -> Result<Cut, Failure> {
        check(streams, raw).map_err(|error| Failure::BadBatch(error.to_string()))?;
        let beyond = raw.truncate(usize::try_from(rows).unwrap_or(usize::MAX));
        self.take(streams, raw).map_err(Failure::BadBatch)?;
        let what = (beyond > 0).then(|| {
            let stream = shown(streams.get(raw.stream as usize).map_or("", |stream| &stream.name));
            format!("{beyond} rows of {stream} beyond limits.rows = {rows} were left out")
        });
        Ok(Cut { rows: beyond as u64, what })
    }

    /// Notes a checked batch, in place of the last one of its stream; says why not if all
    /// together are too large.
    fn take(&mut self, streams: &[StreamSchema], raw: &RawBatch) -> Result<(), String> {
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
    fn what_waits_for_its_generation_is_bounded_however_often_a_stream_is_sent() {
        let mut held = Held::default();
        assert_eq!(held.push(batch(0, MAX_BATCH / 2)), Ok(()));
        assert_eq!(held.push(batch(0, MAX_BATCH / 2)), Ok(()));
        assert!(matches!(held.push(batch(0, 1)), Err(Failure::BadBatch(_))));
        assert_eq!(held.take().len(), 2);
        assert_eq!(held.push(batch(0, 1)), Ok(()));
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
