//! The blocks that a long-lived command writes.

use dropsonde_samples::Format;

/// Puts blocks together: of JSON each line is one, of the other formats what stands before an
/// empty line, or before `# EOF`.
pub(crate) struct Blocks {
    format: Format,
    /// Lines of the block in the making, the last of which may not be complete.
    text: Vec<u8>,
    /// Where that line begins.
    line: usize,
    complete: Option<Vec<u8>>,
}

impl Blocks {
    pub(crate) fn new(format: Format) -> Self {
        Self { format, text: Vec::new(), line: 0, complete: None }
    }

    /// Takes what was written. False: the block in the making has more than `limit` bytes.
    pub(crate) fn take(&mut self, part: &[u8], limit: usize) -> bool {
        for piece in part.split_inclusive(|byte| *byte == b'\n') {
            self.text.extend_from_slice(piece);
            if self.text.len() > limit {
                return false;
            }
            if piece.ends_with(b"\n") {
                self.end_line();
            }
        }
        true
    }

    fn end_line(&mut self) {
        let line = self.text.get(self.line..).unwrap_or_default().trim_ascii();
        let ends = match self.format {
            Format::Json => true,
            Format::Prometheus => line.is_empty() || line == b"# EOF",
            Format::Influx => line.is_empty(),
        };
        if ends {
            let block = std::mem::take(&mut self.text);
            if !block.trim_ascii().is_empty() {
                self.complete = Some(block);
            }
        }
        self.line = self.text.len();
    }

    /// The last complete block since this was last asked.
    pub(crate) fn complete(&mut self) -> Option<Vec<u8>> {
        self.complete.take()
    }
}
