//! Spare: what a journey that ends at its findings need not take from records.
//!
//! Where alerts are not kept and not linked, only what correlation rules ask of them is worth working out.

use super::correlation::{Correlations, Field, FieldName, Filter, Lookup};
use super::mapping::{EntityField, Mapping, Unmapped};

/// The mappings, with the entities marked that no rule asks for, and without the rest where no rule asks for it.
#[must_use]
pub fn spared(mappings: &[Mapping], correlations: &Correlations) -> Vec<Mapping> {
    let asked: Vec<&FieldName> = asked(correlations).collect();
    let left_over = asked.iter().any(|name| name.path.is_some());
    let mut mappings = mappings.to_vec();
    for mapping in &mut mappings {
        for entity in &mut mapping.entities {
            entity.spare = !asked.iter().flat_map(|name| &name.known).any(|field| is(*field, entity));
        }
        if !left_over || mapping.unmapped == Unmapped::Drop {
            mapping.unmapped = Unmapped::Drop;
            mapping.attacks.clear();
        }
    }
    mappings
}

fn asked(correlations: &Correlations) -> impl Iterator<Item = &FieldName> {
    let inputs = correlations.rules.iter().flat_map(|rule| &rule.inputs);
    let lookups = inputs.flat_map(|input| input.group.iter().chain(&input.value));
    let names = lookups.filter_map(|lookup| match lookup {
        Lookup::Alert(name) => Some(name),
        Lookup::Finding(_) => None,
    });
    let names = names.chain(correlations.rules.iter().flat_map(|rule| &rule.only).flat_map(Filter::fields));
    names.chain(correlations.filters.iter().flat_map(Filter::fields))
}

fn is(field: Field, entity: &EntityField) -> bool {
    match field {
        Field::Entity(kind, role) => kind == entity.kind && role.is_none_or(|role| role == entity.role),
        Field::Rule | Field::Title | Field::Product | Field::Severity => false,
    }
}
