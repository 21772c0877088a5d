//! The worker: loads a plugin, creates one instance and calls it, all on the thread that it is
//! run on. It knows nothing of where that thread is.

mod c;
mod declared;
mod rust;

use std::sync::Arc;
use std::sync::mpsc::Receiver;
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;

use dropsonde_plugin_api::schema::StreamSchema;

use super::log_gate::LogGate;
use super::protocol::{Begin, Failure, Reply, Request};
use crate::clock;
use crate::loader::{Functions, Loaded};
use crate::model::{RawBatch, check_schemas};

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

/// Most bytes that are kept of a plugin's message.
const MAX_MESSAGE: usize = 4096;

/// A plugin's message, cut and made UTF-8.
fn bounded(bytes: &[u8]) -> String {
    let (kept, rest) = bytes.split_at(bytes.len().min(MAX_MESSAGE));
    if rest.is_empty() {
        return String::from_utf8_lossy(kept).into_owned();
    }
    format!("{}… ({} bytes more)", String::from_utf8_lossy(kept), rest.len())
}

/// The parts of a round that could not be read: some are named, the rest are counted.
#[derive(Debug, Default)]
struct Parts {
    named: Vec<String>,
    beyond: usize,
}

impl Parts {
    const NAMED: usize = 32;

    fn add(&mut self, part: impl FnOnce() -> String) {
        if self.named.len() < Self::NAMED {
            self.named.push(part());
        } else {
            self.beyond += 1;
        }
    }

    fn into_named(mut self) -> Vec<String> {
        if self.beyond > 0 {
            self.named.push(format!("and {} more", self.beyond));
        }
        self.named
    }
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

    /// Hands a batch over; why not, if nobody listens any more.
    fn deliver(&self, batch: RawBatch) -> Result<(), String> {
        let heard = self.out.send(Reply::Batch(batch)) && (!self.events || self.out.flush());
        if self.events {
            self.look(|watch| watch.during_call()); // its call is the one that it runs in
        }
        if heard { Ok(()) } else { Err("the host has let go of this instance".to_owned()) }
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

    fn refuse(&self, what: String) {
        if self.events {
            // There may never be the end of a round to say it.
            self.out.send(Reply::Refused(Failure::BadBatch(what.clone())));
        }
        *self.refused.lock().unwrap_or_else(PoisonError::into_inner) = Some(what);
    }

    /// The outcome of a call in which batches may have been refused.
    fn outcome(&self, outcome: Result<Vec<String>, Failure>) -> Result<Vec<String>, Failure> {
        let refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner).take();
        match (outcome, refused) {
            (Ok(_) | Err(Failure::Failed(_)), Some(what)) => Err(Failure::BadBatch(what)),
            (outcome, _) => outcome,
        }
    }
}

/// A plugin's functions, in whatever language they are.
trait Plugin {
    /// What it publishes, and how often it is collected, in milliseconds.
    fn describe(&self) -> Result<(Vec<StreamSchema>, u64), Failure>;
    /// Checks settings (JSON) without making an instance.
    fn check_settings(&self, settings: &str) -> Result<(), Failure>;
    /// Makes an instance, which uses the context until it is destroyed, and maybe later.
    fn create(&self, begin: &Begin, context: &Arc<Context>) -> Result<Box<dyn Instance>, Failure>;
}

/// An instance. One that is dropped and not destroyed is left as it is.
trait Instance {
    /// One round; the bits say which streams are wanted. What was partial.
    fn collect(&mut self, wanted: u64) -> Result<Vec<String>, Failure>;
    /// Runs an event source until it is told to stop.
    fn run(&mut self) -> Result<Vec<String>, Failure>;
    /// Ends it.
    fn destroy(self: Box<Self>) -> Result<(), Failure>;
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
    let plugin: &dyn Plugin = match &loaded.functions {
        Functions::Rust(module) => module,
        Functions::C(table) => table,
    };
    let (streams, interval_ms) = plugin.describe()?;
    check_schemas(&streams).map_err(|error| Failure::Schema(error.to_string()))?;
    out.send(Reply::Described { streams: streams.clone(), interval_ms });
    if begin.check_only {
        plugin.check_settings(&begin.settings)?;
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
    let mut instance = plugin.create(begin, &context)?;
    out.send(Reply::Created);
    context.after_call();
    let ended = if begin.events {
        run_events(&mut *instance, &context)
    } else {
        run_polled(&mut *instance, requests, &context)
    };
    match ended {
        // The instance is in a state that nobody knows: not even its drop is called.
        Err(failure @ Failure::Panicked(_)) => Err(failure),
        ended => ended.and(instance.destroy()),
    }
}

fn run_events(instance: &mut dyn Instance, context: &Context) -> Result<(), Failure> {
    context.before_call();
    context.outcome(instance.run())?;
    if context.stop.wait(Duration::ZERO) { Ok(()) } else { Err(Failure::Returned) }
}

fn run_polled(
    instance: &mut dyn Instance,
    requests: &mut dyn Requests,
    context: &Context,
) -> Result<(), Failure> {
    loop {
        match requests.next() {
            Some(Request::Collect { id, wanted }) => {
                context.before_call();
                let before = clock::thread_cpu();
                let outcome = context.outcome(instance.collect(wanted));
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
