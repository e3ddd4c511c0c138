//! The archive: what is written comes back, the digest sees meaning alone, and a crash at any point leaves exactly
//! what the log committed.

mod archive_samples;

use std::path::Path;
use std::sync::Arc;

use archive_samples::{Dice, rows, tactic_ids};
use proptest::prelude::*;
use quell::archive::{
    DecisionLine, DecisionRow, IncidentLine, IncidentRow, Line, Lines, LinkLine, Only, Reader, Recovered,
    Rows, RunStamp, Writer, digest, recover, table_schemas,
};
use quell::record::{Epoch, InputRow, Link, Member, Names, Sym, Tick};

fn writer(dir: &Path, worker: u32, names: &Arc<Names>, skip_through: Epoch) -> Writer {
    Writer::new(dir, worker, Arc::clone(names), &RunStamp::default(), skip_through)
}

/// Writes and publishes rows as of one epoch and tick.
fn publish(dir: &Path, worker: u32, names: &Arc<Names>, tick: Tick, rows: &[Rows]) {
    let mut writer = writer(dir, worker, names, 0);
    for rows in rows {
        writer.push(1, rows).expect("room to write");
    }
    writer.seal(tick).expect("a seal").publish().expect("a free name");
}

fn lines<L: Line>(lines: std::io::Result<Lines<L>>) -> Vec<L> {
    lines.and_then(Iterator::collect).expect("a readable archive")
}

fn sorted(mut texts: Vec<String>) -> Vec<String> {
    texts.sort();
    texts
}

fn shown<T: std::fmt::Debug>(rows: impl IntoIterator<Item = T>) -> Vec<String> {
    // Parts are by date, so rows come back in another order: compare as sets of what they show.
    sorted(rows.into_iter().map(|row| format!("{row:?}")).collect())
}

/// What is read of the incidents, told in the words of what was written.
fn incident_agrees(line: &IncidentLine, row: &IncidentRow, names: &Names) -> bool {
    let incident = &row.incident;
    let tactics = row.judgement.as_ref().map(tactic_ids);
    let features = row.features.as_ref();
    (line.incident_id, line.version, line.tick, line.tenant)
        == (incident.id, incident.version, incident.tick, incident.tenant)
        && (line.kind, line.state, line.merged_into, line.succeeds)
            == (incident.kind, incident.state, incident.merged_into, incident.succeeds)
        && (line.first_seen_time.0, line.last_seen_time.0) == (incident.first_seen, incident.last_seen)
        && (line.alert_count, line.entity_count) == (incident.alert_count, incident.entity_count)
        && (&line.entities[..], &line.attacks[..]) == (&incident.entities[..], &incident.attacks[..])
        && (line.severity_id, &line.severities[..]) == (incident.severity, &incident.severities[..])
        && (&line.products[..], &line.correlations[..])
            == (&incident.products[..], &incident.correlations[..])
        && line.rules.iter().copied().zip(line.rule_counts.iter().copied()).eq(incident.rules.iter().copied())
        && (line.evidence, line.exposed) == (incident.evidence, row.context.exposed)
        && (line.criticality, line.privilege) == (row.context.criticality, row.context.privilege)
        && (line.indicator, line.indicator_count) == (row.context.indicator, row.context.indicator_count)
        && (&line.protected, &line.indicators) == (&row.context.protected, &row.context.indicators)
        && line.triage == row.judgement.as_ref().map(|judgement| judgement.triage)
        && line.confidence == row.judgement.as_ref().map(|judgement| judgement.confidence)
        && line.next_tactics.as_ref().map(|ids| ids.iter().map(|id| names.get(*id)).collect::<Vec<_>>())
            == tactics.map(|ids| ids.into_iter().map(str::to_owned).collect())
        && line.features.as_deref() == features.map(|features| &features.numeric[..])
        && line.tokens.as_deref() == features.map(|features| &features.tokens[..])
}

fn decision_agrees(line: &DecisionLine, row: &DecisionRow) -> bool {
    let decision = &row.decision;
    (line.decision_id, line.incident_id, line.tick, line.tenant)
        == (decision.id, decision.incident_id, decision.tick, decision.tenant)
        && line.playbook_id.unwrap_or(Sym::EMPTY) == decision.playbook_id
        && (line.ruling, line.score, line.confidence)
            == (decision.ruling, decision.score, decision.confidence)
        && (line.superseded_by, line.supersedes) == (row.superseded_by, decision.supersedes)
        && (line.model_version, line.plan_hash) == (row.decision.model_version, row.plan_hash)
}

fn links_come_back(reader: &Reader, names: &Names, rows: &[Link]) {
    let told = |line: LinkLine| {
        let ids = (line.incident_id, line.alert_id, line.other_alert_id);
        (line.tick, line.tenant, ids, line.entity, names.get(line.evidence), line.weight, line.diff)
    };
    let wanted = rows.iter().map(|link| {
        let ids = (link.incident_id, link.alert_id, link.other_alert_id);
        (link.tick, link.tenant, ids, link.entity, link.evidence, link.weight, link.diff)
    });
    assert_eq!(shown(lines(reader.links(None)).into_iter().map(told)), shown(wanted));
}

fn come_back<L: Line, N: From<L> + std::fmt::Debug>(read: std::io::Result<Lines<L>>, rows: &[N]) {
    assert_eq!(shown(lines(read).into_iter().map(N::from)), shown(rows));
}

/// Every row of `written` is read back, and nothing else.
fn assert_comes_back(reader: &Reader, names: &Names, written: &[Rows]) {
    for table in written {
        match table {
            Rows::Alerts(rows) => {
                let read = lines(reader.alerts(None)).into_iter().map(|line| line.row(names));
                assert_eq!(shown(read), shown(rows));
            }
            Rows::Duplicates(rows) => come_back(reader.duplicates(None), rows),
            Rows::Rejects(rows) => come_back(reader.rejects(None), rows),
            Rows::Observed(rows) => come_back(reader.observed(None), rows),
            Rows::Matches(rows) => come_back(reader.matches(None), rows),
            Rows::Members(rows) => come_back(reader.members(None), rows),
            Rows::Links(rows) => links_come_back(reader, names, rows),
            Rows::Incidents(rows) => {
                let read = lines(reader.incidents(None));
                let found = |row| read.iter().any(|line| incident_agrees(line, row, names));
                assert!(read.len() == rows.len() && rows.iter().all(found));
            }
            Rows::Candidates(rows) => come_back(reader.candidates(None), rows),
            Rows::Decisions(rows) => {
                let read = lines(reader.decisions(None));
                let found = |row| read.iter().any(|line| decision_agrees(line, row));
                assert!(read.len() == rows.len() && rows.iter().all(found));
            }
            Rows::Actions(rows) => come_back(reader.actions(None), rows),
            Rows::Outcomes(rows) => come_back(reader.outcomes(None), rows),
            Rows::Verdicts(rows) => come_back(reader.verdicts(None), rows),
            Rows::Epochs(rows) => come_back(reader.epochs(None), rows),
            Rows::Inputs(rows) => come_back(reader.inputs(None), rows),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(6))]

    #[test]
    fn what_is_written_comes_back(seed: u64, n in 1_usize..40) {
        let (dir, names) = (tempfile::tempdir()?, Arc::new(Names::default()));
        let written = rows(&mut Dice(seed), &names, 1, n);
        publish(dir.path(), 0, &names, 7, &written);
        assert_comes_back(&Reader::open(dir.path(), Arc::clone(&names))?, &names, &written);
    }

    #[test]
    fn a_digest_knows_neither_order_nor_parts_nor_workers(seed: u64, n in 2_usize..12, workers in 2_u32..4) {
        let (one, many) = (tempfile::tempdir()?, tempfile::tempdir()?);
        let names = Arc::new(Names::default());
        publish(one.path(), 0, &names, 7, &rows(&mut Dice(seed), &names, 1, n));
        // Another process interns in another order, takes the rows backwards, by turns, in two seals.
        let others = Arc::new(Names::default());
        let _ = others.intern("something else first");
        let mut writers: Vec<Writer> = (0..workers).map(|at| writer(many.path(), at, &others, 0)).collect();
        for (at, table) in rows(&mut Dice(seed), &others, 1, n).into_iter().enumerate() {
            for (turn, row) in singly(table).into_iter().rev().enumerate() {
                let at = (at + turn) % writers.len();
                writers[at].push(1, &row)?;
                if turn == n / 2 {
                    writers[at].seal(i64::try_from(turn)? + 100 * i64::from(row_tag(&row)))?.publish()?;
                }
            }
        }
        for writer in &mut writers {
            writer.seal(1_000_000)?.publish()?;
        }
        prop_assert_eq!(digest(one.path(), true)?, digest(many.path(), true)?);
        prop_assert_eq!(digest(one.path(), false)?, digest(many.path(), false)?);
    }
}

/// A number a table, so that each seal has its own tick.
fn row_tag(rows: &Rows) -> u8 {
    match rows {
        Rows::Alerts(_) => 1,
        Rows::Duplicates(_) => 2,
        Rows::Rejects(_) => 3,
        Rows::Matches(_) => 4,
        Rows::Members(_) => 5,
        Rows::Links(_) => 6,
        Rows::Incidents(_) => 7,
        Rows::Candidates(_) => 8,
        Rows::Decisions(_) => 9,
        Rows::Actions(_) => 10,
        Rows::Outcomes(_) => 11,
        Rows::Verdicts(_) => 12,
        Rows::Epochs(_) => 13,
        Rows::Inputs(_) => 14,
        Rows::Observed(_) => 15,
    }
}

/// The rows one by one.
fn singly(rows: Rows) -> Vec<Rows> {
    macro_rules! split {
        ($($Table:ident)+) => {
            match rows { $( Rows::$Table(rows) => rows.into_iter().map(|row| Rows::$Table(vec![row])).collect(), )+ }
        };
    }
    split!(Alerts Duplicates Rejects Matches Members Links Incidents Candidates Decisions Actions Outcomes Verdicts
        Epochs Inputs Observed)
}

fn only_members(seed: u64, names: &Names, n: usize) -> Vec<Member> {
    let mut dice = Dice(seed);
    (0..n).map(|_| Member { diff: 1, ..archive_samples::member(&mut dice, names) }).collect()
}

#[test]
fn changes_that_cancel_leave_nothing_and_one_changed_row_shows() {
    let names = Arc::new(Names::default());
    let kept = only_members(1, &names, 50);
    let taken_back = only_members(2, &names, 20);
    let dirs: Vec<_> = (0..4).map(|_| tempfile::tempdir().expect("a folder")).collect();
    let members = |dir: usize| digest(dirs[dir].path(), false).expect("a digest").swap_remove(4);

    publish(dirs[0].path(), 0, &names, 1, &[Rows::Members(kept.clone())]);
    publish(dirs[1].path(), 0, &names, 1, &[Rows::Members(kept.clone()), Rows::Members(taken_back.clone())]);
    let back = taken_back.into_iter().map(|member| Member { diff: -1, ..member }).collect();
    publish(dirs[1].path(), 1, &names, 2, &[Rows::Members(back)]);
    assert_eq!(members(0), members(1));
    assert_eq!((members(0).table, members(0).rows), ("members", 50));

    let mut changed = kept.clone();
    changed[17].alert_id.0[3] ^= 1;
    publish(dirs[2].path(), 0, &names, 1, &[Rows::Members(changed)]);
    assert_eq!(members(2).rows, 50);
    assert_ne!(members(0), members(2));

    assert_eq!(members(3).to_string(), format!("members 0 {}", "00".repeat(32)));
}

#[test]
fn epochs_and_clock_moves_are_in_the_log_alone() {
    use quell::record::InputKind;
    let names = Arc::new(Names::default());
    let dirs: Vec<_> = (0..2).map(|_| tempfile::tempdir().expect("a folder")).collect();
    let input =
        |kind, tick, body: &str| InputRow { epoch: 0, tick, tenant: Sym::EMPTY, kind, body: body.to_owned() };
    for (at, dir) in dirs.iter().enumerate() {
        let at = i64::try_from(at).expect("few");
        let mut rows = vec![input(InputKind::Approval, at, &format!("{{\"approved\":true,\"time\":{at}}}"))];
        rows.extend((0..at).map(|_| input(InputKind::Tick, at, "{}")));
        let mut writer = writer(dir.path(), 0, &names, 0);
        writer.push(at.cast_unsigned() + 1, &Rows::Inputs(rows)).expect("room");
        writer.push(at.cast_unsigned() + 1, &Rows::Members(only_members(3, &names, 5))).expect("room");
        writer.seal(1).and_then(quell::archive::Sealed::publish).expect("a seal");
    }
    let [plain, log] =
        [false, true].map(|log| dirs.iter().map(move |dir| digest(dir.path(), log).expect("a digest")));
    let [plain, log] = [plain.collect::<Vec<_>>(), log.collect()];
    assert_eq!(plain[0], plain[1]);
    assert_eq!(plain[0].len() + 2, log[0].len());
    assert_ne!(log[0][4], log[1][4], "the epoch is in the log");
}

#[test]
fn only_the_rows_asked_for_are_read() {
    let (dir, names) = (tempfile::tempdir().expect("a folder"), Arc::new(Names::default()));
    let members = only_members(9, &names, 30_000);
    publish(dir.path(), 0, &names, 1, &[Rows::Members(members.clone())]);
    let reader = Reader::open(dir.path(), names).expect("an archive");
    let wanted = [&members[5], &members[29_999]];
    let read = lines(reader.members(Some(Only::incidents(wanted.map(|member| member.incident_id)))));
    assert_eq!(shown(read.into_iter().map(Member::from)), shown(wanted));
    assert!(reader.epochs(Some(Only::alerts([members[0].alert_id]))).is_err());
}

#[test]
fn a_broken_part_is_named() {
    let (dir, names) = (tempfile::tempdir().expect("a folder"), Arc::new(Names::default()));
    let folder = dir.path().join("members/date=2022-01-01");
    std::fs::create_dir_all(&folder).expect("a folder");
    std::fs::write(folder.join("part-5-0.parquet"), b"PAR1 and no more").expect("a file");
    let told = digest(dir.path(), false).expect_err("a broken part").to_string();
    assert!(told.contains("part-5-0.parquet"), "{told}");
    let reader = Reader::open(dir.path(), names).expect("an archive");
    let mut read = reader.members(None).expect("a table");
    let told = read.next().and_then(Result::err).expect("a broken part").to_string();
    assert!(told.contains("part-5-0.parquet"), "{told}");
    assert!(read.next().is_none());
}

/// Where a run stops.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Crash {
    Writing,
    Sealed,
    Committed,
    HalfPublished,
    Published,
}

/// Two workers, two turns of commit; the second stops at `crash`. Recovery leaves what was committed, and the run
/// made again from there gives what a run without a crash gives.
fn crash_at(crash: Crash) {
    let names = Arc::new(Names::default());
    let (whole, cut) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
    let members = |epoch: Epoch, worker: u32| {
        Rows::Members(only_members(epoch * 10 + u64::from(worker), &names, 20_000))
    };
    let turn = |dir: &Path, epoch: Epoch, skip_through: Epoch| {
        let mut sealed = Vec::new();
        for worker in 0..2 {
            let mut writer = writer(dir, worker, &names, skip_through);
            for epoch in [1, epoch] {
                writer.push(epoch, &members(epoch, worker)).expect("room");
            }
            sealed.push(writer.seal(100 * epoch.cast_signed()).expect("a seal"));
        }
        sealed
    };
    for (epoch, skip_through) in [(1, 0), (2, 1)] {
        for sealed in turn(whole.path(), epoch, skip_through) {
            sealed.publish().expect("a free name");
        }
    }
    let wanted = digest(whole.path(), true).expect("a digest");

    for sealed in turn(cut.path(), 1, 0) {
        sealed.publish().expect("a free name");
    }
    let before = digest(cut.path(), true).expect("a digest");
    if crash == Crash::Writing {
        let mut writer = writer(cut.path(), 0, &names, 1);
        writer.push(2, &members(2, 0)).expect("room");
        // The end of the process: what it has written so far stays, without a footer.
        drop(writer);
    } else {
        let mut sealed = turn(cut.path(), 2, 1);
        let published = match crash {
            Crash::Published => 2,
            Crash::HalfPublished => 1,
            Crash::Writing | Crash::Sealed | Crash::Committed => 0,
        };
        sealed.drain(..published).for_each(|sealed| sealed.publish().expect("a free name"));
    }
    let committed = if matches!(crash, Crash::Writing | Crash::Sealed) { (1, 100) } else { (2, 200) };
    recover(cut.path(), Some(committed)).expect("a recovery");
    let expected = if committed.0 == 1 { &before } else { &wanted };
    assert_eq!(&digest(cut.path(), true).expect("a digest"), expected, "{crash:?}");
    assert_eq!(recover(cut.path(), Some(committed)).expect("a recovery"), Recovered::default(), "{crash:?}");

    // The run goes on: everything is computed again, and what is there already is passed over.
    for sealed in turn(cut.path(), 2, committed.0) {
        sealed.publish().expect("a free name");
    }
    assert_eq!(digest(cut.path(), true).expect("a digest"), wanted, "{crash:?}");
}

#[test]
fn a_crash_leaves_what_was_committed() {
    for crash in [Crash::Writing, Crash::Sealed, Crash::Committed, Crash::HalfPublished, Crash::Published] {
        crash_at(crash);
    }
}

#[test]
fn without_a_commit_nothing_of_ours_stays() {
    let (dir, names) = (tempfile::tempdir().expect("a folder"), Arc::new(Names::default()));
    publish(dir.path(), 0, &names, 1, &[Rows::Members(only_members(1, &names, 5))]);
    let folder = std::fs::read_dir(dir.path().join("members")).expect("a table").next().expect("a date");
    let foreign = folder.expect("a date").path().join("notes.txt");
    std::fs::write(&foreign, "mine").expect("a file");
    let done = recover(dir.path(), None).expect("a recovery");
    assert!(done.removed > 0 && done.published == 0);
    assert!(foreign.exists());
    assert_eq!(digest(dir.path(), false).expect("a digest")[4].rows, 0);
}

#[test]
fn a_tick_is_sealed_once_a_worker() {
    let (dir, names) = (tempfile::tempdir().expect("a folder"), Arc::new(Names::default()));
    publish(dir.path(), 0, &names, 1, &[Rows::Members(only_members(1, &names, 5))]);
    let mut again = writer(dir.path(), 0, &names, 0);
    again.push(2, &Rows::Members(only_members(1, &names, 5))).expect("room");
    let told = again.seal(1).expect_err("a taken name").to_string();
    assert!(told.contains("part-1-0.parquet") && told.contains("already"), "{told}");
    assert!(again.push(3, &Rows::Members(Vec::new())).is_err(), "a failed writer takes nothing more");
}

#[test]
fn a_year_in_one_go_asks_for_a_seal() {
    let (dir, names) = (tempfile::tempdir().expect("a folder"), Arc::new(Names::default()));
    let mut writer = writer(dir.path(), 0, &names, 0);
    let mut members = only_members(1, &names, 365);
    for (day, member) in (0..).zip(&mut members) {
        member.tick = day * 86_400;
    }
    let rest = members.split_off(200);
    writer.push(1, &Rows::Members(members)).expect("room");
    assert!(!writer.wants_seal());
    writer.push(2, &Rows::Members(rest)).expect("room");
    assert!(writer.wants_seal());
    assert!(!dir.path().join("members").exists(), "few rows of a day open no file before the seal");
}

#[test]
fn a_day_is_encoded_when_the_next_one_begins() {
    let (dir, names) = (tempfile::tempdir().expect("a folder"), Arc::new(Names::default()));
    let mut writer = writer(dir.path(), 0, &names, 0);
    let mut members = only_members(1, &names, 3_000);
    for (n, member) in (0..).zip(&mut members) {
        member.tick = n / 1_100 * 86_400;
    }
    // One comes late, when its day is encoded.
    members[2_999].tick = 0;
    writer.push(1, &Rows::Members(members.clone())).expect("room");
    let written = |date: &str| {
        let file = dir.path().join(format!("members/date={date}/.part-0.tmp"));
        std::fs::metadata(file).map_or(0, |file| file.len())
    };
    let [first, second, third] = ["1970-01-01", "1970-01-02", "1970-01-03"].map(written);
    assert!(first > 10_000 && second > 10_000 && third == 0, "{first} {second} {third}");
    writer.seal(1).expect("a seal").publish().expect("a free name");
    let other = tempfile::tempdir().expect("a folder");
    members.reverse();
    publish(other.path(), 0, &names, 1, &[Rows::Members(members)]);
    let meant = |dir: &Path| digest(dir, true).expect("a digest").swap_remove(4);
    assert_eq!(meant(dir.path()), meant(other.path()));
    assert_eq!(meant(dir.path()).rows, 3_000);
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_is_told_and_publishes_nothing() {
    let (dir, names) = (tempfile::tempdir().expect("a folder"), Arc::new(Names::default()));
    let member = Member { tick: 0, ..only_members(1, &names, 1).swap_remove(0) };
    let folder = dir.path().join("members/date=1970-01-01");
    std::fs::create_dir_all(&folder).expect("a folder");
    // /dev/full answers every write as a full disk does.
    std::os::unix::fs::symlink("/dev/full", folder.join(".part-0.tmp")).expect("a link");
    let mut writer = writer(dir.path(), 0, &names, 0);
    writer.push(1, &Rows::Members(vec![member])).expect("room in memory");
    let error = writer.seal(1).expect_err("a full disk");
    assert_eq!(error.kind(), std::io::ErrorKind::StorageFull);
    let told = error.to_string();
    assert!(told.contains("date=1970-01-01/.part-0.tmp") && told.contains("make room"), "{told}");
    assert_eq!(digest(dir.path(), false).expect("a digest")[4].rows, 0);
}

#[test]
fn schemas_hold_the_contracts_columns() {
    let schemas = table_schemas();
    assert_eq!(schemas.len(), 15);
    for (table, schema) in &schemas {
        for (at, column) in ["tenant", "epoch", "tick"].iter().enumerate() {
            assert_eq!(schema.field(at).name(), column, "{table}");
        }
        let told = schema.fields().iter().all(|field| field.metadata().get("description").is_some());
        assert!(told, "{table} has a column without a description");
    }
}
