//! Event time is data. An epoch is a turn of ingest; a tick is a second of event time.

/// Event time: milliseconds since 1970-01-01T00:00:00Z.
pub type Millis = i64;
/// A second of event time since 1970: the grain at which results settle.
pub type Tick = i64;
/// One turn of ingest, and the dataflow's timestamp. The first is 1; 0 is what stood before the run.
pub type Epoch = u64;
/// How often a row is added (+) or taken back (-).
pub type Diff = i64;

/// Before every tick: nothing is settled yet. Far enough from the type's bounds that differences cannot overflow.
pub const NOTHING_SETTLED: Tick = i64::MIN / 4;

/// The tick that holds `time`; rounds towards the past, before 1970 too.
#[must_use]
pub fn tick_of(time: Millis) -> Tick {
    time.div_euclid(1000)
}

/// `2026-01-31` of a tick: the archive's partition key.
#[must_use]
pub fn date_of(tick: Tick) -> String {
    // Years beyond what the calendar holds fall on its first or last day: a date must always be had.
    let second = tick.clamp(jiff::Timestamp::MIN.as_second(), jiff::Timestamp::MAX.as_second());
    jiff::Timestamp::from_second(second)
        .unwrap_or(jiff::Timestamp::UNIX_EPOCH)
        .strftime("%Y-%m-%d")
        .to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_round_towards_the_past() {
        assert_eq!([tick_of(-1), tick_of(0), tick_of(999), tick_of(1000)], [-1, 0, 0, 1]);
    }

    #[test]
    fn every_tick_has_a_date() {
        assert_eq!(date_of(0), "1970-01-01");
        assert_eq!(date_of(86_399), "1970-01-01");
        assert_eq!(date_of(86_400), "1970-01-02");
        assert_eq!(date_of(i64::MAX).len(), 10);
    }
}
