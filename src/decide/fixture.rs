//! What tests of `decide` and `act` build on: the shipped plan, and incidents as text.

use std::path::Path;
use std::sync::Arc;

use super::{Case, Decider, Ruled, Rules, Rulings};
use crate::plan::playbook::{self, Playbook};
use crate::plan::policy::{self, Policy};
use crate::rank::propose::propose;
use crate::record::attack::canonical;
use crate::record::{
    ContextFacts, Entity, Incident, IncidentId, IncidentKind, IncidentState, Judgement, Names, Score,
    Severity, Sym, Tick, Triage, Unusual,
};

/// The shipped playbooks and policy.
pub(crate) struct Plan {
    pub(crate) playbooks: Vec<Playbook>,
    pub(crate) policy: Policy,
    pub(crate) names: Arc<Names>,
}

pub(crate) fn shipped() -> Plan {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("dataflows");
    let playbooks = playbook::load(&root.join("playbooks")).expect("shipped playbooks load");
    let file = root.join("policies/default.yml");
    let text = std::fs::read_to_string(&file).expect("the default policy is there");
    let policy = policy::read(&file, &text, Some(&playbooks)).expect("the default policy loads");
    Plan { playbooks, policy, names: Arc::new(Names::default()) }
}

impl Plan {
    pub(crate) fn rules(&self) -> Rules<'_> {
        Rules { policy: &self.policy, playbooks: &self.playbooks, names: &self.names }
    }

    /// An incident of these tags and entities: `incident("a", 10, "T1021", "host:h1 user:ada")`.
    pub(crate) fn incident(&self, id: &str, tick: Tick, attacks: &str, entities: &str) -> Incident {
        let (tactics, attacks) = canonical(attacks.split(' '));
        let mut entities: Vec<&str> = entities.split(' ').filter(|text| !text.is_empty()).collect();
        entities.sort_unstable();
        let entities: Vec<Entity> =
            entities.iter().map(|text| Entity::parse(text, &self.names).expect("an entity")).collect();
        Incident {
            id: IncidentId::of(&[id.as_bytes()]),
            version: 1,
            tick,
            tenant: Sym::EMPTY,
            kind: IncidentKind::Linked,
            state: IncidentState::Open,
            merged_into: None,
            succeeds: None,
            first_seen: tick * 1000,
            last_seen: tick * 1000,
            alert_count: 3,
            severities: [0; 7],
            severity: Severity::High,
            tactics,
            attacks: attacks.split(',').map(|attack| self.names.intern(attack)).collect(),
            entity_count: u32::try_from(entities.len()).expect("few"),
            entities: entities.into(),
            rules: Arc::from([]),
            products: Arc::from([]),
            correlations: Arc::from([]),
            evidence: 0,
            unusual: Unusual::default(),
        }
    }

    /// Decides with the scores of named playbooks; others get none.
    pub(crate) fn decide(
        &self,
        decider: &mut Decider,
        incident: &Incident,
        scores: &[(&str, f32)],
        confidence: f32,
    ) -> Rulings {
        self.decide_with(
            decider,
            incident,
            &ContextFacts::default(),
            scores,
            (Triage::TruePositive, confidence),
        )
    }

    pub(crate) fn decide_with(
        &self,
        decider: &mut Decider,
        incident: &Incident,
        context: &ContextFacts,
        scores: &[(&str, f32)],
        (triage, confidence): (Triage, f32),
    ) -> Rulings {
        let proposals = propose(incident, context, &self.playbooks, &self.policy, &self.names);
        let score = |name: &str| scores.iter().find(|it| it.0 == name).map_or(0.0, |it| it.1);
        let judgement = Judgement {
            triage,
            confidence: Score::of(confidence),
            next_tactics: [0, 1, 2],
            scores: proposals.iter().map(|it| Score::of(score(&self.playbooks[it.playbook].name))).collect(),
        };
        let (judgement, model) = (&judgement, Sym::EMPTY);
        let case = Case { incident, context, proposals: &proposals, judgement, model };
        decider.decide(case, self.rules())
    }

    /// A ruling to execute the named playbook, by a decider of its own.
    pub(crate) fn executed(&self, incident: &Incident, playbook: &str) -> Ruled {
        let mut decider = Decider::new(Sym::EMPTY);
        let rulings = self.decide(&mut decider, incident, &[(playbook, 0.99)], 0.99);
        let ruled = rulings.ruled.expect("a ruling");
        assert!(ruled.undertaking.is_some(), "{:?}", ruled.decision);
        ruled
    }
}
