//! Traits of a playbook: what the model knows it by. A new playbook is scored by what it does, not by its name, so it needs
//! no retraining.

use crate::record::{EntityKind, Verb};

/// Buckets of hashed labels.
const LABELS: usize = 44;
/// Numbers in [`PlaybookTraits`].
pub const TRAITS: usize = Verb::ALL.len() + EntityKind::ALL.len() + 1 + LABELS;

/// A playbook as numbers in [0, 1]: its verbs, the kinds of its targets, its impact, its hashed labels.
#[derive(Clone, Debug, PartialEq)]
pub struct PlaybookTraits {
    /// Verbs, then kinds (1 where present), then impact, then label buckets.
    pub values: [f32; TRAITS],
}

impl PlaybookTraits {
    /// The traits of a playbook with these verbs, target kinds, labels (its use case among them) and CACAO `impact`
    /// (0 to 100; more counts as 100).
    #[must_use]
    pub fn of(verbs: &[Verb], targets: &[EntityKind], labels: &[String], impact: u8) -> PlaybookTraits {
        let mut values = [0.0; TRAITS];
        let (of_verbs, rest) = values.split_at_mut(Verb::ALL.len());
        let (of_targets, rest) = rest.split_at_mut(EntityKind::ALL.len());
        for (value, verb) in of_verbs.iter_mut().zip(Verb::ALL) {
            *value = f32::from(u8::from(verbs.contains(&verb)));
        }
        for (value, kind) in of_targets.iter_mut().zip(EntityKind::ALL) {
            *value = f32::from(u8::from(targets.contains(&kind)));
        }
        rest[0] = f32::from(impact.min(100)) / 100.0;
        for label in labels {
            // By BLAKE3, so that a model learned on one machine knows the label on another.
            let hash = blake3::hash(label.trim().to_lowercase().as_bytes());
            rest[1 + usize::from(hash.as_bytes()[0]) % LABELS] = 1.0;
        }
        PlaybookTraits { values }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_and_case_do_not_matter() {
        let of = |verbs: &[Verb], labels: &[&str]| {
            let labels: Vec<String> = labels.iter().map(ToString::to_string).collect();
            PlaybookTraits::of(verbs, &[EntityKind::Host], &labels, 200)
        };
        let one = of(&[Verb::Deny, Verb::Notify], &["phishing", "mail"]);
        assert_eq!(one, of(&[Verb::Notify, Verb::Deny, Verb::Deny], &["Mail", "phishing "]));
        assert_ne!(one, of(&[Verb::Contain], &["phishing", "mail"]));
        assert!(one.values.iter().all(|value| (0.0..=1.0).contains(value)));
    }
}
