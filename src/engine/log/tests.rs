//! What the log has is there after reopening.

use super::*;

#[test]
fn what_was_logged_is_there_after_reopening() {
    let folder = tempfile::tempdir().unwrap();
    let part = LoggedPart { source: "a".into(), partition: 3, records: 7, first: 10, next: 20 };
    let place = Assigned { source: "a".into(), partition: 3, start: 9, next: 9, since: 0 };
    let epoch = LoggedEpoch { epoch: 1, settled: 5, last: false, parts: vec![part] };
    {
        let mut log = Log::open(folder.path()).unwrap();
        assert_eq!(log.committed().unwrap(), None);
        log.assign_partitions(std::slice::from_ref(&place)).unwrap();
        log.record(std::slice::from_ref(&epoch), Some((1, 5))).unwrap();
        assert!(log.append("verdict", "{}", Some("k")).unwrap());
    }
    let log = Log::open(folder.path()).unwrap();
    assert_eq!(log.epochs().unwrap(), [epoch]);
    assert_eq!(log.assigned().unwrap(), [Assigned { next: 20, ..place }], "it goes on after what was taken");
    assert_eq!(log.committed().unwrap(), Some((1, 5)));
    assert!(!log.append("verdict", "{}", Some("k")).unwrap(), "the same key is the same input");
    let input = log.inputs(0).unwrap().remove(0);
    log.assign(&[input.id], 2).unwrap();
    assert_eq!(log.inputs(0).unwrap()[0].epoch, Some(2));
}

#[test]
fn a_past_that_is_folded_says_the_same_in_less() {
    let folder = tempfile::tempdir().unwrap();
    let mut log = Log::open(folder.path()).unwrap();
    let part = |epoch: Epoch, partition| LoggedPart {
        source: "a".into(),
        partition,
        records: 2,
        first: epoch * 3,
        next: epoch * 3 + 2,
    };
    let epoch = |epoch: Epoch| LoggedEpoch {
        epoch,
        settled: (epoch / 10).cast_signed(),
        last: [40, 41, 55].contains(&epoch),
        parts: if epoch.is_multiple_of(7) { Vec::new() } else { vec![part(epoch, 0), part(epoch, 1)] },
    };
    let all: Vec<LoggedEpoch> = (1..=60).map(epoch).collect();
    log.record(&all, Some((58, 5))).unwrap();
    for (at, body) in [(3, r#"{"time":1}"#), (5, r#"{"source":"a","time":2}"#), (9, r#"{"time":3}"#)] {
        let said = vec![("tick", body.to_owned()), ("context", "{}".to_owned())];
        log.record_with(&[], None, &Heard { epoch: at, said, taken: Vec::new() }).unwrap();
    }
    let (ends, settled) =
        (log.ends().unwrap(), (1..=60).map(|at| log.settled(at).unwrap()).collect::<Vec<_>>());
    let (passed, through) = (log.passed("a", 1, 50).unwrap(), log.parts_through(50).unwrap());
    let through_50 = through.clone();
    // A little at a time, and not beyond what is asked for.
    let mut more = 0;
    while log.fold(50, 16).unwrap() {
        more += 1;
    }
    assert_eq!((more, log.folded().unwrap(), log.last_epoch().unwrap()), (3, 50, 60));
    assert!(!log.fold(50, 16).unwrap() && !log.fold(20, 16).unwrap());
    assert_eq!((log.ends().unwrap(), log.ends().unwrap().len()), (ends, 3));
    assert_eq!((1..=60).map(|at| log.settled(at).unwrap()).collect::<Vec<_>>(), settled);
    assert_eq!((log.passed("a", 1, 50).unwrap(), log.parts_through(50).unwrap()), (passed, through));
    let again = log.epochs().unwrap();
    assert_eq!(again[50..], all[50..]);
    assert_eq!(log.epochs_after(50).unwrap(), all[50..]);
    let bare = |epoch: &LoggedEpoch| (epoch.epoch, epoch.settled, epoch.last);
    assert_eq!(again.iter().map(bare).collect::<Vec<_>>(), all.iter().map(bare).collect::<Vec<_>>());
    let left: Vec<_> = log.taken().unwrap().into_iter().map(|it| (it.epoch, it.kind)).collect();
    let contexts = [3, 5, 9].map(|at| (Some(at), "context".to_owned()));
    assert!(contexts.iter().all(|it| left.contains(it)) && left.contains(&(Some(9), "tick".to_owned())));
    assert_eq!(left.len(), 4, "{left:?}");
    // Who writes them again, later, changes nothing: they would be counted twice when more is folded.
    log.record(&all[..55], None).unwrap();
    assert_eq!(log.parts_through(50).unwrap(), through_50);
    assert_eq!(log.epochs_after(50).unwrap(), all[50..]);
    // What is gone between cannot be told by its first: nothing is folded.
    log.record(&[epoch(70)], None).unwrap();
    assert!(!log.fold(70, 100).unwrap());
    assert_eq!(log.folded().unwrap(), 50);
}

#[test]
fn a_log_has_one_writer() {
    let folder = tempfile::tempdir().unwrap();
    let epoch = |epoch| LoggedEpoch { epoch, settled: 5, last: false, parts: Vec::new() };
    let [mut dead, mut next] = [(); 2].map(|()| {
        let mut log = Log::open(folder.path()).unwrap();
        log.claim().unwrap();
        log
    });
    assert!(matches!(dead.record(&[epoch(1)], None), Err(LogError::Fenced)));
    assert!(matches!(dead.held(), Err(LogError::Fenced)));
    next.record(&[epoch(2)], None).unwrap();
    Log::open(folder.path()).unwrap().record(&[epoch(3)], None).unwrap();
    assert_eq!(next.epochs().unwrap().len(), 2);
    assert!(dead.append("verdict", "{}", None).unwrap(), "a person's word is nobody's");
}
