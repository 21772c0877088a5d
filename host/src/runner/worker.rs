//! The worker: loads a plugin, creates one instance and calls it, all on the thread that it is
//! run on. It knows nothing of where that thread is.

#[deny(unsafe_code)] // values alone
mod copied;

use std::ffi::c_void;
use std::sync::Arc;
use std::sync::mpsc::Receiver;
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;

use dropsonde_plugin_api::abi::abi_stable::std_types::{RResult, RStr};
use dropsonde_plugin_api::abi::{AbiBatch, AbiFailure, AbiHost, AbiInstance, AbiSink};
use dropsonde_plugin_api::schema::StreamSchema;

use super::log_gate::LogGate;
use super::protocol::{Begin, Failure, Reply, Request};
use crate::clock;
use crate::loader::Loaded;
use crate::model::{RawBatch, check_schemas};
use copied::{copy, failure};

/// Takes what the worker says.
pub(crate) trait Out: Send + Sync + 'static {
    /// Takes a reply; may block while the slot does not keep up. False if nobody listens any
    /// more.
    fn send(&self, reply: Reply) -> bool;
    /// Sends what was gathered: an event source has no end of a round to wait for.
    fn flush(&self) -> bool {
        true
    }
}

/// Where the worker is told what to do.
pub(crate) trait Requests {
    /// Waits for the next request; `None` when there will be none.
    fn next(&mut self) -> Option<Request>;
}

impl Requests for Receiver<Request> {
    fn next(&mut self) -> Option<Request> {
        self.recv().ok()
    }
}

/// Looks at what a plugin does to the process that it shares with the host.
pub(crate) trait Watch: Send {
    /// A call into the plugin is about to be made, on this thread.
    fn before_call(&mut self);
    /// It goes on, and has come back to the host for a moment. As `after_call`, now and then.
    fn during_call(&mut self) -> Option<String>;
    /// It is over. What the plugin did that it must not, if anything.
    fn after_call(&mut self) -> Option<String>;
}

/// Tells a running event source to stop.
#[derive(Debug, Default)]
pub(crate) struct StopFlag {
    stopped: Mutex<bool>,
    changed: Condvar,
}

impl StopFlag {
    pub(crate) fn stop(&self) {
        *self.stopped.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.changed.notify_all();
    }

    fn wait(&self, time: Duration) -> bool {
        let stopped = self.stopped.lock().unwrap_or_else(PoisonError::into_inner);
        if time.is_zero() {
            return *stopped;
        }
        let waited = self.changed.wait_timeout_while(stopped, time, |stopped| !*stopped);
        *waited.unwrap_or_else(PoisonError::into_inner).0
    }
}

/// What the plugin's callbacks reach. Counted: a thread that a plugin left behind may log after
/// its instance is gone.
struct Context {
    out: Arc<dyn Out>,
    stop: Arc<StopFlag>,
    streams: Vec<StreamSchema>,
    events: bool,
    /// Why the last batch was refused: the plugin's own word for it is not relied upon.
    refused: Mutex<Option<String>>,
    log_gate: Mutex<LogGate>,
    watch: Option<Mutex<Box<dyn Watch>>>,
}

impl Context {
    /// Passes a line on, unless there are too many.
    fn log(&self, level: u8, message: String) {
        let mut gate = self.log_gate.lock().unwrap_or_else(PoisonError::into_inner);
        let passed = gate.pass(clock::monotonic());
        drop(gate);
        let Some(suppressed) = passed else { return };
        if suppressed > 0 {
            let message = format!("{suppressed} log lines were suppressed");
            self.out.send(Reply::Log { level: 2, message });
        }
        self.out.send(Reply::Log { level, message });
    }

    fn deliver(&self, batch: RawBatch) -> bool {
        let heard = self.out.send(Reply::Batch(batch)) && (!self.events || self.out.flush());
        if self.events {
            self.look(|watch| watch.during_call()); // its call is the one that it runs in
        }
        heard
    }

    /// A call is about to be made.
    fn before_call(&self) {
        if let Some(watch) = &self.watch {
            watch.lock().unwrap_or_else(PoisonError::into_inner).before_call();
        }
    }

    /// A call is over.
    fn after_call(&self) {
        self.look(|watch| watch.after_call());
    }

    /// Says what the plugin did that it must not.
    fn look(&self, look: impl FnOnce(&mut dyn Watch) -> Option<String>) {
        let Some(watch) = &self.watch else { return };
        let strayed = look(&mut **watch.lock().unwrap_or_else(PoisonError::into_inner));
        if let Some(what) = strayed {
            self.out.send(Reply::Strayed(what));
        }
    }

    fn refuse(&self, what: String) -> AbiFailure {
        if self.events {
            // There may never be the end of a round to say it.
            self.out.send(Reply::Refused(Failure::BadBatch(what.clone())));
        }
        let failure = AbiFailure::new(AbiFailure::REFUSED, &what);
        *self.refused.lock().unwrap_or_else(PoisonError::into_inner) = Some(what);
        failure
    }

    /// The outcome of a call in which batches may have been refused.
    fn outcome(&self, outcome: AbiFailure) -> Result<Vec<String>, Failure> {
        let refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner).take();
        match (failure(outcome), refused) {
            (Ok(_) | Err(Failure::Failed(_)), Some(what)) => Err(Failure::BadBatch(what)),
            (outcome, _) => outcome,
        }
    }
}

/// Serves one plugin until it is told to stop or the instance can't be used any more. Returns
/// the library, for the caller to close or to leak, and how it ended.
pub(crate) fn run(
    requests: &mut dyn Requests,
    out: Arc<dyn Out>,
    stop: Arc<StopFlag>,
    watch: Option<Box<dyn Watch>>,
) -> (Option<Loaded>, Option<Failure>) {
    let Some(Request::Begin(begin)) = requests.next() else { return (None, None) };
    let loaded = match Loaded::open(&begin.image) {
        Ok(loaded) => loaded,
        Err(error) => return (None, Some(Failure::Load(error.to_string()))),
    };
    let ended = serve(&loaded, &begin, requests, out, stop, watch).err();
    (Some(loaded), ended)
}

fn serve(
    loaded: &Loaded,
    begin: &Begin,
    requests: &mut dyn Requests,
    out: Arc<dyn Out>,
    stop: Arc<StopFlag>,
    watch: Option<Box<dyn Watch>>,
) -> Result<(), Failure> {
    let (streams, interval_ms) = describe(loaded)?;
    out.send(Reply::Described { streams: streams.clone(), interval_ms });
    if begin.check_only {
        failure(loaded.module.check_settings()(begin.settings.as_str().into()))?;
        out.send(Reply::SettingsGood);
        return Ok(());
    }
    let (refused, log_gate) = (Mutex::default(), Mutex::default());
    let context = Arc::new(Context {
        out: out.clone(),
        stop,
        streams,
        events: begin.events,
        refused,
        log_gate,
        watch: watch.map(Mutex::new),
    });
    context.before_call();
    let instance = create(loaded, begin, &context)?;
    out.send(Reply::Created);
    context.after_call();
    let sink = AbiSink { context: Arc::as_ptr(&context).cast(), emit, wait };
    let ended = if begin.events {
        run_events(loaded, instance, &sink, &context)
    } else {
        run_polled(loaded, instance, &sink, requests, &context)
    };
    match ended {
        // The instance is in a state that nobody knows: not even its drop is called.
        Err(failure @ Failure::Panicked(_)) => Err(failure),
        ended => {
            let destroyed = failure(loaded.module.destroy()(instance)).map(drop);
            ended.and(destroyed)
        }
    }
}

fn run_events(
    loaded: &Loaded,
    instance: AbiInstance,
    sink: &AbiSink,
    context: &Context,
) -> Result<(), Failure> {
    context.before_call();
    context.outcome(loaded.module.run()(instance, sink))?;
    if context.stop.wait(Duration::ZERO) { Ok(()) } else { Err(Failure::Returned) }
}

fn run_polled(
    loaded: &Loaded,
    instance: AbiInstance,
    sink: &AbiSink,
    requests: &mut dyn Requests,
    context: &Context,
) -> Result<(), Failure> {
    loop {
        match requests.next() {
            Some(Request::Collect { id, wanted }) => {
                context.before_call();
                let before = clock::thread_cpu();
                let outcome = context.outcome(loaded.module.collect()(instance, wanted, sink));
                let fatal = outcome.as_ref().err().filter(|failure| failure.is_fatal()).cloned();
                let cpu = clock::thread_cpu().saturating_sub(before);
                let cpu_ns = cpu.as_nanos() as u64;
                let heard = context.out.send(Reply::Done { id, outcome, cpu_ns });
                match fatal {
                    Some(failure) => return Err(failure),
                    None if !heard => return Ok(()),
                    None => context.after_call(),
                }
            }
            Some(Request::Begin(_)) => {}
            Some(Request::Stop) | None => return Ok(()),
        }
    }
}

fn describe(loaded: &Loaded) -> Result<(Vec<StreamSchema>, u64), Failure> {
    let description = match loaded.module.describe()() {
        RResult::ROk(description) => description,
        RResult::RErr(error) => return Err(failure(error).err().unwrap_or(Failure::Returned)),
    };
    let streams = copied::streams(&description).map_err(Failure::Schema)?;
    check_schemas(&streams).map_err(|error| Failure::Schema(error.to_string()))?;
    Ok((streams, description.interval_ms))
}

fn create(loaded: &Loaded, begin: &Begin, context: &Arc<Context>) -> Result<AbiInstance, Failure> {
    let host = AbiHost {
        context: Arc::into_raw(context.clone()).cast(),
        retain,
        release,
        log,
        collector: begin.collector.as_str().into(),
        state_dir: begin.state_dir.as_str().into(),
    };
    match loaded.module.create()(begin.settings.as_str().into(), host) {
        RResult::ROk(instance) => Ok(instance),
        RResult::RErr(error) => Err(failure(error).err().unwrap_or(Failure::Returned)),
    }
}

extern "C" fn emit(context: *const c_void, batch: &AbiBatch<'_>) -> AbiFailure {
    // SAFETY: the context is the `Context` that `serve` keeps for as long as it calls the
    // plugin, and the plugin calls this only within such a call.
    let context = unsafe { &*context.cast::<Context>() };
    match copy(&context.streams, batch) {
        Ok(batch) => {
            if context.deliver(batch) {
                AbiFailure::none()
            } else {
                context.refuse("the host has let go of this instance".into())
            }
        }
        Err(error) => context.refuse(error.to_string()),
    }
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
