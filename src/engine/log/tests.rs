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
    assert_eq!(left, [(Some(9), "tick".to_owned())], "the last time that holds; nothing stands in a table");
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

#[test]
fn of_what_was_said_remains_how_tables_stand_and_where_topics_were_heard() {
    let folder = tempfile::tempdir().unwrap();
    let mut log = Log::open(folder.path()).unwrap();
    let said = |log: &mut Log, epoch, kind, rows: &[(&str, i64)]| {
        let rows: Vec<String> =
            rows.iter().map(|(row, diff)| format!(r#"{{"entity":"{row}","diff":{diff}}}"#)).collect();
        let body = format!(r#"{{"first":false,"rows":[{}]}}"#, rows.join(","));
        log.record_with(&[], None, &Heard { epoch, said: vec![(kind, body)], taken: Vec::new() }).unwrap();
    };
    let epochs = (1..=6).map(|epoch| LoggedEpoch { epoch, settled: 0, last: false, parts: Vec::new() });
    log.record(&epochs.collect::<Vec<_>>(), Some((6, 0))).unwrap();
    said(&mut log, 1, "context", &[("b", 1), ("a", 1)]);
    said(&mut log, 2, "sighting", &[("s", 1)]);
    said(&mut log, 3, "context", &[("a", -1), ("c", 1)]);
    said(&mut log, 5, "context", &[("b", -1), ("a", 1)]);
    for (key, kind, epoch) in [
        ("kafka/words/0/7", "verdict", Some(1)),
        ("kafka/words/0/12", "approval", Some(4)),
        ("kafka/words/1/3", "verdict", Some(2)),
        ("kafka/words/1/4", "verdict", None),
        ("kafka/tables/0/5", "context", Some(1)),
        ("kafka/tables/0/6", "context", Some(3)),
    ] {
        assert!(log.append(kind, r#"{"refused":{}}"#, Some(key)).unwrap());
        let id = log.inputs(0).unwrap().last().unwrap().id;
        if let Some(epoch) = epoch {
            log.assign(&[id], epoch).unwrap();
        }
    }
    let offsets = log.offsets("words").unwrap();
    assert_eq!(offsets, std::collections::BTreeMap::from([(0, 12), (1, 4)]));
    // Once at a time, or twice: it comes to the same.
    assert!(log.fold(4, 2).unwrap() && !log.fold(4, 2).unwrap());
    let taken: Vec<_> = log.taken().unwrap().into_iter().map(|it| (it.epoch, it.kind, it.body)).collect();
    let stands = |rows: &str| format!(r#"{{"first":true,"rows":[{rows}]}}"#);
    assert_eq!(
        taken[..2],
        [
            (Some(4), "context".to_owned(), stands(r#"{"entity":"b","diff":1},{"entity":"c","diff":1}"#)),
            (Some(4), "sighting".to_owned(), stands(r#"{"entity":"s","diff":1}"#)),
        ]
    );
    assert_eq!((taken.len(), taken[2].0), (3, Some(5)), "what is not folded is there as it was: {taken:?}");
    assert_eq!(log.offsets("words").unwrap(), offsets, "it is heard on from where it was");
    assert_eq!(log.waiting(0).unwrap().len(), 1, "what waits goes on waiting");
    assert!(!log.append("context", "{}", Some("kafka/tables/0/5")).unwrap(), "it is rejected once");
    let keys = log.db.query_row("select count(*) from forgotten", [], |row| row.get::<_, i64>(0)).unwrap();
    assert_eq!(keys, 4);
}

#[test]
fn of_batches_that_were_taken_remain_keys_for_a_day() {
    let folder = tempfile::tempdir().unwrap();
    let mut log = Log::open(folder.path()).unwrap();
    let epochs = (1..=9).map(|epoch| LoggedEpoch { epoch, settled: 0, last: false, parts: Vec::new() });
    log.record(&epochs.collect::<Vec<_>>(), Some((9, 0))).unwrap();
    let hour = forget::KEY_MS / 24;
    let push = |log: &Log, n: i64| {
        let body = format!(r#"{{"source":"edge","text":"{{}}","time":{},"digest":"{n}"}}"#, 9_000 + n * hour);
        // An earlier version kept none.
        let body = if n == 20 { body.replace("digest", "other") } else { body };
        log.append("push", &body, Some(&format!("push/edge/{n}"))).unwrap()
    };
    assert!((1..=40).all(|n| push(&log, n)));
    let through = |last: i64| {
        let done = last.cast_unsigned();
        Through { last, sources: [("edge".to_owned(), (2 * done, done))].into() }
    };
    let place = |log: &mut Log, epoch, last| log.write(&[Entry::Pushed(epoch, through(last))]).unwrap();
    place(&mut log, 3, 5);
    place(&mut log, 6, 30);
    place(&mut log, 8, 38);
    place(&mut log, 10, 40);
    assert_eq!(log.pushed(2).unwrap(), None);
    assert_eq!(log.pushed(7).unwrap(), Some(through(30)));
    assert_eq!(
        log.pushed(Epoch::MAX).unwrap(),
        Some(through(38)),
        "nothing is noted of an epoch that is not there"
    );
    log.forget_pushed().unwrap();
    assert_eq!(log.pushes(0, 99).unwrap().len(), 40, "nothing is folded");
    log.fold(7, 99).unwrap();
    log.forget_pushed().unwrap();
    let left: Vec<i64> = log.pushes(0, 99).unwrap().into_iter().map(|push| push.id).collect();
    assert_eq!(left, (31..=40).collect::<Vec<_>>());
    assert_eq!((log.pushed(5).unwrap(), log.pushed(7).unwrap()), (None, Some(through(30))));
    // The day is told by when batches came: the last that was forgotten came at 30 h.
    let digest = |log: &Log, n: i64| log.digest(&format!("push/edge/{n}")).unwrap();
    assert!((1..=5).all(|n| digest(&log, n).is_none()), "it goes with the key");
    assert!((6..=40).all(|n| digest(&log, n) == Some(n.to_string()).filter(|_| n != 20)));
    assert!((6..=40).all(|n| !push(&log, n)) && (1..=5).all(|n| push(&log, n)));
    assert!(log.pushes(40, 99).unwrap().iter().all(|push| push.id > 40), "numbers are not given twice");
    log.let_go(7).unwrap();
    assert_eq!(log.pushed(Epoch::MAX).unwrap(), Some(through(30)));
}
