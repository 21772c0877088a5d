//! Plugins in C, and whatever else can export a C symbol: `dropsonde.h`.

mod rows;
mod schema;
mod settings;

use std::ffi::{CString, c_char, c_void};
use std::ptr;
use std::slice;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use dropsonde_plugin_api::abi::c::{CError, CHost, CPlugin, CSink, CValue, FAILED, OK, SETTINGS};
use dropsonde_plugin_api::schema::StreamSchema;

use super::{Context, Instance, MAX_MESSAGE, Parts, Plugin, bounded};
use crate::loader::Table;
use crate::runner::protocol::{Begin, Failure};
use rows::Rows;
use settings::Asked;

impl Plugin for Table {
    fn describe(&self) -> Result<(Vec<StreamSchema>, u64), Failure> {
        let plugin = self.plugin();
        let interval_ms = if plugin.interval_ms == 0 { 1000 } else { plugin.interval_ms };
        // SAFETY: the library that the table came from is open, and the table has so many.
        let streams = unsafe { schema::streams(plugin.streams, plugin.stream_count) };
        Ok((streams.map_err(Failure::Schema)?, interval_ms))
    }

    fn check_settings(&self, settings: &str) -> Result<(), Failure> {
        let asked = Asked::new(settings)?;
        let Some(check) = self.plugin().check_settings else { return asked.finish() };
        let result = asked.lend(|settings| {
            // SAFETY: the function is of the type that the header gives it, and what is lent to
            // it lives until it returns.
            called(|error| unsafe { check(settings, error) })
        });
        asked.outcome(result)
    }

    fn create(&self, begin: &Begin, context: &Arc<Context>) -> Result<Box<dyn Instance>, Failure> {
        let plugin = *self.plugin();
        let missing = |what| Failure::Load(format!("its manifest says {what} in its table"));
        match (begin.events, plugin.collect, plugin.run) {
            (false, None, _) => {
                return Err(missing("that it is polled, and there is no collect()"));
            }
            (true, _, None) => return Err(missing("that it has events, and there is no run()")),
            _ => {}
        }
        let asked = Asked::new(&begin.settings)?;
        let lent = Lent::new(begin, context.clone());
        let mut instance = ptr::null_mut();
        let result = asked.lend(|settings| match plugin.create {
            // SAFETY: as in `check_settings`; the host lives until the instance is destroyed.
            Some(create) => called(|error| unsafe {
                create(settings, &raw const lent.host, error, &raw mut instance)
            }),
            None => Ok(()), // a table without is refused
        });
        let made = Made { plugin, instance, lent, rows: Rows::of(&context.streams) };
        match asked.outcome(result.clone()) {
            Ok(()) => Ok(Box::new(made)),
            Err(failure) => {
                if result.is_ok() {
                    Box::new(made).destroy()?; // it was made before its settings were refused
                }
                Err(failure)
            }
        }
    }
}

/// What is lent to an instance for its life.
struct Lent {
    host: CHost,
    context: Arc<Context>,
    #[expect(dead_code, reason = "what the host points to")]
    texts: [CString; 2],
}

impl Lent {
    /// In a place of its own, which does not move.
    fn new(begin: &Begin, context: Arc<Context>) -> Box<Self> {
        // Neither has a NUL: the one is a name, the other a path.
        let texts = [&begin.collector, &begin.state_dir]
            .map(|text| CString::new(text.as_str()).unwrap_or_default());
        let host = CHost {
            context: Arc::as_ptr(&context).cast(),
            collector: texts[0].as_ptr(),
            state_dir: texts[1].as_ptr(),
            log,
        };
        Box::new(Self { host, context, texts })
    }
}

struct Made {
    plugin: CPlugin,
    instance: *mut c_void,
    lent: Box<Lent>,
    rows: Rows,
}

impl Made {
    /// Calls a function that takes rows. What was partial; its rows are still there.
    fn with_sink(
        &mut self,
        wanted: u64,
        call: impl FnOnce(*const CSink, *mut CError) -> i32,
    ) -> Result<Vec<String>, Failure> {
        self.rows.clear();
        let context = &*self.lent.context;
        let state = Mutex::new(State { rows: &mut self.rows, parts: Parts::default() });
        let round = Round { context, wanted, state };
        let sink = CSink { context: (&raw const round).cast(), push, empty, partial, flush, wait };
        let result = called(|error| call(&raw const sink, error));
        let Round { state, .. } = round;
        let state = state.into_inner().unwrap_or_else(PoisonError::into_inner);
        result.map(|()| state.parts.into_named())
    }

    /// Hands over what was pushed.
    fn deliver(&mut self) {
        if let Err(what) = deliver(&self.lent.context, &mut self.rows) {
            self.lent.context.refuse(what);
        }
    }
}

impl Instance for Made {
    fn collect(&mut self, wanted: u64) -> Result<Vec<String>, Failure> {
        let (instance, Some(collect)) = (self.instance, self.plugin.collect) else {
            return Err(Failure::Returned); // a table without is refused
        };
        // SAFETY: the instance is the one that `create` made, on the one thread that calls it.
        let partial = self
            .with_sink(wanted, |sink, error| unsafe { collect(instance, wanted, sink, error) })?;
        self.deliver();
        Ok(partial)
    }

    fn run(&mut self) -> Result<Vec<String>, Failure> {
        let (instance, Some(run)) = (self.instance, self.plugin.run) else {
            return Err(Failure::Returned); // a table without is refused
        };
        // SAFETY: as in `collect`.
        let ended = self.with_sink(u64::MAX, |sink, error| unsafe { run(instance, sink, error) });
        self.deliver(); // what was pushed happened, however it ended
        ended
    }

    fn destroy(self: Box<Self>) -> Result<(), Failure> {
        if let Some(destroy) = self.plugin.destroy {
            // SAFETY: as in `collect`, and it is not used again.
            unsafe { destroy(self.instance) };
        }
        Ok(())
    }
}

/// Makes a call, and reads why it failed.
fn called(call: impl FnOnce(*mut CError) -> i32) -> Result<(), Failure> {
    let mut error = CError { message: [0; 512], path: [0; 128] };
    let code = call(&raw mut error);
    let text = |bytes: &[u8]| bounded(bytes.split(|byte| *byte == 0).next().unwrap_or_default());
    let message = match text(&error.message) {
        message if message.is_empty() => "it did not say why".to_owned(),
        message => message,
    };
    Err(match code {
        OK => return Ok(()),
        FAILED => Failure::Failed(message),
        SETTINGS => Failure::Settings { path: text(&error.path), message },
        other => {
            Failure::Failed(format!("it returned {other}, which is no DROPSONDE_…: {message}"))
        }
    })
}

/// What a sink points to, for one call.
struct Round<'a> {
    context: &'a Context,
    wanted: u64,
    state: Mutex<State<'a>>,
}

struct State<'a> {
    rows: &'a mut Rows,
    parts: Parts,
}

impl<'a> Round<'a> {
    fn state(&self) -> MutexGuard<'_, State<'a>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One that was not declared is for others to refuse.
    fn wants(&self, stream: u32) -> bool {
        let declared = (stream as usize) < self.context.streams.len() && stream < u64::BITS;
        !declared || self.wanted & (1 << stream) != 0
    }

    /// What a function that takes rows says to the plugin.
    fn answer(&self, result: Result<(), String>) -> i32 {
        match result {
            Ok(()) => OK,
            Err(what) => {
                self.context.refuse(what);
                FAILED
            }
        }
    }

    fn flush(&self) -> i32 {
        if !self.context.events {
            return self.answer(Err("flush() and wait() are for run() alone".into()));
        }
        let delivered = deliver(self.context, self.state().rows);
        self.answer(delivered)
    }
}

/// Hands over the batches that were begun.
fn deliver(context: &Context, rows: &mut Rows) -> Result<(), String> {
    rows.take().try_for_each(|batch| context.deliver(batch))
}

/// # Safety
/// The sink is one that `with_sink` lends, within the call that it was lent for.
unsafe fn round<'a>(sink: *const CSink) -> &'a Round<'a> {
    // SAFETY: as the caller has it.
    unsafe { &*(*sink).context.cast::<Round<'a>>() }
}

/// A text that ends with NUL, cut and made UTF-8; NULL is an empty one.
///
/// # Safety
/// It is NULL, or points to bytes of which one is NUL.
unsafe fn text(start: *const c_char) -> String {
    if start.is_null() {
        return String::new();
    }
    let start = start.cast::<u8>();
    // SAFETY: no byte behind the NUL is looked at.
    let is_text = |at: &usize| unsafe { start.add(*at).read() } != 0;
    let length = (0..MAX_MESSAGE).take_while(is_text).count();
    // SAFETY: these bytes were just looked at.
    let text = bounded(unsafe { slice::from_raw_parts(start, length) });
    if length == MAX_MESSAGE { text + "…" } else { text }
}

unsafe extern "C" fn push(
    sink: *const CSink,
    stream: u32,
    values: *const CValue,
    count: u64,
) -> i32 {
    // SAFETY: the plugin passes the sink that it was lent.
    let round = unsafe { round(sink) };
    if !round.wants(stream) {
        return OK;
    }
    let full = {
        let mut state = round.state();
        // SAFETY: the plugin passes so many values; as many are read as its stream has columns.
        let pushed = unsafe { state.rows.push(&round.context.streams, stream, values, count) };
        match pushed {
            Ok(many) => many && round.context.events,
            Err(what) => return round.answer(Err(what)),
        }
    };
    if full { round.flush() } else { OK }
}

unsafe extern "C" fn empty(sink: *const CSink, stream: u32) -> i32 {
    // SAFETY: as in `push`.
    let round = unsafe { round(sink) };
    if !round.wants(stream) {
        return OK;
    }
    let begun = round.state().rows.begin(stream);
    round.answer(begun)
}

unsafe extern "C" fn partial(sink: *const CSink, what: *const c_char) {
    // SAFETY: as in `push`; the text is one that ends with NUL.
    let (round, what) = unsafe { (round(sink), text(what)) };
    round.state().parts.add(|| what);
}

unsafe extern "C" fn flush(sink: *const CSink) -> i32 {
    // SAFETY: as in `push`.
    unsafe { round(sink) }.flush()
}

unsafe extern "C" fn wait(sink: *const CSink, nanoseconds: u64) -> i32 {
    // SAFETY: as in `push`.
    let round = unsafe { round(sink) };
    round.flush();
    i32::from(round.context.stop.wait(Duration::from_nanos(nanoseconds)))
}

unsafe extern "C" fn log(host: *const CHost, level: i32, message: *const c_char) {
    // SAFETY: the plugin passes the host that it was lent, before destroy() has returned; the
    // text is one that ends with NUL.
    let (context, message) = unsafe { (&*(*host).context.cast::<Context>(), text(message)) };
    context.log(u8::try_from(level.clamp(1, 5)).unwrap_or(1), message);
}
