//! What a command writes to its standard error: into the log, in bounds.

use dropsonde_plugin_api::Host;

/// Longest line that is logged whole.
const LINE: usize = 1 << 10;
/// Lines of one run that are logged; of a long-lived command, between two rounds.
const LINES: usize = 50;
/// Most bytes that are taken at a time: a flood can't hold up the round.
const AT_ONCE: usize = 256 << 10;

pub(crate) struct Complaints {
    host: Host,
    /// The line that is not complete.
    line: Vec<u8>,
    /// Of those that are not logged.
    last: String,
    lines: usize,
    any: bool,
    bytes: usize,
}

impl Complaints {
    pub(crate) fn new(host: Host) -> Self {
        Self { host, line: Vec::new(), last: String::new(), lines: 0, any: false, bytes: 0 }
    }

    /// Takes what was written; says whether there is room for more in this round.
    pub(crate) fn take(&mut self, part: &[u8]) -> bool {
        for piece in part.split_inclusive(|byte| *byte == b'\n') {
            let room = LINE.saturating_sub(self.line.len());
            let text = piece.strip_suffix(b"\n").unwrap_or(piece);
            self.line.extend_from_slice(text.get(..room).unwrap_or(text));
            if piece.ends_with(b"\n") {
                self.end_line();
            }
        }
        self.bytes += part.len();
        self.bytes < AT_ONCE
    }

    fn end_line(&mut self) {
        let line = String::from_utf8_lossy(&self.line);
        let line = line.trim_end();
        if !line.is_empty() {
            self.lines += 1;
            self.any = true;
            if self.lines <= LINES {
                self.host.info(format_args!("standard error: {line}"));
            } else {
                self.last = line.to_owned();
            }
        }
        self.line.clear();
    }

    /// A round is over.
    pub(crate) fn end_round(&mut self) {
        let more = self.lines.saturating_sub(LINES);
        if more > 0 {
            self.host.info(format_args!(
                "standard error: {more} lines more, the last one: {}",
                std::mem::take(&mut self.last)
            ));
        }
        (self.lines, self.bytes) = (0, 0);
    }

    /// The command has ended, and its last line is complete or not. Tells whether there was any.
    pub(crate) fn end(&mut self) -> bool {
        self.end_line();
        self.end_round();
        self.any
    }
}
