//! What a plugin declares, as text that can be checked in.

use std::fmt::Write;
use std::path::{Path, PathBuf};

use crate::collector::Streams;
use crate::schema::{ColumnSchema, Role, StreamKind, StreamSchema, ValueType};

/// The environment variable that has [`assert_streams`] write its file.
const BLESS: &str = "DROPSONDE_BLESS";

/// What a plugin's streams look like: a line for each, and a line for each column. What is made of
/// it elsewhere (metrics, tables, dashboards) depends on all but the descriptions.
///
/// ```
/// # use dropsonde_plugin_api::prelude::*;
/// /// How long the machine has been up.
/// #[derive(Record)]
/// struct Uptime {
///     /// Time since boot.
///     #[gauge(unit = "s", otel = "system.uptime")]
///     uptime_seconds: f64,
/// }
/// assert_eq!(
///     dropsonde_plugin_api::testing::streams::<(Uptime,)>(),
///     "main stream, snapshot: How long the machine has been up.\n\
///      \x20   uptime_seconds: gauge, f64, s, system.uptime: Time since boot.\n"
/// );
/// ```
pub fn streams<S: Streams>() -> String {
    S::schemas().iter().map(stream).collect()
}

/// That a plugin declares what stands in a file (path below the package), which is checked in:
/// so a change that its users would notice is seen in review. `DROPSONDE_BLESS=1 cargo test`
/// writes the file.
///
/// # Panics
/// If not, with the lines that differ; if the file can't be read or written.
#[track_caller]
#[allow(clippy::panic)] // a test's assertion
pub fn assert_streams<S: Streams>(file: impl AsRef<Path>) {
    // Set by cargo for what it runs.
    let package = std::env::var_os("CARGO_MANIFEST_DIR").map(PathBuf::from).unwrap_or_default();
    let path = package.join(file);
    let now = streams::<S>();
    let shown = path.display();
    if std::env::var_os(BLESS).is_some() {
        std::fs::write(&path, now).unwrap_or_else(|error| panic!("{shown}: {error}"));
        return;
    }
    let before = std::fs::read_to_string(&path)
        .unwrap_or_else(|error| panic!("{shown}: {error}; {BLESS}=1 cargo test writes it"));
    let changes = changes(&before, &now);
    if !changes.is_empty() {
        panic!(
            "the streams are not those of {shown} (-):\n{changes}If they shall change, {BLESS}=1 cargo test writes the file."
        );
    }
}

/// [`assert_streams`] by what a plugin is; for the macro.
#[doc(hidden)]
#[allow(unreachable_pub)] // reached through `testing`
pub mod released {
    use crate::collector::{Collector, EventSource};

    #[track_caller]
    pub fn collector<C: Collector>(file: &str) {
        super::assert_streams::<C::Streams>(file);
    }

    #[track_caller]
    pub fn events<E: EventSource>(file: &str) {
        super::assert_streams::<E::Streams>(file);
    }
}

/// Lines that are in one text only, or more often in it.
fn changes(before: &str, now: &str) -> String {
    let only = |sign: char, here: &str, there: &str| {
        let mut there: Vec<&str> = there.lines().collect();
        let mut changes = String::new();
        for line in here.lines() {
            match there.iter().position(|other| *other == line) {
                Some(index) => drop(there.swap_remove(index)),
                None => changes.extend([sign, ' '].into_iter().chain(line.chars()).chain(['\n'])),
            }
        }
        changes
    };
    let changes = only('-', before, now) + &only('+', now, before);
    if changes.is_empty() && before != now {
        return "  the same lines in another order\n".to_owned();
    }
    changes
}

fn stream(schema: &StreamSchema) -> String {
    let kind = match schema.kind {
        StreamKind::Snapshot => "snapshot",
        StreamKind::Event => "events",
    };
    let name = if schema.name.is_empty() { "main stream" } else { &schema.name };
    let mut text = format!("{name}, {kind}: {}\n", schema.description);
    schema.columns.iter().for_each(|each| column(&mut text, each));
    text
}

fn column(text: &mut String, column: &ColumnSchema) {
    let role = match column.role {
        Role::Key => "key",
        Role::Counter => "counter",
        Role::Gauge => "gauge",
        Role::Attribute => "attribute",
    };
    let value = match column.value {
        ValueType::U64 => "u64",
        ValueType::I64 => "i64",
        ValueType::F64 => "f64",
        ValueType::Bool => "bool",
        ValueType::Text => "text",
        ValueType::TextList => "list of texts",
    };
    let _ = write!(text, "    {}: {role}, {value}", column.name);
    for part in [&column.unit, &column.otel].into_iter().filter(|part| !part.is_empty()) {
        let _ = write!(text, ", {part}");
    }
    for (name, value) in &column.attributes {
        let _ = write!(text, ", {name}={value}");
    }
    if let Some(share) = &column.share {
        let _ = write!(text, ", share {} of {}", share.name, share.of);
        if !share.otel.is_empty() {
            let _ = write!(text, " ({})", share.otel);
        }
    }
    let _ = writeln!(text, ": {}", column.description);
}
