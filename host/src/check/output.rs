//! What plugins print, which their runners' pipes carry into the host's log: here it is noted as
//! if they had logged it.

use std::fmt::{Debug, Write};
use std::sync::Arc;

use tracing::field::{Field, Visit};
use tracing::subscriber::DefaultGuard;
use tracing::{Event, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::{Context, SubscriberExt};

use crate::control::Services;
use crate::runner::OUTPUT;

/// Notes what is printed, as long as the guard lives, on this thread: that of the reactor.
pub(crate) fn note_output(services: &Arc<Services>) -> DefaultGuard {
    let noted = Output { services: services.clone() };
    tracing::subscriber::set_default(tracing_subscriber::registry().with(noted))
}

struct Output {
    services: Arc<Services>,
}

impl<S: Subscriber> Layer<S> for Output {
    fn on_event(&self, event: &Event<'_>, _context: Context<'_, S>) {
        // What plugins log has the same target, and is seen by other ways.
        let metadata = event.metadata();
        if metadata.module_path() != Some(OUTPUT) {
            return;
        }
        let mut line = Line::default();
        event.record(&mut line);
        self.services.logs.keep(&line.collector, *metadata.level(), &line.message);
    }
}

#[derive(Default)]
struct Line {
    collector: String,
    message: String,
}

impl Visit for Line {
    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "collector" {
            value.clone_into(&mut self.collector);
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        if field.name() == "message" {
            let _ = write!(self.message, "{value:?}"); // to a text: can't fail
        }
    }
}
