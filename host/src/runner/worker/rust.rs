//! Plugins in Rust: what `export_plugin!` makes.

#[deny(unsafe_code)] // values alone
mod copied;

use std::ffi::c_void;
use std::sync::Arc;
use std::time::Duration;

use dropsonde_plugin_api::abi::abi_stable::std_types::RStr;
use dropsonde_plugin_api::abi::{
    AbiBatch, AbiFailure, AbiHost, AbiInstance, AbiSink, PluginModuleRef,
};
use dropsonde_plugin_api::schema::StreamSchema;

use super::{Context, Instance, Plugin};
use crate::runner::protocol::{Begin, Failure};
use copied::{copy, failure};

impl Plugin for PluginModuleRef {
    fn describe(&self) -> Result<(Vec<StreamSchema>, u64), Failure> {
        let description = PluginModuleRef::describe(self)().into_result().map_err(refused)?;
        let streams = copied::streams(&description).map_err(Failure::Schema)?;
        Ok((streams, description.interval_ms))
    }

    fn check_settings(&self, settings: &str) -> Result<(), Failure> {
        failure(PluginModuleRef::check_settings(self)(settings.into())).map(drop)
    }

    fn create(&self, begin: &Begin, context: &Arc<Context>) -> Result<Box<dyn Instance>, Failure> {
        let host = AbiHost {
            context: Arc::into_raw(context.clone()).cast(),
            retain,
            release,
            log,
            collector: begin.collector.as_str().into(),
            state_dir: begin.state_dir.as_str().into(),
        };
        let made = PluginModuleRef::create(self)(begin.settings.as_str().into(), host);
        let instance = made.into_result().map_err(refused)?;
        let sink = AbiSink { context: Arc::as_ptr(context).cast(), emit, wait };
        Ok(Box::new(Made { module: *self, instance, sink, _context: context.clone() }))
    }
}

/// Why there is nothing.
fn refused(error: AbiFailure) -> Failure {
    failure(error).err().unwrap_or(Failure::Returned)
}

struct Made {
    module: PluginModuleRef,
    instance: AbiInstance,
    sink: AbiSink,
    /// What the sink points to.
    _context: Arc<Context>,
}

impl Instance for Made {
    fn collect(&mut self, wanted: u64) -> Result<Vec<String>, Failure> {
        failure(self.module.collect()(self.instance, wanted, &self.sink))
    }

    fn run(&mut self) -> Result<Vec<String>, Failure> {
        failure(self.module.run()(self.instance, &self.sink))
    }

    fn destroy(self: Box<Self>) -> Result<(), Failure> {
        failure(self.module.destroy()(self.instance)).map(drop)
    }
}

extern "C" fn emit(context: *const c_void, batch: &AbiBatch<'_>) -> AbiFailure {
    // SAFETY: the context is the one that `Made` keeps, and the plugin calls this only within a
    // call of its instance.
    let context = unsafe { &*context.cast::<Context>() };
    let taken = copy(&context.streams, batch).map_err(|error| error.to_string());
    let Err(what) = taken.and_then(|batch| context.deliver(batch)) else {
        return AbiFailure::none();
    };
    let failure = AbiFailure::new(AbiFailure::REFUSED, &what);
    context.refuse(what);
    failure
}

extern "C" fn wait(context: *const c_void, nanos: u64) -> u8 {
    // SAFETY: as in `emit`.
    let context = unsafe { &*context.cast::<Context>() };
    u8::from(context.stop.wait(Duration::from_nanos(nanos)))
}

extern "C" fn log(context: *const c_void, level: u8, message: RStr<'_>) {
    // SAFETY: the caller holds a reference that it has not released.
    let context = unsafe { &*context.cast::<Context>() };
    context.log(level, copied::text(message));
}

extern "C" fn retain(context: *const c_void) {
    // SAFETY: the pointer came from `Arc::into_raw`, and the caller holds a reference.
    unsafe { Arc::increment_strong_count(context.cast::<Context>()) };
}

extern "C" fn release(context: *const c_void) {
    // SAFETY: as in `retain`; the caller gives its reference up.
    unsafe { Arc::decrement_strong_count(context.cast::<Context>()) };
}
