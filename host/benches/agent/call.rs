//! One call through the boundary: `collect` of a plugin that reads nothing, its ten numbers
//! copied on the host's side.

use std::ffi::c_void;
use std::hint::black_box;
use std::ptr;

use dropsonde_plugin_api::abi::abi_stable::std_types::{RResult, RSlice, RStr};
use dropsonde_plugin_api::abi::{
    AbiBatch, AbiColumnView, AbiFailure, AbiHost, AbiInstance, AbiSink, PluginModuleRef,
};

use crate::measure::{in_turn, per_call};
use crate::table::{Figure, Row};
use crate::{Effort, build};

const CALLS: u64 = 1_000_000;

extern "C" fn nothing(_: *const c_void) {}

extern "C" fn log(_: *const c_void, _: u8, _: RStr<'_>) {}

extern "C" fn wait(_: *const c_void, _: u64) -> u8 {
    1
}

/// Copies every column, as the host does.
fn copy(batch: &AbiBatch<'_>) {
    let columns: Vec<Vec<u64>> = batch.columns.iter().map(|column| column.u64s.to_vec()).collect();
    black_box(columns);
}

extern "C" fn emit(_: *const c_void, batch: &AbiBatch<'_>) -> AbiFailure {
    copy(batch);
    AbiFailure::none()
}

fn instance(module: PluginModuleRef) -> AbiInstance {
    let host = AbiHost {
        context: ptr::null(),
        retain: nothing,
        release: nothing,
        log,
        collector: "bench".into(),
        state_dir: "".into(),
    };
    match module.create()("{}".into(), host) {
        RResult::ROk(instance) => instance,
        RResult::RErr(failure) => panic!("{failure:?}"),
    }
}

/// A bare function that hands ten columns to a bare function, which copies them.
#[inline(never)]
extern "C" fn bare(emit: extern "C" fn(&AbiBatch<'_>), columns: &[AbiColumnView<'_>; 10]) {
    emit(&AbiBatch { stream: 0, rows: 1, columns: RSlice::from_slice(columns) });
}

extern "C" fn bare_emit(batch: &AbiBatch<'_>) {
    copy(batch);
}

pub(crate) fn rows(effort: Effort) -> Vec<Row> {
    let module = dropsonde::bench::open(&build::fixture("bench_still")).unwrap();
    let (instance, collect) = (instance(module), module.collect());
    let sink = AbiSink { context: ptr::null(), emit, wait };
    let calls = CALLS / u64::from(effort.haste);
    let number = [7];
    let column = AbiColumnView {
        u64s: RSlice::from_slice(&number),
        i64s: RSlice::EMPTY,
        f64s: RSlice::EMPTY,
        bytes: RSlice::EMPTY,
        ends: RSlice::EMPTY,
        validity: RSlice::EMPTY,
    };
    let columns = [column; 10];
    let mut through = || {
        per_call(calls, || {
            for _ in 0..calls {
                let failure = collect(instance, u64::MAX, &sink);
                assert_eq!(failure.kind, AbiFailure::NONE, "{failure:?}");
            }
        })
    };
    let mut directly = || {
        per_call(calls, || {
            for _ in 0..calls {
                bare(black_box(bare_emit), black_box(&columns));
            }
        })
    };
    let [through, directly] =
        in_turn(effort, [&mut through, &mut directly]).map(Figure::Nanoseconds);
    let work = "`collect` through the boundary, ten numbers pushed and copied";
    vec![Row::new(work, through, "two bare calls and the copy", directly)]
}
