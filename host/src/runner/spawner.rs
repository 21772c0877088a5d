//! Starts runner processes, all from one thread that lives as long as the host: the kernel
//! sends a child its death signal when the *thread* that made it ends (prctl(2),
//! PR_SET_PDEATHSIG).

use std::ffi::OsString;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::sync::mpsc;

use tokio::net::unix::pipe;
use tokio::process::{Child, Command};
use tokio::runtime::Handle;
use tokio::sync::oneshot;

use super::cgroup::{Cgroup, Cgroups};
use super::child::RUNNER_FLAG;
use crate::config::Limits;

/// What a child is reached by.
pub(crate) struct Spawned {
    pub(super) child: Child,
    pub(super) socket: tokio::net::UnixStream,
    /// Its standard output and error, both.
    pub(super) output: pipe::Receiver,
    pub(super) cgroup: Option<Cgroup>,
}

/// What the thread does.
enum Job {
    Spawn {
        collector: String,
        limits: Limits,
        reply: oneshot::Sender<io::Result<Spawned>>,
    },
    /// Remove the cgroup of a runner that has ended, and kill what is left in it.
    Bury(Cgroup),
    /// Remove the host's own cgroups, and end.
    End {
        done: oneshot::Sender<()>,
    },
}

/// What a runner gets of the host's environment.
type Environment = Vec<(&'static str, OsString)>;

/// A handle to the spawning thread, which ends when the last handle is dropped.
#[derive(Debug, Clone)]
pub(crate) struct Spawner {
    jobs: mpsc::Sender<Job>,
}

impl Spawner {
    /// Starts the thread. `runtime` gets the children's sockets.
    pub(crate) fn new(runtime: Handle, cgroups: Cgroups) -> io::Result<Self> {
        let (jobs, queue) = mpsc::channel::<Job>();
        // Read once, before any plugin on a thread could be changing it.
        let environment: Environment = ["PATH", "LANG", "TZ", "RUST_BACKTRACE"]
            .into_iter()
            .filter_map(|name| std::env::var_os(name).map(|value| (name, value)))
            .collect();
        std::thread::Builder::new().name("dropsonde-spawn".into()).spawn(move || {
            let _context = runtime.enter();
            while let Ok(job) = queue.recv() {
                match job {
                    Job::Spawn { collector, limits, reply } => {
                        // Nobody waits any more: the child is killed by its drop.
                        let spawned = spawn(&collector, limits, &cgroups, &environment);
                        let _ = reply.send(spawned);
                    }
                    Job::Bury(cgroup) => drop(cgroup),
                    Job::End { done } => {
                        drop(cgroups);
                        let _ = done.send(());
                        return;
                    }
                }
            }
        })?;
        Ok(Self { jobs })
    }

    pub(super) async fn spawn(&self, collector: &str, limits: Limits) -> io::Result<Spawned> {
        let (reply, spawned) = oneshot::channel();
        let ended = || io::Error::other("the spawning thread has ended");
        let job = Job::Spawn { collector: collector.to_owned(), limits, reply };
        self.jobs.send(job).map_err(|_| ended())?;
        spawned.await.map_err(|_| ended())?
    }

    /// Hands over the cgroup of a runner that has ended: removing it may take the kernel a while.
    pub(super) fn bury(&self, cgroup: Cgroup) {
        let _ = self.jobs.send(Job::Bury(cgroup)); // ended: it is dropped here
    }

    /// Ends the thread, and with it every runner that is left.
    pub(crate) async fn end(&self) {
        let (done, ended) = oneshot::channel();
        if self.jobs.send(Job::End { done }).is_ok() {
            let _ = ended.await;
        }
    }
}

fn spawn(
    collector: &str,
    limits: Limits,
    cgroups: &Cgroups,
    environment: &Environment,
) -> io::Result<Spawned> {
    let cgroup = cgroups.make(collector, limits);
    let (ours, theirs) = UnixStream::pair()?;
    let (output, write) = io::pipe()?;
    let child = Command::new("/proc/self/exe")
        .arg0(format!("dropsonde: {collector}"))
        .arg(RUNNER_FLAG)
        .arg(std::process::id().to_string())
        .env_clear()
        .envs(environment.iter().map(|(name, value)| (name, value)))
        .stdin(OwnedFd::from(theirs))
        .stdout(write.try_clone()?)
        .stderr(write)
        .process_group(0) // a Ctrl-C at the terminal is the host's to handle
        .kill_on_drop(true)
        .spawn()?;
    // Nothing of the plugin's runs before the first request.
    if let (Some(cgroup), Some(pid)) = (&cgroup, child.id()) {
        cgroup.enter(pid);
    }
    ours.set_nonblocking(true)?;
    let socket = tokio::net::UnixStream::from_std(ours)?;
    let output = pipe::Receiver::from_owned_fd(output.into())?;
    Ok(Spawned { child, socket, output, cgroup })
}
