//! Limits of a runner process by rlimits, which every kernel has (getrlimit(2)). Where the host
//! may make cgroups, those come on top: rlimits count a single process, and `RLIMIT_NPROC` a
//! whole user.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::config::Limits;

/// Applies them to this process; a hard limit that is lower already stays.
pub(crate) fn apply(limits: &Limits) -> rustix::io::Result<()> {
    for (resource, wanted) in [
        (Resource::Core, 0), // a dump of a plugin's crash is nobody's to read by default
        (Resource::Data, limits.memory),
        (Resource::Nofile, limits.open_files),
        (Resource::Fsize, limits.file_size),
    ] {
        let hard = getrlimit(resource).maximum;
        let value = Some(hard.map_or(wanted, |hard| hard.min(wanted)));
        setrlimit(resource, Rlimit { current: value, maximum: value })?;
    }
    Ok(())
}

/// A number of bytes as the configuration writes it.
pub(super) fn show_bytes(bytes: u64) -> String {
    for (unit, shift) in [("GiB", 30), ("MiB", 20), ("KiB", 10)] {
        if bytes >= 1 << shift && bytes.is_multiple_of(1 << shift) {
            return format!("{} {unit}", bytes >> shift);
        }
    }
    format!("{bytes} B")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_shown_in_the_largest_whole_unit() {
        let shown: Vec<String> =
            [5, 1024, 64 << 20, 3 << 30, (1 << 20) + 1].into_iter().map(show_bytes).collect();
        assert_eq!(shown, ["5 B", "1 KiB", "64 MiB", "3 GiB", "1048577 B"]);
    }
}
