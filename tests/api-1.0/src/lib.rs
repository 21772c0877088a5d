//! A collector written against plugin API 1.0 by hand, with nothing of a later one.
//! It counts its rounds, in the stream that its settings name.

mod abi;

use std::ffi::c_void;

use abi::*;
use abi_stable::library::{LibHeader, RootModuleResult};
use abi_stable::prefix_type::PrefixTypeTrait;
use abi_stable::std_types::{RResult, RSlice, RStr, RString, RVec};

struct Oldest {
    host: AbiHost,
    rounds: u64,
}

extern "C" fn describe() -> RResult<AbiDescription, AbiFailure> {
    let column = |name: &str, role, value, unit: &str| AbiColumn {
        name: name.into(),
        role,
        value,
        unit: unit.into(),
        description: "As it was in 1.0.".into(),
        otel: RString::new(),
        attributes: RVec::new(),
        share: RVec::new(),
    };
    let columns = [column("name", 0, 4, ""), column("rounds", 1, 0, "{round}")];
    let stream = AbiStream {
        name: RString::new(),
        kind: 0,
        description: "Rounds.".into(),
        columns: columns.into_iter().collect(),
    };
    RResult::ROk(AbiDescription { streams: [stream].into_iter().collect(), interval_ms: 100 })
}

extern "C" fn check_settings(json: RStr<'_>) -> AbiFailure {
    match json.as_str() {
        "{}" => AbiFailure::none(),
        _ => AbiFailure { path: "key".into(), ..AbiFailure::new(AbiFailure::SETTINGS, "unknown") },
    }
}

extern "C" fn create(json: RStr<'_>, host: AbiHost) -> RResult<AbiInstance, AbiFailure> {
    let checked = check_settings(json);
    if checked.kind != AbiFailure::NONE {
        (host.release)(host.context);
        return RResult::RErr(checked);
    }
    (host.log)(host.context, 3, "the oldest lives".into());
    let oldest = Box::new(Oldest { host, rounds: 0 });
    RResult::ROk(AbiInstance(Box::into_raw(oldest).cast::<c_void>()))
}

extern "C" fn collect(instance: AbiInstance, _: u64, sink: &AbiSink) -> AbiFailure {
    // SAFETY: it is what `create` made, not yet destroyed, and nobody else has it during a call.
    let oldest = unsafe { &mut *instance.0.cast::<Oldest>() };
    oldest.rounds += 1;
    let (rounds, name) = ([oldest.rounds], oldest.host.collector.as_str());
    let (ends, empty) = ([name.len() as u32], empty());
    let columns = [
        AbiColumnView {
            bytes: RSlice::from_slice(name.as_bytes()),
            ends: RSlice::from_slice(&ends),
            ..empty
        },
        AbiColumnView { u64s: RSlice::from_slice(&rounds), ..empty },
    ];
    let batch = AbiBatch { stream: 0, rows: 1, columns: RSlice::from_slice(&columns) };
    (sink.emit)(sink.context, &batch)
}

fn empty<'a>() -> AbiColumnView<'a> {
    AbiColumnView {
        u64s: RSlice::EMPTY,
        i64s: RSlice::EMPTY,
        f64s: RSlice::EMPTY,
        bytes: RSlice::EMPTY,
        ends: RSlice::EMPTY,
        validity: RSlice::EMPTY,
    }
}

extern "C" fn run(_: AbiInstance, _: &AbiSink) -> AbiFailure {
    AbiFailure::new(AbiFailure::FAILED, "it is polled")
}

extern "C" fn destroy(instance: AbiInstance) -> AbiFailure {
    // SAFETY: it is what `create` made; the host destroys it once, and then calls it no more.
    let oldest = unsafe { Box::from_raw(instance.0.cast::<Oldest>()) };
    (oldest.host.release)(oldest.host.context);
    AbiFailure::none()
}

extern "C" fn load() -> RootModuleResult {
    abi_stable::library::__call_root_module_loader(|| {
        PluginModule { describe, check_settings, create, collect, run, destroy }.leak_into_prefix()
    })
}

#[no_mangle]
// SAFETY: `load` makes the module whose type is named here, and no other.
pub static dropsonde_plugin_module: LibHeader = unsafe {
    LibHeader::from_constructor::<PluginModuleRef>(
        load,
        abi_stable::library::CheckTypeLayout::Yes,
    )
};

/// The manifest of format 1, byte for byte.
#[repr(C)]
pub struct Manifest {
    magic: [u8; 8],
    format: u32,
    size: u32,
    api: [u16; 2],
    kind: u8,
    panic_abort: u8,
    reserved: [u8; 2],
    capabilities: u32,
    reserved_too: [u8; 4],
    name: [u8; 64],
    version: [u8; 32],
    description: [u8; 256],
}

const fn padded<const N: usize>(text: &[u8]) -> [u8; N] {
    let mut out = [0; N];
    let mut index = 0;
    while index < text.len() {
        out[index] = text[index];
        index += 1;
    }
    out
}

#[used]
#[no_mangle]
#[link_section = ".dropsonde"]
pub static dropsonde_plugin_manifest: Manifest = Manifest {
    magic: *b"DROPSND\0",
    format: 1,
    size: std::mem::size_of::<Manifest>() as u32,
    api: [1, 0],
    kind: 0,
    panic_abort: 0,
    reserved: [0; 2],
    capabilities: 0,
    reserved_too: [0; 4],
    name: padded(b"oldest"),
    version: padded(b"0.1.0"),
    description: padded(b"Against plugin API 1.0."),
};
