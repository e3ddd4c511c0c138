//! Learning on a small world whose truth is known: what must be learned, reproduced, written down, refused.

use std::path::Path;

use super::card::{Origin, next_version, write};
use super::dataset::{DecisionRow, Example, IncidentRow, OutcomeRow, Slices, Split, join, part};
use super::promote::{PromoteError, promote};
use super::train::{TrainConfig, TrainError, Trained, train};
use crate::rank::model::{Model, ModelError};
use crate::rank::network::Dice;
use crate::rank::{Case, PlaybookTraits, Ranker};
use crate::record::features::{NUMERIC, TOKENS};
use crate::record::{
    ActionId, DecisionId, EntityKind, Features, IncidentId, LabelSource, Tactics, Triage, Verb,
};

const RULES: u32 = 12;
const TENANTS: u32 = 3;

/// Playbook i is right for rules of use case i, and for no other.
fn playbooks() -> Vec<PlaybookTraits> {
    let of = |verb, kind, label: &str| PlaybookTraits::of(&[verb], &[kind], &[label.to_owned()], 50);
    vec![
        of(Verb::Delete, EntityKind::Mailbox, "phishing"),
        of(Verb::Contain, EntityKind::Host, "ransomware"),
        of(Verb::Set, EntityKind::User, "insider"),
        of(Verb::Deny, EntityKind::Ip, "cloud"),
    ]
}

fn features(rule: u32, tenant: u32, dice: &mut Dice) -> Features {
    let mut features = Features {
        numeric: [0.0; NUMERIC.len()],
        tokens: [0; TOKENS],
        history: [rule, 100 + tenant, 1000 + rule * TENANTS + tenant],
    };
    for column in &mut features.numeric[..12] {
        *column = (dice.unit() * 4096.0).round() / 4096.0;
    }
    features.tokens[0] = 1 + u16::try_from(rule).unwrap_or(0) * 7;
    features.tokens[1] = 500 + u16::try_from(dice.below(20)).unwrap_or(0);
    features
}

/// What a rule is depends on the rule, at one tenant on the tenant; one verdict in twenty is a slip. Severity says little.
fn truth(rule: u32, tenant: u32) -> Triage {
    let turn = u32::from(tenant == 2 && rule.is_multiple_of(4));
    Triage::ALL[((rule / 4 + turn) % 3) as usize]
}

fn below(n: u32, dice: &mut Dice) -> u32 {
    u32::try_from(dice.below(n as usize)).unwrap_or(0)
}

fn world(incidents: u32) -> Vec<Example> {
    let mut dice = Dice(42);
    let mut examples = Vec::new();
    for at in 0..incidents {
        let (rule, tenant) = (below(RULES, &mut dice), below(TENANTS, &mut dice));
        let slip = dice.unit() < 0.05;
        let triage = if slip { Triage::ALL[dice.below(3)] } else { truth(rule, tenant) };
        let use_case = (rule % 4) as usize;
        let tried = [dice.below(4), use_case];
        let time = i64::from(at) * 60_000;
        examples.push(Example {
            features: features(rule, tenant, &mut dice),
            triage: Some(triage),
            labelled: time + 30_000,
            success: tried
                .map(|playbook| {
                    (playbooks()[playbook].clone(), (playbook == use_case) == (dice.unit() < 0.9))
                })
                .to_vec(),
            next: Some(Tactics(1 << rule)),
            weight: 1.0,
            group: IncidentId::of(&[&at.to_le_bytes()]),
            time,
            slices: Slices {
                tenant: format!("t{tenant}"),
                detector: format!("d{}", rule / 4),
                use_case: format!("u{use_case}"),
            },
        });
    }
    examples
}

fn config() -> TrainConfig {
    TrainConfig { turns_max: 12, ..TrainConfig::default() }
}

fn origin() -> Origin {
    Origin { data: "A small world of a test.".into(), synthetic: true, notes: String::new() }
}

fn learned() -> &'static Trained {
    static LEARNED: std::sync::OnceLock<Trained> = std::sync::OnceLock::new();
    LEARNED.get_or_init(|| train(world(1500), &config()).expect("enough rows"))
}

#[test]
fn a_known_truth_is_learned() {
    let test = &learned().test;
    println!("{test:#?} in {} turns", learned().turns);
    assert!(test.macro_f1 > 0.85, "{test:?}");
    assert!(
        test.macro_f1 > test.majority.macro_f1 + 0.4 && test.macro_f1 > test.severity.macro_f1 + 0.3,
        "{test:?}"
    );
    assert!(test.playbooks.auc.is_some_and(|auc| auc > 0.8) && test.playbooks.regret < 0.2, "{test:?}");
    assert!(test.next_top3.is_some_and(|share| share > 0.9), "{test:?}");
    assert!(test.calibration_error < 0.15 && test.slices.len() == 3 + 3 + 4, "{test:?}");
}

#[test]
fn the_right_playbook_is_ranked_first() {
    let mut ranker = Ranker::of(learned().model.clone(), &playbooks());
    let mut dice = Dice(9);
    for rule in 0..RULES {
        let case = Case { features: features(rule, 1, &mut dice).into(), playbooks: vec![0, 1, 2, 3] };
        let scores = ranker.judge(&[case])[0].scores.clone();
        let best = (0..4).max_by_key(|at| scores[*at]).expect("four");
        assert_eq!(best, (rule % 4) as usize, "rule {rule}: {scores:?}");
    }
}

#[test]
fn the_same_data_and_seed_give_the_same_weights() {
    let few = TrainConfig { turns_max: 2, ..config() };
    let bytes = |config: &TrainConfig| {
        let folder = tempfile::tempdir().expect("a folder");
        train(world(200), config).expect("enough rows").model.write(folder.path()).expect("written");
        let hash = crate::rank::model::hash(folder.path()).expect("a hash");
        println!("seed {}: {hash}", config.seed);
        hash
    };
    assert_eq!(bytes(&few), bytes(&few));
    assert_ne!(bytes(&few), bytes(&TrainConfig { seed: 2, ..few.clone() }));
    assert!(matches!(train(world(20), &few), Err(TrainError::TooFew { .. })));
}

#[test]
fn what_is_written_is_what_answers() {
    let registry = tempfile::tempdir().expect("a folder");
    let registry = registry.path();
    assert_eq!(next_version(registry), "v1");
    write(registry, "v1", learned(), &config(), &origin()).expect("written");
    assert!(
        write(registry, "v1", learned(), &config(), &origin()).is_err(),
        "a version is never overwritten"
    );
    assert_eq!(next_version(registry), "v2");
    let promoted = promote(registry, "v1", &world(50), "ada", "2026-01-01T00:00:00Z").expect("promoted");
    assert_eq!(promoted.version, "v1");
    let mut stored = Ranker::load(registry, None, &playbooks()).expect("loaded");
    let mut fresh = Ranker::of(learned().model.clone(), &playbooks());
    let mut dice = Dice(5);
    let cases: Vec<Case> = (0..40)
        .map(|at| Case {
            features: features(at % RULES, at % TENANTS, &mut dice).into(),
            playbooks: vec![3, 1],
        })
        .collect();
    assert_eq!(stored.judge(&cases), fresh.judge(&cases));
    let card = std::fs::read_to_string(registry.join("v1/CARD.md")).expect("a card");
    assert!(card.contains("synthetic") && card.contains("| detector | d0 |"));
}

/// Writes the learned model as `v1`, promotes it, lets `harm` at the registry, and tells why it is refused.
fn refused(harm: impl Fn(&Path)) -> String {
    let registry = tempfile::tempdir().expect("a folder");
    write(registry.path(), "v1", learned(), &config(), &origin()).expect("written");
    promote(registry.path(), "v1", &[], "ada", "2026-01-01T00:00:00Z").expect("promoted");
    harm(registry.path());
    match Ranker::load(registry.path(), None, &[]) {
        Ok(_) => "loaded".to_owned(),
        Err(error) => error.to_string(),
    }
}

fn edit(path: &Path, change: impl Fn(&mut Vec<u8>)) {
    let mut bytes = std::fs::read(path).expect("a file");
    change(&mut bytes);
    std::fs::write(path, bytes).expect("written");
}

/// Promotes again what was harmed, by its hash alone, so that the checks behind the hash are met.
fn repromote(registry: &Path) {
    let hash = crate::rank::model::hash(&registry.join("v1")).expect("a hash");
    let text =
        format!("version = \"v1\"\nblake3 = \"{hash}\"\nby = \"mallory\"\nat = \"2026-01-01T00:00:00Z\"\n");
    std::fs::write(registry.join("promoted.toml"), text).expect("written");
}

#[test]
fn a_model_that_cannot_be_believed_is_refused_by_name() {
    let weights = |registry: &Path| registry.join("v1/weights.safetensors");
    assert_eq!(refused(|_| ()), "loaded");
    let missing = refused(|registry| std::fs::remove_file(weights(registry)).expect("removed"));
    assert!(missing.contains("weights.safetensors") && missing.contains("quell train"), "{missing}");
    let tampered =
        refused(|registry| edit(&weights(registry), |bytes| *bytes.last_mut().expect("bytes") ^= 1));
    assert!(tampered.contains("was promoted"), "{tampered}");
    let nan = refused(|registry| {
        edit(&weights(registry), |bytes| {
            let end = bytes.len();
            bytes[end - 4..].copy_from_slice(&f32::NAN.to_le_bytes());
        });
        repromote(registry);
    });
    assert!(nan.contains("not a finite number"), "{nan}");
    let truncated = refused(|registry| {
        edit(&weights(registry), |bytes| bytes.truncate(5000));
        repromote(registry);
    });
    assert!(truncated.contains("weights.safetensors"), "{truncated}");
    let features = refused(|registry| {
        let config = registry.join("v1/config.toml");
        edit(&config, |bytes| {
            *bytes = String::from_utf8_lossy(bytes).replace("log_alerts", "log_cats").into_bytes();
        });
        repromote(registry);
    });
    assert!(features.contains("log_alerts"), "{features}");
    let outside = refused(|registry| {
        edit(&registry.join("promoted.toml"), |bytes| {
            *bytes = String::from_utf8_lossy(bytes).replace("\"v1\"", "\"../v1\"").into_bytes();
        });
    });
    assert!(outside.contains("not a model version"), "{outside}");
}

#[test]
fn a_wrong_shape_is_refused() {
    // The header is JSON: shapes and types that take as many bytes, in the header and of data.
    for (from, to) in [("[3,64]", "[64,3]"), ("[3,64]", "[192 ]"), ("F32", "I32"), ("triage", "triag3")] {
        let told = refused(|registry| {
            edit(&registry.join("v1/weights.safetensors"), |bytes| {
                let wanted = from.as_bytes();
                let at =
                    bytes.windows(wanted.len()).position(|window| window == wanted).expect("in the header");
                bytes[at..at + wanted.len()].copy_from_slice(to.as_bytes());
            });
            repromote(registry);
        });
        assert!(told.contains("weights.safetensors") && told.contains("this build"), "{to}: {told}");
    }
}

#[test]
fn a_worse_version_is_not_promoted() {
    let registry = tempfile::tempdir().expect("a folder");
    let registry = registry.path();
    write(registry, "v1", learned(), &config(), &origin()).expect("written");
    let golden = world(300);
    promote(registry, "v1", &golden, "ada", "2026-01-01T00:00:00Z").expect("promoted");
    let mut poisoned = world(600);
    for example in &mut poisoned {
        example.triage = Some(Triage::FalsePositive);
    }
    let bad = train(poisoned, &TrainConfig { turns_max: 3, ..config() }).expect("enough rows");
    write(registry, "v2", &bad, &config(), &origin()).expect("written");
    let told = promote(registry, "v2", &golden, "mallory", "2026-01-02T00:00:00Z");
    assert!(matches!(told, Err(PromoteError::Worse { .. })), "{told:?}");
    assert_eq!(Model::load(registry, None).expect("loaded").version, "v1");
    assert!(matches!(Model::load(registry, Some("v9")), Err(ModelError::File { .. })));
}

#[test]
fn no_incident_is_in_two_parts() {
    let mut examples = world(200);
    for (at, example) in examples.iter_mut().enumerate() {
        example.group = IncidentId::of(&[&(at / 3).to_le_bytes()]);
    }
    for split in [Split::Time, Split::Group] {
        let parts = part(examples.clone(), split);
        let groups = |part: &[Example]| {
            part.iter().map(|example| example.group.0).collect::<std::collections::BTreeSet<_>>()
        };
        let (train, valid, test) = (groups(&parts.train), groups(&parts.valid), groups(&parts.test));
        assert!(train.is_disjoint(&valid) && train.is_disjoint(&test) && valid.is_disjoint(&test));
        assert_eq!(parts.train.len() + parts.valid.len() + parts.test.len(), 200);
        assert!(!valid.is_empty() && !test.is_empty());
    }
    let parts = part(examples, Split::Time);
    assert!(parts.train.last().map(|example| example.time) < parts.test.first().map(|example| example.time));
}

#[test]
fn the_archive_is_joined_as_it_was_known_at_the_time() {
    let (id, decision, action) = (IncidentId::of(&[b"i"]), DecisionId::of(&[b"d"]), ActionId::of(&[b"a"]));
    let version = |version, tick, tactics| IncidentRow {
        incident_id: id,
        version,
        tick,
        epoch: 1,
        features: features(version, 0, &mut Dice(u64::from(version))),
        tactics: Tactics(tactics),
        slices: Slices::default(),
    };
    let outcome = |tick, action_id, success, verdict, label_source, diff| OutcomeRow {
        incident_id: id,
        action_id,
        tick,
        success,
        verdict,
        label_source,
        diff,
    };
    let (human, machine) = (LabelSource::Human, LabelSource::Automation);
    let examples = join(
        [version(1, 10, 1), version(2, 20, 1), version(3, 30, 3), version(4, 90, 7)],
        [
            outcome(50, None, None, Some(Triage::FalsePositive), human, 1),
            outcome(50, None, None, Some(Triage::FalsePositive), human, -1),
            outcome(60, None, None, Some(Triage::TruePositive), human, 1),
            outcome(70, None, None, Some(Triage::BenignPositive), machine, 1),
            outcome(40, Some(action), Some(true), None, machine, 1),
        ],
        [(action, decision)],
        [DecisionRow { decision_id: decision, incident_id: id, tick: 20, epoch: 1, playbook_id: "p".into() }],
        &[("p".to_owned(), playbooks()[0].clone())].into(),
    );
    let told: Vec<_> = examples
        .iter()
        .map(|example| (example.time, example.triage, example.success.len(), example.next.map(|next| next.0)))
        .collect();
    let attack = Some(Triage::TruePositive);
    assert_eq!(
        told,
        [(10_000, attack, 0, Some(6)), (20_000, attack, 1, Some(6)), (30_000, attack, 0, Some(4))]
    );
    assert!(
        examples
            .iter()
            .all(|example| example.labelled == 60_000 && (example.weight - 1.0 / 3.0).abs() < 1e-6)
    );
}
