//! What is said between processes, and what each is given to take.

use std::sync::Arc;

use jiff::tz::TimeZone;
use smallvec::SmallVec;

use super::*;
use crate::engine::live::Source;
use crate::ingest::Limits;
use crate::normalize::SourceSettings;
use crate::record::{AlertId, Severity, Stage, Sym, Tactics};

fn source(name: &str, severe: bool, names: &Names, partitions: u32) -> Source {
    let settings = SourceSettings {
        name: names.intern(name),
        tenant: names.intern("default"),
        tenant_from_field: false,
        zone: TimeZone::UTC,
        as_of: 0,
        future_max_ms: 0,
    };
    let far = |partition| (Stream::Far(Far::new(1, partition, 0)), 0);
    Source { settings, wall: true, severe, streams: (0..partitions).map(far).collect() }
}

/// Partitions of which so much was read, with clocks, and by how much a clock went on with a thousand records.
fn live(sources: Vec<Source>, names: &Arc<Names>, stand: &[(u64, Millis, Millis)]) -> Live {
    let mut live = Live::new(sources, &[], names, 0, Limits::default());
    for (partition, (read, clock, pace)) in live.partitions.iter_mut().zip(stand) {
        partition.clock.move_to(clock - pace);
        let before = partition.clock.highest();
        partition.clock.move_to(*clock);
        partition.paced(before, 1_000);
        let Stream::Far(far) = &mut partition.stream else { unreachable!("all are far") };
        far.read = *read;
    }
    live
}

#[test]
fn a_word_means_the_same_in_another_process() {
    let (here, there) = (Names::default(), Names::default());
    let _ = there.intern("numbered otherwise");
    let (tenant, source) = (here.intern("north"), here.intern("edges"));
    let (stage, reason, raw) = (Stage::Ingest, "no value".to_owned(), "x".to_owned());
    let reject = Reject { stage, reason, tick: 3, tenant, source, position: 9, raw };
    let took =
        Took { clocks: vec![PartitionClock::new(5)], rejects: vec![reject], late: 2, ..Took::default() };
    let Ok(Word::Took(back)) = heard(&told(&Word::Took(Box::new(took)), &here), &there) else {
        panic!("it is what was said")
    };
    let names = [back.rejects[0].tenant, back.rejects[0].source].map(|sym| there.get(sym));
    assert_eq!(names, ["north", "edges"]);
    assert_eq!((back.late, back.clocks.len(), back.rejects[0].position), (2, 1, 9));
    assert!(heard::<Word>(b"garbage", &there).is_err());
}

#[test]
fn alerts_that_others_have_say_how_far_an_epoch_acts_and_go_to_no_worker_here() {
    let (here, there) = (Names::default(), Names::default());
    let alert = Alert {
        id: AlertId::of(&[b"a"]),
        time: 70_500,
        tick: 70,
        tenant: there.intern("north"),
        source: there.intern("edges"),
        position: 3,
        product: there.intern("edr"),
        rule: there.intern("R1"),
        title: there.intern("Rule 1"),
        severity: Severity::Low,
        identified: true,
        further: false,
        tactics: Tactics::default(),
        attacks: Sym::EMPTY,
        entities: SmallVec::new(),
        unmapped: None,
    };
    let took = Word::Took(Box::new(Took { alerts: vec![alert], ..Took::default() }));
    let Ok(Word::Took(took)) = heard(&told(&took, &there), &here) else { panic!("it is what was said") };
    let mut batch = Batch { settled: 40, ..Batch::default() };
    add(&mut batch, vec![*took]);
    assert_eq!(batch.elsewhere.iter().map(|alert| here.get(alert.source)).collect::<Vec<_>>(), ["edges"]);
    assert!(batch.alerts.is_empty());
    assert_eq!(batch.turn(1, Act::Early, 5).acts, 71);
    assert_eq!(batch.turn(1, Act::Settled, 5).acts, 40);
}

#[test]
fn an_epoch_is_spread_by_where_clocks_will_be() {
    let names = Arc::new(Names::default());
    let even = live(vec![source("a", false, &names, 2)], &names, &[(9_000, 10_000, 50_000); 2]);
    assert_eq!(even.allot(2_048), [(0, 1_024), (1, 1_024)]);
    assert_eq!(even.allot(300), [(0, 256), (1, 44)]);
    assert_eq!(even.allot(0), []);
    // One whose clock is far behind is taken first, and alone until it will have caught up.
    let behind =
        live(vec![source("a", false, &names, 2)], &names, &[(9_000, 500_000, 50_000), (9_000, 0, 50_000)]);
    assert_eq!(behind.allot(2_000), [(1, 2_000)]);
    let short = live(vec![source("a", false, &names, 2)], &names, &[(9_000, 500_000, 9), (30, 0, 9)]);
    assert_eq!(short.allot(1_000), [(0, 970), (1, 30)]);
    // Severe sources come first, and leave the others a quarter.
    let sources = vec![source("a", false, &names, 1), source("b", true, &names, 1)];
    let severe = live(sources, &names, &[(9_000, 0, 9), (9_000, 500_000, 9)]);
    assert_eq!(severe.allot(1_024), [(0, 256), (1, 768)]);
}

#[test]
fn a_process_that_is_not_heard_is_not_silent() {
    let mut far = Far::new(1, 0, 0);
    (far.at_end, far.heard_at) = (true, 5_000);
    assert!(far.is_at_end(5_900, 1_000));
    assert!(!far.is_at_end(6_000, 1_000));
}
