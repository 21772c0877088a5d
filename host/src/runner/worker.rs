//! The worker: loads a plugin, creates one instance and calls it, all on the thread that it is
//! run on. It knows nothing of where that thread is.

use std::ffi::c_void;
use std::sync::Arc;
use std::sync::mpsc::Receiver;
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;

use dropsonde_plugin_api::abi::abi_stable::std_types::{RResult, RStr};
use dropsonde_plugin_api::abi::{
    AbiBatch, AbiColumnView, AbiFailure, AbiHost, AbiInstance, AbiSink,
};
use dropsonde_plugin_api::schema::{
    ColumnSchema, Role, Share, StreamKind, StreamSchema, ValueType,
};

use super::log_gate::LogGate;
use super::protocol::{Begin, Failure, Reply, Request};
use crate::clock;
use crate::loader::Loaded;
use crate::model::{ColumnData, Data, MAX_ROWS, RawBatch, check_schemas};

/// Largest text of one column in one batch.
const MAX_TEXT: usize = 16 << 20;
/// Longest message of a plugin, in bytes.
const MAX_WORDS: usize = 4096;
/// Most things that are named as unreadable in one round.
const MAX_PARTIAL: usize = 32;

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
    fn log(&self, level: u8, message: &str) {
        let message = readable(message);
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
    requests: &Receiver<Request>,
    out: Arc<dyn Out>,
    stop: Arc<StopFlag>,
    watch: Option<Box<dyn Watch>>,
) -> (Option<Loaded>, Option<Failure>) {
    let Ok(Request::Begin(begin)) = requests.recv() else { return (None, None) };
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
    requests: &Receiver<Request>,
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
    requests: &Receiver<Request>,
    context: &Context,
) -> Result<(), Failure> {
    loop {
        match requests.recv() {
            Ok(Request::Collect { id, wanted }) => {
                context.before_call();
                let outcome = context.outcome(loaded.module.collect()(instance, wanted, sink));
                let fatal = outcome.as_ref().err().filter(|failure| failure.is_fatal()).cloned();
                let heard = context.out.send(Reply::Done { id, outcome });
                match fatal {
                    Some(failure) => return Err(failure),
                    None if !heard => return Ok(()),
                    None => context.after_call(),
                }
            }
            Ok(Request::Begin(_)) => {}
            Ok(Request::Stop) | Err(_) => return Ok(()),
        }
    }
}

fn describe(loaded: &Loaded) -> Result<(Vec<StreamSchema>, u64), Failure> {
    let description = match loaded.module.describe()() {
        RResult::ROk(description) => description,
        RResult::RErr(error) => return Err(failure(error).err().unwrap_or(Failure::Returned)),
    };
    let streams = description
        .streams
        .iter()
        .map(stream_from_abi)
        .collect::<Result<Vec<_>, String>>()
        .map_err(Failure::Schema)?;
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

/// The outcome of a call: what was partial, or why it failed.
fn failure(outcome: AbiFailure) -> Result<Vec<String>, Failure> {
    let message = readable(&outcome.message);
    Err(match outcome.kind {
        AbiFailure::NONE => {
            let partial = outcome.partial.iter().take(MAX_PARTIAL).map(|text| readable(text));
            let more = outcome.partial.len().saturating_sub(MAX_PARTIAL);
            let more = (more > 0).then(|| format!("and {more} more"));
            return Ok(partial.chain(more).collect());
        }
        AbiFailure::SETTINGS => Failure::Settings { path: readable(&outcome.path), message },
        AbiFailure::PANICKED => Failure::Panicked(message),
        AbiFailure::REFUSED => Failure::BadBatch(message),
        _ => Failure::Failed(message),
    })
}

/// A plugin's words, as text that is no longer than one needs. Its types promise UTF-8, and its
/// types are the plugin's.
fn readable(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut text = String::from_utf8_lossy(&bytes[..bytes.len().min(MAX_WORDS)]).into_owned();
    if bytes.len() > MAX_WORDS {
        text.push('…');
    }
    text
}

fn stream_from_abi(stream: &dropsonde_plugin_api::abi::AbiStream) -> Result<StreamSchema, String> {
    let kind = match stream.kind {
        0 => StreamKind::Snapshot,
        1 => StreamKind::Event,
        other => {
            return Err(format!(
                "stream `{}` has the unknown kind {other}",
                readable(&stream.name)
            ));
        }
    };
    let columns = stream.columns.iter().map(column_from_abi).collect::<Result<_, _>>()?;
    Ok(StreamSchema {
        name: readable(&stream.name),
        kind,
        description: readable(&stream.description),
        columns,
    })
}

fn column_from_abi(column: &dropsonde_plugin_api::abi::AbiColumn) -> Result<ColumnSchema, String> {
    let role = match column.role {
        0 => Role::Key,
        1 => Role::Counter,
        2 => Role::Gauge,
        3 => Role::Attribute,
        other => {
            return Err(format!(
                "column `{}` has the unknown role {other}",
                readable(&column.name)
            ));
        }
    };
    let value = match column.value {
        0 => ValueType::U64,
        1 => ValueType::I64,
        2 => ValueType::F64,
        3 => ValueType::Bool,
        4 => ValueType::Text,
        5 => ValueType::TextList,
        other => {
            return Err(format!(
                "column `{}` has the unknown type {other}",
                readable(&column.name)
            ));
        }
    };
    let share = match column.share.as_slice() {
        [name, of, otel] => {
            Some(Share { name: readable(name), of: readable(of), otel: readable(otel) })
        }
        _ => None,
    };
    Ok(ColumnSchema {
        name: readable(&column.name),
        role,
        value,
        unit: readable(&column.unit),
        description: readable(&column.description),
        otel: readable(&column.otel),
        attributes: column
            .attributes
            .chunks_exact(2)
            .map(|pair| (readable(&pair[0]), readable(&pair[1])))
            .collect(),
        share,
    })
}

/// Copies what the plugin lends. Lengths are bounded here and checked against the schema by the
/// host, which trusts no runner.
fn copy(context: &Context, batch: &AbiBatch<'_>) -> Result<RawBatch, String> {
    let streams = &context.streams;
    let schema = streams.get(batch.stream as usize).ok_or_else(|| {
        format!("stream {} was not declared; the plugin declares {}", batch.stream, streams.len())
    })?;
    if batch.rows > MAX_ROWS as u64 {
        return Err(format!("{} rows in one batch, allowed are {MAX_ROWS}", batch.rows));
    }
    if batch.columns.len() != schema.columns.len() {
        let (found, declared) = (batch.columns.len(), schema.columns.len());
        return Err(format!("{found} columns in a batch, declared are {declared}"));
    }
    let rows = batch.rows as usize;
    let columns = schema
        .columns
        .iter()
        .zip(batch.columns.iter())
        .map(|(column, view)| {
            copy_column(column.value, view, rows)
                .ok_or_else(|| format!("column `{}` has values of a wrong length", column.name))
        })
        .collect::<Result<_, _>>()?;
    Ok(RawBatch { stream: batch.stream, rows, monotonic_ns: clock::monotonic_ns(), columns })
}

fn copy_column(value: ValueType, view: &AbiColumnView<'_>, rows: usize) -> Option<ColumnData> {
    fn exactly<T: Clone>(values: &[T], rows: usize) -> Option<Vec<T>> {
        (values.len() == rows).then(|| values.to_vec())
    }
    let data = match value {
        ValueType::U64 => Data::U64(exactly(&view.u64s, rows)?),
        ValueType::I64 => Data::I64(exactly(&view.i64s, rows)?),
        ValueType::F64 => Data::F64(exactly(&view.f64s, rows)?),
        ValueType::Bool => Data::Bool(exactly(&view.bytes, rows)?),
        ValueType::Text | ValueType::TextList => {
            let bytes = (view.bytes.len() <= MAX_TEXT).then(|| view.bytes.to_vec())?;
            Data::Text { ends: exactly(&view.ends, rows)?, bytes }
        }
    };
    let validity = match view.validity.len() {
        0 => Vec::new(),
        _ => exactly(&view.validity, rows)?,
    };
    Some(ColumnData { data, validity })
}

extern "C" fn emit(context: *const c_void, batch: &AbiBatch<'_>) -> AbiFailure {
    // SAFETY: the context is the `Context` that `serve` keeps for as long as it calls the
    // plugin, and the plugin calls this only within such a call.
    let context = unsafe { &*context.cast::<Context>() };
    match copy(context, batch) {
        Ok(batch) => {
            if context.deliver(batch) {
                AbiFailure::none()
            } else {
                context.refuse("the host has let go of this instance".into())
            }
        }
        Err(what) => context.refuse(what),
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
    context.log(level, message.as_str());
}

extern "C" fn retain(context: *const c_void) {
    // SAFETY: the pointer came from `Arc::into_raw`, and the caller holds a reference.
    unsafe { Arc::increment_strong_count(context.cast::<Context>()) };
}

extern "C" fn release(context: *const c_void) {
    // SAFETY: as in `retain`; the caller gives its reference up.
    unsafe { Arc::decrement_strong_count(context.cast::<Context>()) };
}
