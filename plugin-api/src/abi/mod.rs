//! The boundary between host and plugin: every type that crosses it, in one place, so that the
//! library behind it can be replaced.
//!
//! Rules of the boundary:
//!
//! * The host keeps no memory that a plugin owns: what comes by [`AbiSink::emit`] is borrowed for
//!   the call and copied; what is returned is copied and dropped at once.
//! * The host trusts no tag and no length that comes from a plugin; tags are plain `u8`, so that
//!   a wrong one is an error and not undefined behaviour.
//! * No panic crosses: every exported function catches them ([`AbiFailure::PANICKED`]).
//! * All functions of one instance are called on one thread.

pub mod c;
mod glue;
#[cfg(test)]
mod layout;
mod manifest;

use std::ffi::c_void;
use std::time::Duration;

use abi_stable::StableAbi;
use abi_stable::library::RootModule;
use abi_stable::package_version_strings;
use abi_stable::sabi_types::VersionStrings;
use abi_stable::std_types::{RResult, RSlice, RStr, RString, RVec};

pub use c::C_SYMBOL;
#[cfg(any(feature = "testing", all(doc, not(doctest))))]
pub(crate) use glue::parse_settings;
pub use glue::{events_module, polled_module};
pub use manifest::{
    Capability, Kind, Language, MANIFEST_SECTION, MANIFEST_SYMBOL, Manifest, ManifestError,
    RawManifest,
};

/// For the export macro and the host's loader only.
#[doc(hidden)]
pub use abi_stable;

use crate::collector::{Batch, Outlet};
use crate::error::{Error, Result};

/// Version of the plugin API: the same major number means that they understand each other.
#[cfg(not(feature = "next-api"))]
pub const API_VERSION: (u16, u16) = (1, 0);
/// Version of the plugin API, one minor ahead.
#[cfg(feature = "next-api")]
pub const API_VERSION: (u16, u16) = (1, 1);

/// Name of the static that carries the plugin's module.
pub const MODULE_SYMBOL: &str = "dropsonde_plugin_module";

/// What a plugin exports. A field that a later API adds comes after the last prefix field, and
/// a host asks whether it is there.
#[repr(C)]
#[derive(StableAbi)]
#[sabi(kind(Prefix(prefix_ref = PluginModuleRef, prefix_fields = PluginModulePrefix)))]
#[sabi(missing_field(option))]
pub struct PluginModule {
    /// Says what the plugin is, without making an instance.
    pub describe: extern "C" fn() -> RResult<AbiDescription, AbiFailure>,
    /// Checks settings (JSON) without making an instance; has no side effect.
    pub check_settings: extern "C" fn(RStr<'_>) -> AbiFailure,
    /// Makes an instance from settings (JSON).
    pub create: extern "C" fn(RStr<'_>, AbiHost) -> RResult<AbiInstance, AbiFailure>,
    /// One round of a polled collector: the bits say which streams are wanted.
    pub collect: extern "C" fn(AbiInstance, u64, &AbiSink) -> AbiFailure,
    /// Runs an event source until [`AbiSink::wait`] says stop.
    pub run: extern "C" fn(AbiInstance, &AbiSink) -> AbiFailure,
    /// Drops an instance. It is not used again, even if its drop panicked.
    #[sabi(last_prefix_field)]
    pub destroy: extern "C" fn(AbiInstance) -> AbiFailure,
    /// What API 1.1 might add.
    #[cfg(feature = "next-api")]
    pub later: extern "C" fn() -> u64,
}

impl RootModule for PluginModuleRef {
    abi_stable::declare_root_module_statics! {PluginModuleRef}
    const BASE_NAME: &'static str = "dropsonde_plugin";
    const NAME: &'static str = "dropsonde_plugin";
    const VERSION_STRINGS: VersionStrings = package_version_strings!();
}

/// An instance, as the plugin that made it knows it.
#[repr(transparent)]
#[derive(StableAbi, Clone, Copy, Debug)]
pub struct AbiInstance(pub *mut c_void);

/// The result of a call: [`AbiFailure::NONE`] in `kind` if it went well.
#[repr(C)]
#[derive(StableAbi, Debug, Clone)]
pub struct AbiFailure {
    /// One of the constants.
    pub kind: u8,
    /// What happened; empty without a failure.
    pub message: RString,
    /// The settings key at fault, or empty.
    pub path: RString,
    /// What could not be read while the rest could.
    pub partial: RVec<RString>,
}

impl AbiFailure {
    /// All went well, but for what `partial` lists.
    pub const NONE: u8 = 0;
    /// The author's function returned an error.
    pub const FAILED: u8 = 1;
    /// The settings don't fit.
    pub const SETTINGS: u8 = 2;
    /// It panicked; the instance must not be called again.
    pub const PANICKED: u8 = 3;
    /// The host refused a batch; the message came from the host.
    pub const REFUSED: u8 = 4;

    /// No failure.
    pub fn none() -> Self {
        Self::new(Self::NONE, "")
    }

    /// A failure without a path.
    pub fn new(kind: u8, message: &str) -> Self {
        Self { kind, message: message.into(), path: RString::new(), partial: RVec::new() }
    }
}

/// What a plugin is.
#[repr(C)]
#[derive(StableAbi, Debug)]
pub struct AbiDescription {
    /// The streams that it publishes.
    pub streams: RVec<AbiStream>,
    /// How often it is collected unless the user says otherwise, in milliseconds.
    pub interval_ms: u64,
}

/// A stream's schema.
#[repr(C)]
#[derive(StableAbi, Debug)]
pub struct AbiStream {
    /// See [`StreamSchema::name`](crate::schema::StreamSchema::name).
    pub name: RString,
    /// 0 snapshot, 1 event.
    pub kind: u8,
    /// Description.
    pub description: RString,
    /// Columns.
    pub columns: RVec<AbiColumn>,
}

/// A column's schema.
#[repr(C)]
#[derive(StableAbi, Debug)]
pub struct AbiColumn {
    /// Field name.
    pub name: RString,
    /// 0 key, 1 counter, 2 gauge, 3 attribute.
    pub role: u8,
    /// 0 u64, 1 i64, 2 f64, 3 bool, 4 text, 5 list of text.
    pub value: u8,
    /// UCUM unit.
    pub unit: RString,
    /// Description.
    pub description: RString,
    /// OpenTelemetry name, or empty.
    pub otel: RString,
    /// Fixed attributes: name, value, name, value…
    pub attributes: RVec<RString>,
    /// Derived share: name, whole, OpenTelemetry name; empty without one.
    pub share: RVec<RString>,
}

/// The rows of one stream, borrowed from the plugin for one call.
#[repr(C)]
#[derive(StableAbi)]
pub struct AbiBatch<'a> {
    /// Index of the stream in the description.
    pub stream: u32,
    /// Number of rows.
    pub rows: u64,
    /// One for each column of the schema.
    pub columns: RSlice<'a, AbiColumnView<'a>>,
}

/// The values of one column, borrowed from the plugin for one call. Only the slice that fits
/// the column's type is filled.
#[repr(C)]
#[derive(StableAbi, Clone, Copy)]
pub struct AbiColumnView<'a> {
    /// Unsigned integers.
    pub u64s: RSlice<'a, u64>,
    /// Signed integers.
    pub i64s: RSlice<'a, i64>,
    /// Floats.
    pub f64s: RSlice<'a, f64>,
    /// Bytes of booleans, or of all texts one after the other.
    pub bytes: RSlice<'a, u8>,
    /// End of each text in `bytes`.
    pub ends: RSlice<'a, u32>,
    /// One byte a row, 0 where the value is missing; empty if none is.
    pub validity: RSlice<'a, u8>,
}

/// Takes batches on the host's side.
#[repr(C)]
#[derive(StableAbi)]
pub struct AbiSink {
    /// The host's own.
    pub context: *const c_void,
    /// Takes one batch; copies what it needs before it returns. May block while the host does
    /// not keep up. Its failure tells why the batch was refused.
    pub emit: extern "C" fn(*const c_void, &AbiBatch<'_>) -> AbiFailure,
    /// Sleeps for so many nanoseconds or until the instance shall stop; returns 1 if it shall.
    pub wait: extern "C" fn(*const c_void, u64) -> u8,
}

/// The host, as an instance sees it. The plugin owns one reference and gives it back with
/// `release`.
#[repr(C)]
#[derive(StableAbi, Debug)]
pub struct AbiHost {
    /// The host's own, counted.
    pub context: *const c_void,
    /// One more reference.
    pub retain: extern "C" fn(*const c_void),
    /// One reference less.
    pub release: extern "C" fn(*const c_void),
    /// A log line at level 1 (error) to 5 (trace). Any thread may call it; it waits while the
    /// host does not keep up.
    pub log: extern "C" fn(*const c_void, u8, RStr<'_>),
    /// The collector's name.
    pub collector: RString,
    /// The collector's state directory; may not exist yet.
    pub state_dir: RString,
}

/// An [`AbiHost`] with its reference counted.
#[derive(Debug)]
pub(crate) struct HostLink(AbiHost);

// SAFETY: the host promises that `retain`, `release` and `log` may be called from any thread and
// that the context lives until the last reference is released; the rest is owned data.
unsafe impl Send for HostLink {}
// SAFETY: as above; nothing is changed through a shared reference.
unsafe impl Sync for HostLink {}

impl HostLink {
    pub(crate) fn new(host: AbiHost) -> Self {
        Self(host)
    }

    pub(crate) fn log(&self, level: u8, message: &str) {
        (self.0.log)(self.0.context, level, message.into());
    }

    pub(crate) fn collector(&self) -> &str {
        &self.0.collector
    }

    pub(crate) fn state_dir(&self) -> &str {
        &self.0.state_dir
    }
}

impl Clone for HostLink {
    fn clone(&self) -> Self {
        (self.0.retain)(self.0.context);
        Self(AbiHost {
            context: self.0.context,
            retain: self.0.retain,
            release: self.0.release,
            log: self.0.log,
            collector: self.0.collector.clone(),
            state_dir: self.0.state_dir.clone(),
        })
    }
}

impl Drop for HostLink {
    fn drop(&mut self) {
        (self.0.release)(self.0.context);
    }
}

/// The plugin's side of an [`AbiSink`].
pub(crate) struct Link<'a>(pub(crate) &'a AbiSink);

impl Outlet for Link<'_> {
    /// One stream that is refused does not hold back the others; the first refusal is the error.
    fn send(&self, batch: &mut Batch) -> Result<()> {
        let mut result = Ok(());
        for (index, stream) in batch.streams.iter_mut().enumerate() {
            if stream.touched && batch.wanted & (1 << index) != 0 {
                let sent = self.emit(index as u32, stream);
                result = result.and(sent);
            }
            stream.clear();
        }
        result
    }

    fn wait(&self, time: Duration) -> bool {
        let nanos = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        (self.0.wait)(self.0.context, nanos) != 0
    }
}

impl Link<'_> {
    fn emit(&self, stream: u32, buffer: &crate::collector::StreamBuffer) -> Result<()> {
        let columns: Vec<AbiColumnView<'_>> = buffer.columns.iter().map(glue::view).collect();
        let batch =
            AbiBatch { stream, rows: buffer.rows as u64, columns: RSlice::from_slice(&columns) };
        let failure = (self.0.emit)(self.0.context, &batch);
        if failure.kind == AbiFailure::NONE { Ok(()) } else { Err(Error::msg(failure.message)) }
    }
}
