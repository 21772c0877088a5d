//! A command that goes on and writes blocks. It is looked after in each round: no thread waits for
//! it, and what it writes meanwhile waits in the pipe.

use std::mem;
use std::process::ExitStatus;
use std::time::{Duration, Instant};

use dropsonde_plugin_api::Host;
use dropsonde_samples::Reading;
use dropsonde_samples::settings::Span;

use crate::Round;
use crate::blocks::Blocks;
use crate::command::CommandLine;
use crate::fault::Fault;
use crate::group::Group;
use crate::pipes::Pipes;

/// How long the round that starts the command waits for its first block.
const FIRST: Duration = Duration::from_secs(1);
/// Pauses before it is started again: they double.
const SHORTEST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(60);
/// Parts of its output that are read in one round: a flood can't hold it up.
const PARTS: usize = 1024;

pub(crate) struct Stream {
    running: Option<Running>,
    pause: Duration,
    /// When it may be started again.
    paused_until: Option<Instant>,
    /// Why it is not there.
    why: String,
    starts: u64,
}

struct Running {
    pipes: Pipes,
    blocks: Blocks,
    /// What is shown.
    block: Option<Block>,
    started: Instant,
    _group: Group, // killed with all that is in it
}

/// The last complete block: read once, however many rounds show it.
struct Block {
    reading: Reading,
    at: Instant,
    is_new: bool,
}

impl Stream {
    pub(crate) fn new() -> Self {
        Self { running: None, pause: SHORTEST, paused_until: None, why: String::new(), starts: 0 }
    }

    pub(crate) fn restarts(&self) -> u64 {
        self.starts.saturating_sub(1)
    }

    /// Starts the command if it is not there and may be; takes what it has written.
    pub(crate) fn round(
        &mut self,
        command: &CommandLine,
        host: &Host,
        exit_code: &mut Option<i32>,
    ) -> Round {
        let looked = self.try_round(command, host, exit_code);
        if let Err(fault) = &looked {
            self.why = fault.to_string();
        }
        let (mut shown, mut is_new, mut at) = (None, false, Instant::now());
        if let Some(block) = self.running.as_mut().and_then(|running| running.block.as_mut()) {
            shown = Some(block.reading.clone());
            is_new = mem::take(&mut block.is_new);
            at = block.at;
        }
        Round { read: looked.map(|()| shown), is_new, at, duration: None }
    }

    fn try_round(
        &mut self,
        command: &CommandLine,
        host: &Host,
        exit_code: &mut Option<i32>,
    ) -> Result<(), Fault> {
        let mut wait = Instant::now();
        if self.running.is_none() {
            if self.paused_until.is_some_and(|until| Instant::now() < until) {
                return Err(Fault::Paused(self.why.clone()));
            }
            self.starts += 1;
            let started = Running::start(command, host);
            self.running = Some(started.inspect_err(|_| self.pause())?);
            wait += FIRST.min(command.timeout.0);
        }
        let Some(running) = &mut self.running else { return Ok(()) };
        let ended = match running.look(command, wait) {
            Ok(None) => return Ok(()),
            Ok(Some(status)) => Ok(status),
            Err(fault) => Err(fault),
        };
        let (lived, complained) = (running.started.elapsed(), running.pipes.complaints.end());
        self.running = None;
        if lived > LONGEST {
            self.pause = SHORTEST; // it was well
        }
        let pause = Span(self.pause);
        self.pause();
        let status = ended?;
        *exit_code = status.code();
        Err(Fault::Ended { status, complained, pause })
    }

    fn pause(&mut self) {
        self.paused_until = Some(Instant::now() + self.pause);
        self.pause = (self.pause * 2).min(LONGEST);
    }
}

impl Running {
    fn start(command: &CommandLine, host: &Host) -> Result<Self, Fault> {
        let start = |cause| Fault::Start { cause };
        let group = Group::new().map_err(start)?;
        let child = group.spawn(command.build()).map_err(start)?;
        let pipes = Pipes::new(child, host).map_err(Fault::Watch)?;
        let (blocks, started) = (Blocks::new(command.format), Instant::now());
        Ok(Self { pipes, blocks, block: None, started, _group: group })
    }

    /// Takes what it has written; waits for its first block until then. Tells how it has ended.
    fn look(&mut self, command: &CommandLine, wait: Instant) -> Result<Option<ExitStatus>, Fault> {
        loop {
            let ended = self.pipes.wait(wait).map_err(Fault::Watch)?;
            self.read(command)?;
            if ended.is_some() {
                return Ok(ended);
            }
            if self.block.is_some() || Instant::now() >= wait {
                break;
            }
        }
        let since = self.block.as_ref().map_or(self.started, |block| block.at);
        let is_silent = since.elapsed() > command.timeout.0;
        if is_silent { Err(Fault::Silent(command.timeout)) } else { Ok(None) }
    }

    fn read(&mut self, command: &CommandLine) -> Result<(), Fault> {
        let (mut fits, mut parts) = (true, 0);
        let blocks = &mut self.blocks;
        let read = self.pipes.read(|part| {
            parts += 1;
            fits = blocks.take(part, command.max_output.0);
            fits && parts < PARTS
        });
        read.map_err(Fault::Watch)?;
        self.pipes.complaints.end_round();
        if let Some(block) = self.blocks.complete() {
            let (reading, at) = (command.read(&block), Instant::now());
            self.block = Some(Block { reading, at, is_new: true });
        }
        if fits { Ok(()) } else { Err(Fault::Output(command.max_output)) }
    }
}
