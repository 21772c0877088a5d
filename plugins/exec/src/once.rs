//! One run of a command that ends.

use std::time::{Duration, Instant};

use dropsonde_plugin_api::Host;

use crate::Round;
use crate::command::CommandLine;
use crate::fault::Fault;
use crate::group::Group;
use crate::pipes::Pipes;

/// How long what a command has left behind may hold its pipes open: nothing that could be killed
/// does.
const LEFT_BEHIND: Duration = Duration::from_millis(100);

/// Runs it to its end, or to one of its limits. Blocks as long; what it started has ended then.
pub(crate) fn run(command: &CommandLine, host: &Host, exit_code: &mut Option<i32>) -> Round {
    let start = Instant::now();
    *exit_code = None;
    let written = try_run(command, host, start + command.timeout.0, exit_code);
    let at = Instant::now();
    let read = written.map(|output| Some(command.read(&output)));
    Round { read, is_new: true, at, duration: Some(at.duration_since(start)) }
}

fn try_run(
    command: &CommandLine,
    host: &Host,
    deadline: Instant,
    exit_code: &mut Option<i32>,
) -> Result<Vec<u8>, Fault> {
    let start = |cause| Fault::Start { cause };
    let group = Group::new().map_err(start)?;
    let child = group.spawn(command.build()).map_err(start)?;
    let mut pipes = Pipes::new(child, host).map_err(Fault::Watch)?;
    let mut group = Some(group);
    let limit = command.max_output.0;
    let (mut output, mut until, mut status) = (Vec::new(), deadline, None);
    loop {
        let ended = pipes.wait(until).map_err(Fault::Watch)?;
        let read = pipes.read(|part| {
            output.extend_from_slice(part);
            output.len() <= limit
        });
        read.map_err(Fault::Watch)?;
        if output.len() > limit {
            return Err(Fault::Output(command.max_output));
        }
        if ended.is_some() {
            status = ended;
            drop(group.take()); // what it left running may hold the pipes open
            until = Instant::now() + LEFT_BEHIND;
        }
        match status {
            Some(status) if pipes.are_closed() || Instant::now() >= until => {
                let complained = pipes.complaints.end();
                *exit_code = status.code();
                return if status.success() {
                    Ok(output)
                } else {
                    Err(Fault::Failed { status, complained })
                };
            }
            None if Instant::now() >= until => return Err(Fault::Timeout(command.timeout)),
            _ => {}
        }
    }
}
