//! The lines of `/proc/net/dev` (proc_pid_net(5)).
//!
//! Not procfs-core's `InterfaceDeviceStatus`: a name may hold any byte but `/`, `:`, NUL and
//! ASCII white space (kernel: dev_valid_name), and it refuses the whole file for one that is not
//! UTF-8, or for one line that it can't read.

use std::borrow::Cow;

use dropsonde_plugin_api::{Error, Result};

/// What was counted of one interface since it came up.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Counts {
    pub(crate) received: Direction,
    pub(crate) sent: Direction,
}

/// The columns that both directions have in common.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Direction {
    pub(crate) bytes: u64,
    pub(crate) packets: u64,
    pub(crate) errors: u64,
    pub(crate) dropped: u64,
}

/// One interface. Bytes of the name that are not UTF-8 show as U+FFFD.
#[derive(Debug, PartialEq)]
pub(crate) struct Line<'a> {
    pub(crate) name: Cow<'a, str>,
    /// `None` if the line can't be understood.
    pub(crate) counts: Option<Counts>,
}

/// The interfaces in the kernel's order. Fails if the file does not begin with its two lines of
/// headings.
pub(crate) fn lines(text: &[u8]) -> Result<impl Iterator<Item = Line<'_>>> {
    let mut lines = text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    for _ in 0..2 {
        if !lines.next().is_some_and(|heading| heading.contains(&b'|')) {
            return Err(Error::msg("there are no headings `Inter-|` and `face |`"));
        }
    }
    Ok(lines.map(Line::parse))
}

impl<'a> Line<'a> {
    fn parse(line: &'a [u8]) -> Self {
        let colon = line.iter().rposition(|byte| *byte == b':');
        let (name, counts) = match colon {
            Some(colon) => (&line[..colon], Counts::parse(&line[colon + 1..])),
            None => (line, None),
        };
        Self { name: String::from_utf8_lossy(name.trim_ascii()), counts }
    }
}

impl Counts {
    /// Reads eight numbers received and eight sent: bytes, packets, errors, dropped, and four
    /// that the plugin does not show.
    fn parse(fields: &[u8]) -> Option<Self> {
        let mut numbers = [0; 16];
        let mut fields = std::str::from_utf8(fields).ok()?.split_ascii_whitespace();
        for number in &mut numbers {
            *number = fields.next()?.parse().ok()?;
        }
        let direction = |first: usize| Direction {
            bytes: numbers[first],
            packets: numbers[first + 1],
            errors: numbers[first + 2],
            dropped: numbers[first + 3],
        };
        Some(Self { received: direction(0), sent: direction(8) })
    }

    pub(crate) fn add(&mut self, other: &Self) {
        self.received.add(&other.received);
        self.sent.add(&other.sent);
    }
}

impl Direction {
    fn add(&mut self, other: &Self) {
        self.bytes = self.bytes.wrapping_add(other.bytes);
        self.packets = self.packets.wrapping_add(other.packets);
        self.errors = self.errors.wrapping_add(other.errors);
        self.dropped = self.dropped.wrapping_add(other.dropped);
    }
}
