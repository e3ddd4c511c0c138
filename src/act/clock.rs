//! The clocks of a process that calls: how long it stood still hangs on them, and no result does.

use std::sync::LazyLock;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use super::ledger::Moment;
use crate::record::Millis;

/// The time.
#[expect(
    clippy::disallowed_methods,
    reason = "whether a process stood still shows in no result but doubt, which is an input"
)]
pub(super) fn now() -> Moment {
    static BEGAN: LazyLock<Instant> = LazyLock::new(Instant::now);
    let ms = |time: std::time::Duration| Millis::try_from(time.as_millis()).unwrap_or(Millis::MAX);
    let running_ms = ms(BEGAN.elapsed());
    let wall_ms = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, ms);
    Moment { running_ms, wall_ms }
}
