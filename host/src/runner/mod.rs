//! Runners: what loads a generation and calls it, in a child process or on a thread of the
//! host. The [`worker`] is the same for both; only its link to the slot differs.

mod cgroup;
pub(crate) mod child;
pub(crate) mod frame;
mod limits;
mod log_gate;
mod process;
mod protocol;
mod replies;
mod sandbox;
mod spawner;
mod thread;
#[allow(unsafe_code)] // the callbacks that a plugin calls: from raw pointers back to references
mod worker;

use std::time::Duration;

use serde::{Deserialize, Serialize};

pub(crate) use cgroup::Cgroups;
pub(crate) use limits::apply as apply_limits;
pub(crate) use process::{OUTPUT, signal_name, start as start_process};
pub use protocol::Failure;
pub(crate) use protocol::{Begin, Reply, Request};
use replies::Replies;
pub use sandbox::Sandbox;
pub(crate) use sandbox::{apply as apply_sandbox, close_inherited, remove_if_empty};
pub(crate) use spawner::Spawner;
pub(crate) use thread::{Footprint, Quiet, THREAD_LOADS_MAX, Threads};

/// Where a collector runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Isolation {
    /// In a child process: a crash, a hang or a leak ends with it.
    Process,
    /// On a thread of the host, for plugins trusted with the host's life.
    Thread,
}

impl Isolation {
    /// The name as it is written everywhere.
    pub fn name(self) -> &'static str {
        match self {
            Self::Process => "process",
            Self::Thread => "thread",
        }
    }
}

/// A runner, as its slot sees it. Dropping it ends it: a process is killed, a thread is told to
/// stop and abandoned if it does not.
#[derive(Debug)]
pub(crate) struct Runner {
    pub(crate) isolation: Isolation,
    /// What it says. `Reply::Closed` is the last.
    pub(crate) replies: Replies,
    link: Box<dyn Link>,
}

/// How requests reach the worker.
trait Link: Send + Sync + std::fmt::Debug {
    /// Hands over a request; never blocks. Fails only if the runner is gone, which the replies
    /// tell too.
    fn send(&self, request: Request);
    /// The slot is about to drop a runner that does not answer. A process is killed by the drop.
    fn abandon(&self) {}
    /// The number of the process that it is.
    fn process(&self) -> Option<u32> {
        None
    }
}

impl Runner {
    pub(crate) fn send(&self, request: Request) {
        self.link.send(request);
    }

    /// The number of its process; `None` on a thread, and before it was started.
    pub(crate) fn process(&self) -> Option<u32> {
        self.link.process()
    }

    /// To be called before the drop of a runner that does not answer.
    pub(crate) fn abandon(&self) {
        self.link.abandon();
    }

    /// Asks it to stop and waits for it, no longer than `deadline`; then it is dropped.
    pub(crate) async fn stop(mut self, deadline: Duration) {
        self.send(Request::Stop);
        let ended = async {
            while let Some(reply) = self.replies.recv().await {
                if matches!(reply, Reply::Closed(_)) {
                    break;
                }
            }
        };
        // Past the deadline the drop below kills or abandons it.
        let _ = tokio::time::timeout(deadline, ended).await;
    }
}
