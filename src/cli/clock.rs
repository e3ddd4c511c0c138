//! The clock of a live run.

use std::time::Instant;

use super::setup;
use crate::record::Millis;

/// The machine's clock, which does not go back while the run goes on.
pub(crate) struct Clock {
    from: Millis,
    since: Instant,
}

impl Clock {
    #[expect(clippy::disallowed_methods, reason = "a live run's clock is an input, and logged")]
    pub(crate) fn start() -> Clock {
        Clock { from: setup::now(), since: Instant::now() }
    }

    pub(crate) fn now(&self) -> Millis {
        self.from + i64::try_from(self.since.elapsed().as_millis()).unwrap_or(0)
    }
}
