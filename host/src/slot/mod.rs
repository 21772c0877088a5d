//! Slots: the supervised place of one collector.

mod backoff;
mod channel;
mod handle;
mod kept;
mod life;
mod live;
mod looks;
mod phase;
mod slot_task;
mod status;

pub use backoff::RestartPolicy;
pub(crate) use handle::{SlotCommand, SlotHandle};
pub(crate) use kept::{Held, Kept};
pub(crate) use live::{Ready, begin, note_refusals};
pub(crate) use looks::Looks;
pub use phase::Phase;
pub use status::SlotStatus;
