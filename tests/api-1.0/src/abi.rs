//! The types of plugin API 1.0, as they were released. This file is not changed: that plugins
//! made of it go on loading is what it is for.

use std::ffi::c_void;

use abi_stable::library::RootModule;
use abi_stable::package_version_strings;
use abi_stable::sabi_types::VersionStrings;
use abi_stable::std_types::{RResult, RSlice, RStr, RString, RVec};
use abi_stable::StableAbi;

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
    /// Runs an event source until `AbiSink::wait` says stop.
    pub run: extern "C" fn(AbiInstance, &AbiSink) -> AbiFailure,
    /// Drops an instance. It is not used again, even if its drop panicked.
    #[sabi(last_prefix_field)]
    pub destroy: extern "C" fn(AbiInstance) -> AbiFailure,
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

/// The result of a call: `AbiFailure::NONE` in `kind` if it went well.
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
    /// Name; empty for the main one.
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
    /// A log line at level 1 (error) to 5 (trace). Any thread may call it; it does not block.
    pub log: extern "C" fn(*const c_void, u8, RStr<'_>),
    /// The collector's name.
    pub collector: RString,
    /// The collector's state directory; may not exist yet.
    pub state_dir: RString,
}
