//! Row ids carry the time: a range of time is a range of ids, and needs no index.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Bits below the milliseconds: records of one millisecond.
const WITHIN: u32 = 20;
/// The last millisecond that has ids: in the year 2248.
const LAST_MS: i64 = i64::MAX >> WITHIN;

pub(super) const MINUTE_MS: i64 = 60_000;
pub(super) const HOUR_MS: i64 = 60 * MINUTE_MS;

/// Makes `_timestamp`, seconds since 1970, of `_id`.
pub(super) const TIMESTAMP_SQL: &str = "(_id >> 20) / 1000.0";

/// Milliseconds since 1970; what lies before is at 0.
pub(super) fn ms(time: SystemTime) -> i64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(LAST_MS).min(LAST_MS)
}

/// The first id of a millisecond.
pub(super) fn first(ms: i64) -> i64 {
    ms.clamp(0, LAST_MS) << WITHIN
}

/// The millisecond of an id.
pub(super) fn ms_of(id: i64) -> i64 {
    id >> WITHIN
}

/// The time of an id.
pub(super) fn time_of(id: i64) -> SystemTime {
    UNIX_EPOCH + Duration::from_millis(ms_of(id).unsigned_abs())
}
