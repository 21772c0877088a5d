//! The file itself: permissions, ELF, manifest. What admission refuses fails in its words.

use dropsonde_plugin_api::abi::{API_VERSION, Kind, Language, Manifest};

use super::report::{Check, Report};
use crate::admission::{ElfError, Image, KeyId, Rejection, Trust};

/// The checks in the order in which admission makes them.
const ORDER: [&str; 7] = [
    "file.read",
    "elf.intact",
    "manifest.read",
    "manifest.api",
    "elf.entry",
    "elf.unwind",
    "file.trust",
];

/// Which check a rejection belongs to.
fn id_of(rejection: &Rejection) -> &'static str {
    match rejection {
        Rejection::Read(_) | Rejection::TooLarge(_) | Rejection::Stage { .. } => "file.read",
        Rejection::Trust(_) => "file.trust",
        Rejection::Elf(error) => match error {
            ElfError::NoManifest | ElfError::Manifest(_) => "manifest.read",
            ElfError::Api { .. } => "manifest.api",
            ElfError::NoSymbol(_) => "elf.entry",
            ElfError::PanicAbort => "elf.unwind",
            ElfError::Damaged(_)
            | ElfError::CutShort { .. }
            | ElfError::Machine(_)
            | ElfError::Type(_) => "elf.intact",
        },
        Rejection::Duplicate { .. } | Rejection::Probe(_) => "trial.round",
    }
}

/// A file that the agent refuses: what it had passed before, and the refusal.
pub(super) fn refused(report: &mut Report, rejection: &Rejection) {
    let id = id_of(rejection);
    for passed in ORDER.into_iter().take_while(|passed| *passed != id) {
        report.add(Check::pass(passed, "good"));
    }
    report.unreadable = matches!(rejection, Rejection::Read(_));
    report.add(Check::fail(id, rejection.to_string(), ""));
}

/// A file that the agent admits to a trial.
pub(super) fn admitted(
    report: &mut Report,
    image: &Image,
    signed_by: Option<&KeyId>,
    trust: &Trust,
) {
    let Manifest { name, version, api_version, capabilities, kind, language, .. } = &image.manifest;
    let bytes = std::fs::metadata(&image.staged).map_or(0, |meta| meta.len());
    let hash = image.sha256();
    let read = format!("{bytes} bytes, SHA-256 {hash}");
    report.add(Check::pass("file.read", read).figure("bytes", bytes).figure("sha256", hash));
    report.add(trusted(signed_by, trust));
    let intact = format!("a shared object for {}", std::env::consts::ARCH);
    report.add(Check::pass("elf.intact", intact));
    report.add(Check::pass("elf.entry", "exported"));
    let unwinds = match language {
        Language::Rust => "the manifest says so, and it calls the unwinder",
        Language::C => "it has no panics",
    };
    report.add(Check::pass("elf.unwind", unwinds));
    report.add_all(notes(image));
    let kind = match kind {
        Kind::Polled => "a collector",
        Kind::Events => "an event source",
    };
    let entered = match language {
        Language::Rust => "",
        Language::C => " by the C interface",
    };
    let asks: Vec<&str> = capabilities.iter().map(|capability| capability.name()).collect();
    let asks = if asks.is_empty() { "nothing".to_owned() } else { asks.join(", ") };
    report.add(Check::pass(
        "manifest.read",
        format!("`{name}` {version}, {kind}{entered}; asks for {asks}"),
    ));
    let (host_major, host_minor) = API_VERSION;
    let (major, minor) = api_version;
    let api = format!("API {major}.{minor}, this host has {host_major}.{host_minor}");
    report.add(Check::pass("manifest.api", api));
}

fn trusted(signed_by: Option<&KeyId>, trust: &Trust) -> Check {
    match signed_by {
        Some(key) => Check::pass("file.trust", format!("signed by key {key}")),
        None if trust.allow_unsafe_permissions => {
            Check::skip("file.trust", "unsafe permissions are allowed")
        }
        None => Check::pass("file.trust", "only root and this user can write it; not signed"),
    }
}

fn notes(image: &Image) -> [Check; 2] {
    let nodelete = match (image.notes.nodelete, image.notes.gnu_unique) {
        (false, false) => Check::pass("elf.nodelete", "nothing in it forbids to unload it"),
        (true, _) => Check::warn(
            "elf.nodelete",
            "is marked NODELETE: each version of it that a thread of the agent loads stays mapped",
            "link it without `-z nodelete`, or keep it in process mode",
        ),
        (false, true) => Check::warn(
            "elf.nodelete",
            "has GNU_UNIQUE symbols: each version of it that a thread of the agent loads stays mapped",
            "build its C++ parts with -fno-gnu-unique, or keep it in process mode",
        ),
    };
    let static_tls = if image.notes.static_tls {
        Check::warn(
            "elf.static_tls",
            "uses static thread-local storage, of which a process has room for a few libraries only",
            "build its C parts without -ftls-model=initial-exec",
        )
    } else {
        Check::pass("elf.static_tls", "none")
    };
    [nodelete, static_tls]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_stands_under_the_check_that_made_it_after_those_that_passed() {
        let mut report = Report::new(std::path::Path::new("libx.so"));
        refused(&mut report, &ElfError::PanicAbort.into());
        report.finish();
        let verdict = |id: &str| report.checks.iter().find(|check| check.id == id).unwrap();
        assert!(verdict("elf.unwind").findings[0].found.contains("panic = \"abort\""));
        assert_eq!(verdict("elf.entry").outcome.name(), "pass");
        assert_eq!(verdict("file.trust").outcome.name(), "skip");
        assert!(!report.unreadable);
    }
}
