//! What crosses to another process is there what it was here, though every string has another number.

use std::fmt::Debug;
use std::sync::Arc;
use std::thread;

use proptest::prelude::*;
use quell::correlate::connected::Linkable;
use quell::correlate::group::Group;
use quell::decide::{Ground, Undertaking};
use quell::plan::policy::Mode;
use quell::rank::propose::Proposal;
use quell::record::wire::{Telling, Tongues, enter};
use quell::record::{
    Candidate, ContextRow, DecisionId, Entity, EntityKind, Exposure, Held, IncidentId, Known, Lost, Names,
    Order, Reason, Score, Sighting, Sym, Target,
};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::samples::{Dice, alert, decision, incident, link, member};

/// Two processes of a cluster.
struct Two {
    names: [Arc<Names>; 2],
    tongues: [Arc<Tongues>; 2],
}

impl Two {
    /// The second knows other strings before.
    fn new() -> Two {
        let names = [0, 1].map(|_| Arc::new(Names::default()));
        for n in 0..50 {
            let _ = names[1].intern(&format!("other {n}"));
        }
        let tongues = [0, 1].map(|own| Arc::new(Tongues::new(own, 2, Arc::clone(&names[own]))));
        Two { names, tongues }
    }

    fn at<R: Send>(&self, process: usize, work: impl FnOnce() -> R + Send) -> R {
        let tongues = Arc::clone(&self.tongues[process]);
        thread::scope(|scope| {
            let worker = scope.spawn(move || {
                enter(tongues);
                work()
            });
            worker.join().expect("no panic there")
        })
    }

    /// Makes a value here and there, from one seed, and sends what was made here.
    fn crosses<T: Serialize + DeserializeOwned + PartialEq + Debug + Send + Sync>(
        &self,
        seed: u64,
        make: impl Fn(&mut Dice, &Names) -> T,
    ) {
        let [here, there] = [0, 1].map(|at| make(&mut Dice(seed), &self.names[at]));
        let bytes = self.at(0, || bincode::serialize(&here).expect("it serializes"));
        let mut telling = Telling::default();
        let tongues = Arc::new(Tongues::new(1, 2, Arc::clone(&self.names[1])));
        loop {
            let news = telling.news(&self.names[0]);
            if news.is_empty() {
                break;
            }
            tongues.learn(0, &news).expect("it is sound");
        }
        let two = Two { names: self.names.clone(), tongues: [Arc::clone(&self.tongues[0]), tongues] };
        let came: T = two.at(1, || bincode::deserialize(&bytes).expect("it deserializes"));
        assert_eq!(came, there);
    }
}

fn sym(dice: &mut Dice, names: &Names) -> Sym {
    names.intern(&format!("word {}", dice.below(9)))
}

fn entity(dice: &mut Dice, names: &Names) -> Entity {
    let kind = EntityKind::ALL[usize::try_from(dice.below(10)).expect("small")];
    Entity { kind, value: sym(dice, names) }
}

fn targets(dice: &mut Dice, names: &Names) -> Vec<(usize, Vec<Target>)> {
    vec![(3, vec![Target::Entity(entity(dice, names)), Target::Incident(IncidentId([7; 16]))]), (4, vec![])]
}

/// One of each kind of row.
fn known(dice: &mut Dice, names: &Names) -> Vec<ContextRow> {
    let tenant = sym(dice, names);
    let sighting = Sighting {
        day: -3,
        days: 30,
        alerts: 1,
        rejects: u64::MAX,
        ignored: 0,
        first_seen: i64::MIN,
        last_seen: 9,
    };
    let kinds = [
        Known::Assets { criticality: 4, exposed: true, owner: sym(dice, names) },
        Known::Identities { privilege: 2 },
        Known::Indicators { confidence: 100 },
        Known::Zones { zone: sym(dice, names), exposure: Exposure::Dmz },
        Known::Vulnerabilities { cve: sym(dice, names), base_score: 98, is_exploit_available: true },
        Known::NeverLink,
        Known::Sightings(sighting),
    ];
    kinds.into_iter().map(|known| ContextRow { tenant, protected: true, known }).collect()
}

/// One of each reason that holds something.
fn reasons(dice: &mut Dice, names: &Names) -> Vec<Reason> {
    vec![
        Reason::Denied { by: "ada".to_owned() },
        Reason::LowConfidence { confidence: Score(1), floor: Score(10_000) },
        Reason::Protected { entity: entity(dice, names) },
        Reason::BlastRadius { targets: 3, targets_max: 2 },
        Reason::VerbNotAllowed { verb: "delete".into() },
        Reason::Carried { decision: DecisionId([1; 16]) },
        Reason::Withdrawn {
            lost: Lost::Indicator,
            targets: vec!["ip:10.0.0.1".to_owned()],
            held: Some(Held::Budget { actions_max: 4 }),
        },
        Reason::Moot { what: "it expired".into() },
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn all_that_crosses_is_what_it_was(seed in any::<u64>()) {
        let two = Two::new();
        two.crosses(seed, |dice, names| Arc::unwrap_or_clone(alert(dice, names).alert));
        two.crosses(seed, member);
        two.crosses(seed, link);
        two.crosses(seed, |dice, names| {
            let row = incident(dice, names);
            (row.incident, row.judgement, row.features, row.context)
        });
        two.crosses(seed, |dice, names| decision(dice, names).decision);
        two.crosses(seed, known);
        two.crosses(seed, reasons);
        two.crosses(seed, |dice, names| Proposal { playbook: 1, targets: targets(dice, names), left_out: 2 });
        two.crosses(seed, |dice, names| Undertaking {
            playbook_id: sym(dice, names),
            playbook_hash: [9; 32],
            mode: Mode::DryRun,
            targets: targets(dice, names),
        });
        two.crosses(seed, |dice, names| Ground {
            decision: decision(dice, names).decision,
            tick: -1,
            targets: vec![(entity(dice, names), true)],
            lost: Some(Lost::Parted),
        });
        two.crosses(seed, |dice, names| Candidate {
            incident_id: IncidentId([3; 16]),
            tick: 0,
            tenant: sym(dice, names),
            playbook_id: sym(dice, names),
            score: Score(5),
            propensity: Score(6),
            eligible: true,
            diff: -1,
        });
        two.crosses(seed, |dice, names| {
            let values = (0..4).map(|_| sym(dice, names)).collect();
            let group = Group { rule: 7, tenant: sym(dice, names), values };
            let values = (0..6).map(|_| sym(dice, names)).collect();
            let order = Order { tick: 1, time: 2, ..Order::default() };
            (group, Linkable { rule: 1, tenant: sym(dice, names), order, values, ids: Some(Arc::default()) })
        });
    }
}
