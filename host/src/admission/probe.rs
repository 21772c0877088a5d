//! The trial: a process runner that is asked for one round.

use std::time::Duration;

use dropsonde_plugin_api::abi::Kind;
use tokio::time::timeout;

use super::Image;
use crate::config::CollectorSpec;
use crate::control::Services;
use crate::model::check_schemas;
use crate::runner::{Failure, Reply, Request, start_process};
use crate::slot::{Held, Kept, Ready, begin, note_refusals};

/// What the trial showed.
pub(crate) enum Probed {
    /// It ran its round; the runner is alive and may stay.
    Ready(Box<Ready>),
    /// It is sound, and could not be created with these settings, or on this machine now.
    NotCreated(Failure),
}

/// Tries an image out. An error is a rejection of the image: it could not be loaded, crashed,
/// panicked, hung, or handed over nonsense.
pub(crate) async fn probe(
    services: &Services,
    image: &Image,
    spec: CollectorSpec,
) -> Result<Probed, Failure> {
    let deadline = spec.deadline;
    let late = || Failure::Deadline(humantime::format_duration(deadline).to_string());
    let tried = timeout(deadline, try_out(services, image, spec.clone())).await;
    let tried = tried.unwrap_or_else(|_| Err(late()));
    // One that lacks settings may never run.
    if !matches!(tried, Ok(Probed::NotCreated(Failure::Settings { .. }))) {
        note_refusals(services, image, &spec, spec.isolation);
    }
    tried
}

async fn try_out(
    services: &Services,
    image: &Image,
    spec: CollectorSpec,
) -> Result<Probed, Failure> {
    let begin = begin(services, image, &spec);
    let mut runner = start_process(&services.spawner, begin);
    let mut sandbox = None;
    let mut streams = Vec::new();
    let mut interval = Duration::from_secs(1);
    let (mut held, mut kept) = (Held::default(), Kept::default());
    let (mut rows_left_out, mut left_out) = (0, Vec::new());
    let outcome = loop {
        match runner.replies.recv().await {
            Some(Reply::Confined(applied)) => sandbox = Some(applied),
            Some(Reply::Described { streams: declared, interval_ms }) => {
                check_schemas(&declared).map_err(|error| Failure::Schema(error.to_string()))?;
                streams = declared;
                interval = Duration::from_millis(interval_ms.max(10));
            }
            Some(Reply::Created) if image.manifest.kind == Kind::Events => break Ok(Vec::new()),
            Some(Reply::Created) => runner.send(Request::Collect { id: 0, wanted: u64::MAX }),
            Some(Reply::Batch(mut batch)) => {
                let cut = kept.accept(&streams, spec.limits.rows, &mut batch)?;
                rows_left_out += cut.rows;
                left_out.extend(cut.what);
                held.push(batch)?;
            }
            Some(Reply::Done { outcome: Err(failure), .. }) if is_unsound(&failure) => {
                return Err(failure);
            }
            Some(Reply::Done { outcome, .. }) => {
                break outcome.map(|partial| partial.into_iter().chain(left_out).collect());
            }
            Some(Reply::Log { level, message }) => {
                services.logs.plugin(&spec.name, level, &message)
            }
            Some(Reply::Refused(failure)) => return Err(failure),
            Some(Reply::SettingsGood | Reply::Strayed(_)) => {} // not of a trial
            Some(Reply::Closed(failure)) => {
                let failure = failure.unwrap_or(Failure::Returned);
                if is_unsound(&failure) {
                    return Err(failure);
                }
                return Ok(Probed::NotCreated(failure));
            }
            None => return Err(Failure::Returned),
        }
    };
    Ok(Probed::Ready(Box::new(Ready {
        spec,
        runner,
        sandbox,
        streams,
        interval,
        held,
        kept,
        rows_left_out,
        outcome,
    })))
}

/// Whether a failure speaks against the image itself. An error that the author returned does
/// not: the settings or the machine may be at fault.
fn is_unsound(failure: &Failure) -> bool {
    !matches!(failure, Failure::Failed(_) | Failure::Settings { .. } | Failure::Spawn(_))
}

/// Checks settings in a child process, without creating an instance.
pub(crate) async fn check_settings(
    services: &Services,
    image: &Image,
    spec: &CollectorSpec,
) -> Result<(), Failure> {
    let mut request = begin(services, image, spec);
    request.check_only = true;
    let mut runner = start_process(&services.spawner, request);
    let checked = async {
        loop {
            match runner.replies.recv().await {
                Some(Reply::SettingsGood) => return Ok(()),
                Some(Reply::Closed(failure)) => return Err(failure.unwrap_or(Failure::Returned)),
                Some(_) => {}
                None => return Err(Failure::Returned),
            }
        }
    };
    let late = || Err(Failure::Deadline(humantime::format_duration(spec.deadline).to_string()));
    timeout(spec.deadline, checked).await.unwrap_or_else(|_| late())
}
