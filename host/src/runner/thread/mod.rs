//! A runner on a thread of the host. Plugin code, drops included, runs on that thread alone, and
//! the thread has for itself what the kernel keeps by thread (see `separate`). What it does to
//! the host nevertheless is looked for (`conduct`), and remembered where it ended the host
//! (`trail`, `accused`).

mod accused;
mod conduct;
mod footprint;
mod mail;
mod process_wide;
mod requests;
mod separate;
mod trail;
mod unload;

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU32, Ordering};
use std::sync::mpsc::{self, Sender};
use std::sync::{Arc, Mutex, PoisonError};

use rustix::process::Pid;
use tokio::sync::mpsc::error::TrySendError;

use super::protocol::{Begin, Failure, Reply, Request};
use super::replies;
use super::worker::{self, Out, StopFlag};
use super::{Isolation, Link, Runner};
use accused::Accused;
use conduct::{Conduct, Pace};
pub(crate) use footprint::Footprint;
use mail::Mail;
use trail::Trail;
pub(crate) use unload::Quiet;
use unload::{End, Notice, tasks, thread_name};

/// Loads into the host in its whole life. Each load of a Rust cdylib takes one of the process's
/// 1,024 `pthread` keys for ever, and the process aborts when they are used up.
pub(crate) const THREAD_LOADS_MAX: u32 = 256;

const QUEUE: usize = 64;
/// Most batches of a round that are gathered before they are sent.
const GATHER: usize = 64;

/// Told of a collector that did not keep to itself, when it has ended: its name, and what it did.
type Strayed = Box<dyn Fn(&str, &str) + Send>;

/// The host's collector threads, and what becomes of their libraries.
#[derive(Debug)]
pub(crate) struct Threads {
    ended: Sender<Notice>,
    quiet: Arc<Quiet>,
    serial: AtomicU32,
    records: PathBuf,
    accused: Mutex<Accused>,
    trail: Mutex<Option<Trail>>,
    mail: Arc<Mail>,
    pace: Pace,
}

#[derive(Debug)]
struct ThreadLink {
    requests: requests::Sender,
    stop: Arc<StopFlag>,
    serial: u32,
    /// The thread's id; 0 before it runs.
    task: Arc<AtomicI32>,
    mail: Arc<Mail>,
}

impl Link for ThreadLink {
    fn send(&self, request: Request) {
        if matches!(request, Request::Stop) {
            self.stop.stop();
        }
        if matches!(request, Request::Collect { .. }) {
            self.mail.begins(self.serial);
        }
        if !self.requests.send(request) {
            self.mail.forget(self.serial);
        }
    }

    fn abandon(&self) {
        self.mail.forget(self.serial);
        process_wide::forget(self.serial); // what happens from now on is not laid at its door
        // Whatever it goes on doing, it does when nobody else wants the processor.
        let task = Pid::from_raw(self.task.load(Ordering::Relaxed));
        let _ = task.map(|task| rustix::process::setpriority_process(Some(task), 19));
    }
}

impl Drop for ThreadLink {
    fn drop(&mut self) {
        // The worker ends when it next looks at its requests; if it never does, it is abandoned.
        self.stop.stop();
        self.mail.forget(self.serial);
    }
}

struct ChannelOut {
    sender: replies::Sender,
    mail: Arc<Mail>,
    serial: u32,
    /// Batches of the round that is under way.
    gathered: Mutex<Vec<Reply>>,
    /// A thread that the plugin can't reach, and whether it is needed.
    relay: Sender<Notice>,
    broken: AtomicBool,
}

impl ChannelOut {
    /// Sends the last word, whatever the plugin has done to this thread.
    fn close(&self, failure: Option<Failure>) {
        let bundle = self.bundle(Some(Reply::Closed(failure)));
        if self.broken.load(Ordering::Relaxed) {
            let _ = self.relay.send(Notice::Relay { to: self.sender.clone(), bundle });
        } else {
            self.send_now(bundle);
            let _ = catch_unwind(AssertUnwindSafe(|| self.mail.forget(self.serial)));
        }
    }

    /// All that was not said yet, and this.
    fn bundle(&self, last: Option<Reply>) -> Vec<Reply> {
        let mut bundle = self.mail.take_back(self.serial);
        bundle.append(&mut self.gathered.lock().unwrap_or_else(PoisonError::into_inner));
        bundle.extend(last);
        bundle
    }

    /// Waits while the slot does not keep up.
    fn send_now(&self, bundle: Vec<Reply>) -> bool {
        self.reach(|| self.pass_on(bundle))
    }

    fn pass_on(&self, bundle: Vec<Reply>) -> bool {
        match self.sender.try_send(bundle) {
            Err(TrySendError::Full(bundle)) => self.sender.blocking_send(bundle).is_ok(),
            sent => sent.is_ok(),
        }
    }

    /// The round is over.
    fn end_round(&self, done: Reply) -> bool {
        let bundle = self.bundle(Some(done));
        self.reach(|| match self.mail.ends(self.serial, &self.sender, bundle) {
            Some(bundle) => self.pass_on(bundle),
            None => !self.sender.is_closed(),
        })
    }

    /// The reactor is woken through a descriptor. Where the plugin has closed that, the runtime
    /// panics after it has taken what it was given.
    fn reach(&self, send: impl FnOnce() -> bool) -> bool {
        catch_unwind(AssertUnwindSafe(send)).is_ok_and(|sent| sent) || self.broke()
    }

    /// If the other end is still there, the way to it is not: another thread says so.
    fn broke(&self) -> bool {
        if !self.sender.is_closed() {
            self.broken.store(true, Ordering::Relaxed);
            let bundle = vec![Reply::Strayed("it closed files that are the host's".to_owned())];
            let _ = self.relay.send(Notice::Relay { to: self.sender.clone(), bundle });
        }
        false
    }
}

impl Out for ChannelOut {
    fn send(&self, reply: Reply) -> bool {
        if self.broken.load(Ordering::Relaxed) {
            return false;
        }
        match reply {
            Reply::Batch(_) => {
                let mut gathered = self.gathered.lock().unwrap_or_else(PoisonError::into_inner);
                gathered.push(reply);
                let few = gathered.len() < GATHER;
                drop(gathered);
                if few { !self.sender.is_closed() } else { self.flush() }
            }
            Reply::Done { .. } => self.end_round(reply),
            other => self.send_now(self.bundle(Some(other))),
        }
    }

    fn flush(&self) -> bool {
        !self.broken.load(Ordering::Relaxed) && self.send_now(self.bundle(None))
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        self.mail.close();
    }
}

impl Threads {
    /// To be called on the runtime of the slots. `records` is the directory in which crashes are noted; `strayed` is called on a thread of
    /// the host's.
    pub(crate) fn new(
        records: &Path,
        strayed: impl Fn(&str, &str) + Send + 'static,
    ) -> io::Result<Self> {
        let (ended, notices) = mpsc::channel();
        let quiet = Arc::new(Quiet::default());
        let counts = quiet.clone();
        let strayed: Strayed = Box::new(strayed);
        std::thread::Builder::new()
            .name("dropsonde-unload".into())
            .spawn(move || unload::unload(&notices, &counts, &strayed))?;
        let mail = Arc::new(Mail::default());
        let carrying = mail.clone();
        tokio::spawn(async move { carrying.carry().await });
        Ok(Self {
            mail,
            ended,
            quiet,
            serial: AtomicU32::new(1),
            records: records.to_owned(),
            accused: Mutex::new(Accused::open(records)),
            trail: Mutex::default(),
            pace: Pace::USUAL,
        })
    }

    /// Has every call of every collector looked at, and not one now and then.
    pub(crate) fn looking_always(mut self) -> Self {
        self.pace = Pace::ALWAYS;
        self
    }

    pub(crate) fn quiet(&self) -> &Quiet {
        &self.quiet
    }

    /// Why this collector, with this plugin file (its SHA-256), must not run on a thread: it ended a host, or all loads are used up.
    pub(crate) fn refusal(&self, collector: &str, image: &str) -> Option<String> {
        let accused = self.accused.lock().unwrap_or_else(PoisonError::into_inner);
        accused.of(collector, image).or_else(|| {
            let loads = self.quiet.loads.load(Ordering::Relaxed);
            (loads >= THREAD_LOADS_MAX).then(|| {
                format!(
                    "{loads} libraries were loaded into the host, which is the most it can take"
                )
            })
        })
    }

    /// Notes that a collector's thread had to be abandoned. Writes a small file.
    pub(crate) fn accuse(&self, collector: &str, image: &str, cause: String) {
        let mut accused = self.accused.lock().unwrap_or_else(PoisonError::into_inner);
        if let Err(error) = accused.accuse(collector, image, cause) {
            tracing::error!(collector, "what it did can't be kept for the next start: {error}");
        }
    }

    /// Starts a thread and has it begin.
    pub(crate) fn start(&self, begin: Begin, image: &str) -> Runner {
        process_wide::note();
        let (requests, mut queue) = requests::channel();
        let (sender, replies) = replies::channel(QUEUE);
        let stop = Arc::new(StopFlag::default());
        let task = Arc::new(AtomicI32::new(0));
        let serial = self.serial.fetch_add(1, Ordering::Relaxed);
        let mail = self.mail.clone();
        let link = ThreadLink { requests, stop: stop.clone(), serial, task: task.clone(), mail };
        let kept = self.note(serial, &begin.collector, image);
        let name = thread_name(serial, &begin.collector);
        self.quiet.loads.fetch_add(1, Ordering::Relaxed);
        let mail = self.mail.clone();
        let (ended, thread, closing) = (self.ended.clone(), name.clone(), sender.clone());
        let (collector, pace) = (begin.collector.clone(), self.pace);
        let (limits, state_dir) = (begin.limits, PathBuf::from(&begin.state_dir));
        link.send(Request::Begin(begin));
        let thread = std::thread::Builder::new().name(name).spawn(move || {
            task.store(rustix::thread::gettid().as_raw_nonzero().get(), Ordering::Relaxed);
            trail::enter(serial);
            let separate = separate::separate(kept.as_slice());
            let before = tasks();
            let broken = AtomicBool::new(false);
            let (relay, gathered) = (ended.clone(), Mutex::default());
            let out = Arc::new(ChannelOut { sender, mail, serial, gathered, relay, broken });
            let conduct = Conduct::new(pace, limits, separate, (serial, thread.clone()), state_dir);
            let (loaded, failure) =
                worker::run(&mut queue, out.clone(), stop, Some(Box::new(conduct)));
            out.close(failure);
            let end = End { collector, name: thread, before, loaded };
            let _ = ended.send(Notice::Ended { serial, end });
        });
        match thread {
            Ok(thread) => {
                let _ = self.ended.send(Notice::Started { serial, thread });
            }
            Err(error) => {
                let _ =
                    closing.try_send(vec![Reply::Closed(Some(Failure::Spawn(error.to_string())))]);
            }
        }
        Runner { isolation: Isolation::Thread, replies, link: Box::new(link) }
    }

    /// Puts the collector into the trail; the descriptor that its thread must keep for it.
    fn note(&self, serial: u32, collector: &str, image: &str) -> Option<i32> {
        let mut trail = self.trail.lock().unwrap_or_else(PoisonError::into_inner);
        let noted = match &mut *trail {
            Some(trail) => Ok(trail),
            none => Trail::start(&self.records).map(|trail| none.insert(trail)),
        };
        let noted = noted.and_then(|trail| {
            trail.note(serial, image, collector)?;
            Ok(trail.descriptor())
        });
        noted
            .inspect_err(|error| {
                let directory = self.records.display().to_string();
                tracing::warn!(
                    collector,
                    directory,
                    "a crash on its thread could not be remembered: {error}; set host.state_dir"
                );
            })
            .ok()
    }

    /// The host ends well: nobody is to be accused.
    pub(crate) fn end(&self) {
        self.trail.lock().unwrap_or_else(PoisonError::into_inner).take();
        super::remove_if_empty(&self.records);
    }
}
