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
