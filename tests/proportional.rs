//! A changed row of a context table ranks exactly the incidents that it touches again, within its epoch, and the work that
//! it costs is the same whether a hundred incidents are open or ten thousand: records through every channel of the whole
//! dataflow, and updates that arrangements take in, counted, not timed. (Arrangements merge what they hold later, at their
//! leisure; that is a share of each insertion, and not counted.)

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use crossbeam_channel::{Receiver, unbounded};
use differential_dataflow::logging::{DifferentialEvent, DifferentialEventBuilder};
use quell::archive::Rows;
use quell::engine::dataflow::{Inputs, Output, Span, Wiring, build};
use quell::engine::run;
use quell::flow::Turn;
use quell::plan::catalog::Plan;
use quell::plan::policy::Act;
use quell::rank::{PlaybookTraits, RankService, Ranker};
use quell::record::{
    Alert, AlertId, ContextRow, Diff, Entity, EntityKind, Epoch, Exposure, InputKind, Known, Names, Net,
    Observable, Role, Severity, Sighting, Sym, Tactics, Tick,
};
use timely::dataflow::ProbeHandle;
use timely::logging::{TimelyEvent, TimelyEventBuilder};
use timely::worker::Worker;

const START: Tick = 1_767_700_000;
const DAY: Tick = START / 86_400;

fn entity(kind: EntityKind, value: &str, names: &Names) -> Entity {
    Entity { kind, value: names.intern(value) }
}

/// An alert that is an incident of its own: its own host, address and user; the first seven have a domain in common.
fn alert(n: usize, names: &Names) -> Arc<Alert> {
    let mut entities = vec![
        entity(EntityKind::Host, &format!("h{n}"), names),
        entity(EntityKind::User, &format!("u{n}"), names),
        entity(EntityKind::Ip, &format!("10.{}.{}.{}", n >> 16, n >> 8 & 255, n & 255), names),
    ];
    if n < 7 {
        entities.push(entity(EntityKind::Url, "http://bad.example/", names));
    }
    let role = Role::Related;
    let rule = names.intern(&format!("rule {n}"));
    Arc::new(Alert {
        id: AlertId::of(&[&n.to_le_bytes()]),
        time: START * 1000,
        tick: START,
        tenant: names.intern("acme"),
        source: names.intern("test"),
        position: n as u64,
        product: names.intern("edr"),
        rule,
        title: rule,
        severity: Severity::Critical,
        identified: true,
        further: false,
        tactics: Tactics::parse("impact").expect("a tactic"),
        attacks: names.intern("TA0040,T1486"),
        entities: entities.into_iter().map(|entity| Observable { entity, role }).collect(),
        unmapped: None,
    })
}

/// What is changed: a name, the row, and the alerts whose incidents it touches.
fn changes(names: &Names) -> Vec<(&'static str, (Entity, ContextRow), BTreeSet<usize>)> {
    let row = |known| ContextRow { tenant: Sym::EMPTY, protected: false, known };
    let of = |kind, value: &str| entity(kind, value, names);
    let net = |text: &str| of(EntityKind::Ip, &Net::parse(text).expect("a network").to_string());
    let zone = |name: &str| row(Known::Zones { zone: names.intern(name), exposure: Exposure::Internal });
    let sighting = Sighting {
        day: i32::try_from(DAY).expect("a day"),
        days: 30,
        alerts: 3,
        rejects: 0,
        ignored: 0,
        first_seen: 1,
        last_seen: 2,
    };
    let asset = Known::Assets { criticality: 3, exposed: false, owner: names.intern("ada") };
    let cve = names.intern("CVE-2026-1");
    let flaw = Known::Vulnerabilities { cve, base_score: 98, is_exploit_available: true };
    vec![
        ("an asset", (of(EntityKind::Host, "h3"), row(asset)), [3].into()),
        ("an identity", (of(EntityKind::User, "u4"), row(Known::Identities { privilege: 2 })), [4].into()),
        (
            "an indicator",
            (of(EntityKind::Url, "http://bad.example/"), row(Known::Indicators { confidence: 90 })),
            (0..7).collect(),
        ),
        ("a vulnerability", (of(EntityKind::Host, "h5"), row(flaw)), [5].into()),
        ("a sighting", (of(EntityKind::Ip, "10.0.0.6"), row(Known::Sightings(sighting))), [6].into()),
        ("a zone of four", (net("10.0.0.8/30"), zone("four")), (8..12).collect()),
        ("a zone of one in it", (net("10.0.0.9/32"), zone("one")), [9].into()),
        ("a zone of none", (net("192.0.2.0/24"), zone("none")), BTreeSet::new()),
    ]
}

struct Dataflow<'a> {
    worker: &'a mut Worker,
    inputs: Inputs,
    probe: ProbeHandle<Epoch>,
    outputs: Receiver<Output>,
    epoch: Epoch,
    counted: Arc<AtomicI64>,
}

impl Dataflow<'_> {
    /// One epoch: records that went through channels or into arrangements in it, and the alerts of incidents that were
    /// ranked.
    fn turn(
        &mut self,
        alerts: &[Arc<Alert>],
        rows: &[((Entity, ContextRow), Diff)],
        names: &Names,
    ) -> (i64, Vec<usize>) {
        self.worker.log_register().expect("it logs").flush();
        self.counted.store(0, Ordering::SeqCst);
        let turn =
            Turn { epoch: self.epoch, settled: START + 60, acts: START + 60, last: false, keeps: false };
        for alert in alerts {
            self.inputs.alerts.send(Arc::clone(alert));
        }
        self.inputs.turns.send(turn);
        for (row, diff) in rows {
            self.inputs.context.update(*row, *diff);
        }
        let next = self.epoch + 1;
        self.inputs.alerts.advance_to(next);
        self.inputs.turns.advance_to(next);
        self.inputs.context.advance_to(next);
        self.inputs.approvals.advance_to(next);
        self.inputs.revisions.advance_to(next);
        self.inputs.context.flush();
        while self.probe.less_than(&next) {
            self.worker.step_or_park(Some(Duration::from_millis(1)));
        }
        self.worker.log_register().expect("it logs").flush();
        let ranked = self.ranked(names);
        self.epoch = next;
        (self.counted.load(Ordering::SeqCst), ranked)
    }

    fn ranked(&self, names: &Names) -> Vec<usize> {
        let (mut versions, mut scores) = (Vec::new(), 0);
        for output in self.outputs.try_iter() {
            let Output::Rows(epoch, rows) = output else { continue };
            assert_eq!(epoch, self.epoch, "what it touches is ranked within its epoch");
            if let Rows::Incidents(rows) = rows {
                let host = |entity: &&Entity| entity.kind == EntityKind::Host;
                let hosts = rows.iter().filter_map(|row| row.incident.entities.iter().find(host).copied());
                versions
                    .extend(hosts.map(|host| names.get(host.value)[1..].parse::<usize>().expect("a number")));
            } else if let Rows::Inputs(rows) = rows {
                scores += rows.iter().filter(|row| row.kind == InputKind::Score).count();
            }
        }
        assert_eq!(scores, versions.len(), "each version is ranked");
        versions.sort_unstable();
        versions
    }
}

fn wiring(names: &Arc<Names>) -> Wiring {
    let flow = Path::new(env!("CARGO_MANIFEST_DIR")).join("dataflows/pipeline.yml");
    let plan = Plan::load(&flow).expect("the plan");
    run::wiring(&plan, names, Act::Settled, Span::Process)
}

fn count_records(worker: &Worker, counted: &Arc<AtomicI64>) {
    let mut register = worker.log_register().expect("it logs");
    let counts = Arc::clone(counted);
    register.insert::<TimelyEventBuilder, _>("timely", move |_, events| {
        for (_, event) in events.iter().flat_map(|events| events.iter()) {
            if let TimelyEvent::Messages(message) = event
                && message.is_send
            {
                counts.fetch_add(message.record_count, Ordering::SeqCst);
            }
        }
    });
    let counts = Arc::clone(counted);
    register.insert::<DifferentialEventBuilder, _>("differential/arrange", move |_, events| {
        for (_, event) in events.iter().flat_map(|events| events.iter()) {
            if let DifferentialEvent::Batch(batch) = event {
                counts.fetch_add(i64::try_from(batch.length).expect("a length"), Ordering::SeqCst);
            }
        }
    });
}

/// The records of each change, and of its being taken back, with so many incidents open.
fn cost(open: usize) -> Vec<(&'static str, i64, i64)> {
    timely::execute_directly(move |worker| {
        let names = Arc::new(Names::default());
        let counted = Arc::new(AtomicI64::new(0));
        count_records(worker, &counted);
        let wiring = wiring(&names);
        let traits = wiring.proposing.playbooks.iter().map(|_| PlaybookTraits::of(&[], &[], &[], 0));
        let ranker = Ranker::untrained(&traits.collect::<Vec<_>>());
        let service = RankService::start(ranker, names.intern("untrained"), None).expect("a thread");
        let (sender, outputs) = unbounded();
        let (inputs, probe) = build(worker, &wiring, &service, &sender);
        let mut flow = Dataflow { worker, inputs, probe, outputs, epoch: 1, counted };
        flow.inputs.alerts.advance_to(1);
        flow.inputs.turns.advance_to(1);
        flow.inputs.context.advance_to(1);
        let alerts: Vec<Arc<Alert>> = (0..open).map(|n| alert(n, &names)).collect();
        let (whole, mut ranked) = flow.turn(&alerts, &[], &names);
        ranked.extend(flow.turn(&[], &[], &names).1);
        assert_eq!(ranked, (0..open).collect::<Vec<_>>(), "each alert is an incident of its own");
        assert!(whole > i64::try_from(open).expect("a count"), "what goes through is counted");
        let mut costs = Vec::new();
        for (what, row, touches) in changes(&names) {
            let (added, ranked) = flow.turn(&[], &[(row, 1)], &names);
            assert_eq!(ranked, touches.iter().copied().collect::<Vec<_>>(), "{what} among {open}");
            if what == "a zone of four" {
                // It stays: the one after it lies in it, and is more to the point.
                costs.push((what, added, 0));
                continue;
            }
            let (taken, ranked) = flow.turn(&[], &[(row, -1)], &names);
            assert_eq!(ranked, touches.into_iter().collect::<Vec<_>>(), "{what}, taken back, among {open}");
            costs.push((what, added, taken));
        }
        costs
    })
}

#[test]
fn a_changed_row_costs_what_it_touches_and_not_what_is_open() {
    let (few, many) = (cost(100), cost(10_000));
    eprintln!("{many:?}");
    assert_eq!(few, many);
    for (what, added, taken) in many {
        assert!(added < 500 && taken < 500, "{what}: {added} {taken}");
    }
}
