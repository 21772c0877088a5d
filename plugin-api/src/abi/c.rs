//! The boundary for plugins in C and whatever can export a C symbol: the types of
//! `include/dropsonde.h`, which says what each means. A test compares the two, field by field.
//!
//! There is no layout to compare at run time as there is for Rust; instead the table begins with
//! a version and the size of every struct, and nothing else is read before these are known.

use std::ffi::{c_char, c_void};

/// Version of this interface. A layout that a released version has does not change.
pub const C_ABI: u32 = 1;

/// Name of the table of functions.
pub const C_SYMBOL: &str = "dropsonde_c_plugin";

/// What a function returns if all went well.
pub const OK: i32 = 0;
/// It failed.
pub const FAILED: i32 = 1;
/// The settings don't fit.
pub const SETTINGS: i32 = 2;

/// The `type` of a value that is not there.
pub const MISSING: u32 = 255;

/// `struct dropsonde_column`.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
#[allow(missing_docs)] // the header says it
pub struct CColumn {
    pub name: *const c_char,
    pub unit: *const c_char,
    pub description: *const c_char,
    pub otel: *const c_char,
    pub attributes: *const *const c_char,
    pub share: *const *const c_char,
    pub role: u8,
    pub r#type: u8,
    pub reserved: [u8; 6],
}

/// `struct dropsonde_stream`.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
#[allow(missing_docs)] // the header says it
pub struct CStream {
    pub name: *const c_char,
    pub description: *const c_char,
    pub columns: *const CColumn,
    pub column_count: u64,
    pub kind: u32,
    pub reserved: u32,
}

/// `struct dropsonde_value`.
#[repr(C)]
#[derive(Clone, Copy)]
#[allow(missing_docs)] // the header says it
pub struct CValue {
    pub r#type: u32,
    pub reserved: u32,
    pub of: CValueOf,
    pub length: u64,
}

/// The union in [`CValue`].
#[repr(C)]
#[derive(Clone, Copy)]
#[allow(missing_docs)] // the header says it
pub union CValueOf {
    pub u64: u64,
    pub i64: i64,
    pub f64: f64,
    pub text: *const c_char,
}

/// `struct dropsonde_error`.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
#[allow(missing_docs)] // the header says it
pub struct CError {
    pub message: [u8; 512],
    pub path: [u8; 128],
}

/// `struct dropsonde_settings`.
#[repr(C)]
#[derive(Debug)]
#[allow(missing_docs)] // the header says it
pub struct CSettings {
    pub context: *const c_void,
    pub text: unsafe extern "C" fn(*const CSettings, *const c_char, *const c_char) -> *const c_char,
    pub integer: unsafe extern "C" fn(*const CSettings, *const c_char, i64) -> i64,
    pub number: unsafe extern "C" fn(*const CSettings, *const c_char, f64) -> f64,
    pub flag: unsafe extern "C" fn(*const CSettings, *const c_char, i32) -> i32,
    pub json: unsafe extern "C" fn(*const CSettings) -> *const c_char,
}

/// `struct dropsonde_host`.
#[repr(C)]
#[derive(Debug)]
#[allow(missing_docs)] // the header says it
pub struct CHost {
    pub context: *const c_void,
    pub collector: *const c_char,
    pub state_dir: *const c_char,
    pub log: unsafe extern "C" fn(*const CHost, i32, *const c_char),
}

/// `struct dropsonde_sink`.
#[repr(C)]
#[derive(Debug)]
#[allow(missing_docs)] // the header says it
pub struct CSink {
    pub context: *const c_void,
    pub push: unsafe extern "C" fn(*const CSink, u32, *const CValue, u64) -> i32,
    pub empty: unsafe extern "C" fn(*const CSink, u32) -> i32,
    pub partial: unsafe extern "C" fn(*const CSink, *const c_char),
    pub flush: unsafe extern "C" fn(*const CSink) -> i32,
    pub wait: unsafe extern "C" fn(*const CSink, u64) -> i32,
}

/// Things whose sizes a table names.
const SIZED: usize = 9;

/// How a table begins: this much of it is read before anything is known of the rest.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct CTableHead {
    /// Its version of the interface.
    pub abi: u32,
    /// The sizes of the structs, as [`SIZES`] has them.
    pub sizes: [u32; SIZED],
}

/// `struct dropsonde_plugin`.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
#[allow(missing_docs)] // the header says it
pub struct CPlugin {
    pub head: CTableHead,
    pub interval_ms: u64,
    pub streams: *const CStream,
    pub stream_count: u64,
    pub check_settings: Option<unsafe extern "C" fn(*const CSettings, *mut CError) -> i32>,
    pub create: Option<
        unsafe extern "C" fn(*const CSettings, *const CHost, *mut CError, *mut *mut c_void) -> i32,
    >,
    pub collect: Option<unsafe extern "C" fn(*mut c_void, u64, *const CSink, *mut CError) -> i32>,
    pub run: Option<unsafe extern "C" fn(*mut c_void, *const CSink, *mut CError) -> i32>,
    pub destroy: Option<unsafe extern "C" fn(*mut c_void)>,
}

/// The structs whose sizes a table names, in its order, and what they are here.
pub const SIZES: [(&str, usize); SIZED] = [
    ("struct dropsonde_plugin", size_of::<CPlugin>()),
    ("struct dropsonde_stream", size_of::<CStream>()),
    ("struct dropsonde_column", size_of::<CColumn>()),
    ("struct dropsonde_value", size_of::<CValue>()),
    ("struct dropsonde_error", size_of::<CError>()),
    ("struct dropsonde_settings", size_of::<CSettings>()),
    ("struct dropsonde_host", size_of::<CHost>()),
    ("struct dropsonde_sink", size_of::<CSink>()),
    ("a pointer", size_of::<*const c_void>()),
];
