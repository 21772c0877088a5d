//! `dropsonde top`: the machine and its collectors on a terminal, at a glance.
//!
//! [`feed`] brings what the agent says and what the keys are, as events over one bounded channel;
//! [`state`] is what is known; [`keys`] says what a key does to it; [`draw`] shows it. A frame is
//! drawn each time the agent has told its state, and at once when a key asks for another view.

mod draw;
mod feed;
mod format;
mod keys;
mod opened;
mod screen;
mod state;
#[cfg(test)]
mod tests;

use std::io::{self, IsTerminal};
use std::process::ExitCode;
use std::time::Duration;

use clap::Args as ClapArgs;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;

use self::feed::{Event, Feeds};
use self::keys::Effect;
use self::screen::Screen;
use self::state::State;
use super::ask::Ended;
use super::{Target, fail};
use crate::clock;
use crate::rpc::client::Client;

/// Events that wait to be looked at. Batches beyond wait at the agent, which keeps the newest.
const EVENTS: usize = 64;
/// The shortest time between two frames.
const SHORTEST: Duration = Duration::from_millis(100);

#[derive(ClapArgs)]
pub(super) struct Args {
    /// Time between two frames, 100ms or more; that often what they show is read, if it is not
    /// anyway.
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = interval)]
    every: Duration,
    #[command(flatten)]
    target: Target,
}

fn interval(text: &str) -> Result<Duration, String> {
    let every = humantime::parse_duration(text).map_err(|error| error.to_string())?;
    if every < SHORTEST {
        return Err(format!("the shortest is {}", humantime::format_duration(SHORTEST)));
    }
    Ok(every)
}

pub(super) fn top(args: &Args) -> ExitCode {
    if !io::stdout().is_terminal() {
        return fail(1, "standard output is no terminal; `dropsonde snapshot` prints for programs");
    }
    args.target.ask(|client| run(client, args.every))
}

/// Draws until somebody quits, or a signal ends it. SIGINT is looked after by who asks.
async fn run(client: Client, every: Duration) -> Ended {
    let mut terminate = catch(SignalKind::terminate())?;
    let mut hangup = catch(SignalKind::hangup())?;
    let (sender, mut events) = mpsc::channel(EVENTS);
    let mut state = State::new(draw::Palette::of_environment());
    let mut screen = Screen::enter().map_err(no_terminal)?;
    feed::read_keys(sender.clone()).map_err(no_terminal)?;
    let mut feeds = Feeds::start(client, sender, every);
    let mut came = Vec::with_capacity(EVENTS);
    loop {
        screen.draw(&state).map_err(no_terminal)?;
        let mut changed = false;
        while !changed {
            tokio::select! {
                biased;
                _ = terminate.recv() => return Err(ended_by(SignalKind::terminate())),
                _ = hangup.recv() => return Err(ended_by(SignalKind::hangup())),
                _ = events.recv_many(&mut came, EVENTS) => {}
            }
            for event in came.drain(..) {
                match handle(event, &mut state, &mut feeds)? {
                    Next::Wait => {}
                    Next::Draw => changed = true,
                    Next::Quit => return Ok(()),
                }
            }
        }
    }
}

/// What follows an event.
enum Next {
    Wait,
    Draw,
    Quit,
}

fn handle(event: Event, state: &mut State, feeds: &mut Feeds) -> Result<Next, ExitCode> {
    match event {
        Event::Status(answer) => {
            let answered = answer.is_ok();
            state.take_status(answer, clock::monotonic());
            if answered {
                feeds.fit(state);
            }
        }
        // Shown with the next status: a frame for all of them.
        Event::Batch(batch) => {
            if !state.paused {
                state.take_batch(*batch);
            }
            return Ok(Next::Wait);
        }
        Event::Looked(batch) => state.take_batch(*batch),
        Event::LogBegins(collector) => state.begin_log(&collector),
        Event::Log(collector, line) => state.take_log(&collector, line),
        Event::Outcome(told) => state.told = Some(told),
        Event::Input(input) => {
            let input = input.map_err(no_terminal)?;
            match keys::handle(&input, state) {
                Effect::None => {}
                Effect::Quit => return Ok(Next::Quit),
                Effect::Do(deed) => feeds.act(deed),
                Effect::Open => feeds.fit(state),
            }
        }
    }
    Ok(Next::Draw)
}

fn no_terminal(error: io::Error) -> ExitCode {
    fail(1, format_args!("the terminal can't be used: {error}"))
}

fn catch(kind: SignalKind) -> Result<Signal, ExitCode> {
    signal(kind).map_err(|error| fail(1, error))
}

/// The exit code by custom of shells.
pub(super) fn ended_by(kind: SignalKind) -> ExitCode {
    ExitCode::from(128_u8.saturating_add(u8::try_from(kind.as_raw_value()).unwrap_or(0)))
}
