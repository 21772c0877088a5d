//! Starts runner processes, all from one thread that lives as long as the host: the kernel
//! sends a child its death signal when the *thread* that made it ends (prctl(2),
//! PR_SET_PDEATHSIG).

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::sync::mpsc;

use tokio::net::unix::pipe;
use tokio::process::{Child, Command};
use tokio::runtime::Handle;
use tokio::sync::oneshot;

use super::child::RUNNER_FLAG;

/// What a child is reached by.
pub(crate) struct Spawned {
    pub(super) child: Child,
    pub(super) socket: tokio::net::UnixStream,
    /// Its standard output and error, both.
    pub(super) output: pipe::Receiver,
}

struct Job {
    collector: String,
    reply: oneshot::Sender<io::Result<Spawned>>,
}

/// A handle to the spawning thread, which ends when the last handle is dropped.
#[derive(Debug, Clone)]
pub(crate) struct Spawner {
    jobs: mpsc::Sender<Job>,
}

impl Spawner {
    /// Starts the thread. `runtime` gets the children's sockets.
    pub(crate) fn new(runtime: Handle) -> io::Result<Self> {
        let (jobs, queue) = mpsc::channel::<Job>();
        std::thread::Builder::new().name("dropsonde-spawn".into()).spawn(move || {
            let _context = runtime.enter();
            while let Ok(job) = queue.recv() {
                // Nobody waits any more: the child is killed by its drop.
                let _ = job.reply.send(spawn(&job.collector));
            }
        })?;
        Ok(Self { jobs })
    }

    pub(super) async fn spawn(&self, collector: &str) -> io::Result<Spawned> {
        let (reply, spawned) = oneshot::channel();
        let ended = || io::Error::other("the spawning thread has ended");
        let job = Job { collector: collector.to_owned(), reply };
        self.jobs.send(job).map_err(|_| ended())?;
        spawned.await.map_err(|_| ended())?
    }
}

fn spawn(collector: &str) -> io::Result<Spawned> {
    let (ours, theirs) = UnixStream::pair()?;
    let (output, write) = io::pipe()?;
    let child = Command::new("/proc/self/exe")
        .arg0(format!("dropsonde: {collector}"))
        .arg(RUNNER_FLAG)
        .arg(std::process::id().to_string())
        .env_clear()
        .envs(
            ["PATH", "LANG", "TZ", "RUST_BACKTRACE"]
                .into_iter()
                .filter_map(|name| std::env::var_os(name).map(|value| (name, value))),
        )
        .stdin(OwnedFd::from(theirs))
        .stdout(write.try_clone()?)
        .stderr(write)
        .process_group(0) // a Ctrl-C at the terminal is the host's to handle
        .kill_on_drop(true)
        .spawn()?;
    ours.set_nonblocking(true)?;
    let socket = tokio::net::UnixStream::from_std(ours)?;
    let output = pipe::Receiver::from_owned_fd(output.into())?;
    Ok(Spawned { child, socket, output })
}
