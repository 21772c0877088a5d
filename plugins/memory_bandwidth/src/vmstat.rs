//! Picks six of the 180 or so lines of `/proc/vmstat`.

use dropsonde_plugin_api::{Error, Result};

use crate::Paging;

/// Fails if a needed line can't be understood, or if none of them is there.
///
/// Not procfs-core's `VmStat`: that one puts every line into a map, at an allocation each, and
/// refuses the whole file for one line that it can't read.
pub(crate) fn parse(text: &[u8]) -> Result<Paging> {
    let mut paging = Paging::default();
    for line in text.split(|byte| *byte == b'\n') {
        // All six begin with `p`; most lines begin with something else.
        if line.first() != Some(&b'p') {
            continue;
        }
        let Some(space) = line.iter().position(|byte| *byte == b' ') else { continue };
        let slot = match &line[..space] {
            b"pgpgin" => &mut paging.pgpgin,
            b"pgpgout" => &mut paging.pgpgout,
            b"pswpin" => &mut paging.pswpin,
            b"pswpout" => &mut paging.pswpout,
            b"pgfault" => &mut paging.pgfault,
            b"pgmajfault" => &mut paging.pgmajfault,
            _ => continue,
        };
        let value = number(&line[space + 1..]).ok_or_else(|| {
            let line = String::from_utf8_lossy(line);
            Error::msg(format_args!("the line `{line}` is not `NAME NUMBER`"))
        })?;
        *slot = Some(value);
    }
    if paging == Paging::default() {
        return Err(Error::msg("there is no counter of paging or faults"));
    }
    Ok(paging)
}

fn number(value: &[u8]) -> Option<u64> {
    std::str::from_utf8(value).ok()?.parse().ok()
}
