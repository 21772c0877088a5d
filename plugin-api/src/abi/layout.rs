//! The layout of everything that crosses the boundary, as text. It lies in the repository for
//! each released version of the API, so that a change of it shows where it is reviewed.

use std::any::type_name;
use std::fmt::Write;
use std::mem::offset_of;
use std::{env, fs};

use super::c::{CColumn, CError, CHost, CPlugin, CSettings, CSink, CStream, CTableHead, CValue};
use super::{
    API_VERSION, AbiBatch, AbiColumn, AbiColumnView, AbiDescription, AbiFailure, AbiHost,
    AbiInstance, AbiSink, AbiStream, PluginModule,
};

/// A type without the modules that its parts stand in, nor lifetimes.
fn type_of<T, Field>(_: impl FnOnce(&T) -> &Field) -> String {
    let is_path = |c: char| c.is_alphanumeric() || c == '_' || c == ':';
    let name = type_name::<Field>().replace("'_ ", "").replace("<'_>", "").replace("'_, ", "");
    // `c_char` is the one or the other by machine.
    let name = name.replace("*const i8", "*const c_char").replace("*const u8", "*const c_char");
    let parts = name.split_inclusive(|c| !is_path(c));
    parts.map(|part| part.rsplit_once("::").map_or(part, |(_, last)| last)).collect()
}

/// Each type with its size and alignment, each field with its place and type. A field that is
/// not named here does not compile.
macro_rules! layout {
    ($($type:ident { $($field:tt),* $(,)? })*) => {{
        let mut text = String::new();
        $(
            let (size, alignment) = (size_of::<$type>(), align_of::<$type>());
            let name = stringify!($type);
            writeln!(text, "{name}: {size} bytes, aligned to {alignment}").unwrap();
            let _all_are_named = |it: &$type| {
                let $type { $($field: _),* } = it;
            };
            $(
                let kind = type_of(|it: &$type| &it.$field);
                let field = stringify!($field).trim_start_matches("r#");
                writeln!(text, "    {field} at {}: {kind}", offset_of!($type, $field)).unwrap();
            )*
        )*
        text
    }};
}

fn layout() -> String {
    layout! {
        PluginModule { describe, check_settings, create, collect, run, destroy }
        AbiInstance { 0 }
        AbiFailure { kind, message, path, partial }
        AbiDescription { streams, interval_ms }
        AbiStream { name, kind, description, columns }
        AbiColumn { name, role, value, unit, description, otel, attributes, share }
        AbiBatch { stream, rows, columns }
        AbiColumnView { u64s, i64s, f64s, bytes, ends, validity }
        AbiSink { context, emit, wait }
        AbiHost { context, retain, release, log, collector, state_dir }
        CTableHead { abi, sizes }
        CPlugin {
            head, interval_ms, streams, stream_count, check_settings, create, collect, run, destroy
        }
        CStream { name, description, columns, column_count, kind, reserved }
        CColumn { name, unit, description, otel, attributes, share, role, r#type, reserved }
        CValue { r#type, reserved, of, length }
        CError { message, path }
        CSettings { context, text, integer, number, flag, json }
        CHost { context, collector, state_dir, log }
        CSink { context, push, empty, partial, flush, wait }
    }
}

#[test]
fn the_layout_is_the_one_that_was_released() {
    let now = layout();
    let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/abi");
    let file = format!("{directory}/{}.{}.txt", API_VERSION.0, API_VERSION.1);
    if env::var_os("DROPSONDE_BLESS").is_some() {
        fs::write(&file, &now).unwrap();
    }
    let released = fs::read_to_string(&file).unwrap_or_default();
    assert!(
        now == released,
        "what crosses the boundary is not what {file} says. A released version does not change: \
         give the API its next number, and write that one's file with DROPSONDE_BLESS=1.\n{now}"
    );
}
