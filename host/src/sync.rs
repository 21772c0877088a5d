//! What the bus is synchronised by. The model check of the bus puts other types in their place,
//! whose every step it orders itself: see `host/tests/bus_model`.

pub(crate) use std::sync::{Mutex, MutexGuard, PoisonError, atomic};
