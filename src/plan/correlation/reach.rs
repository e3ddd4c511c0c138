//! Reach: whether the fields that correlations name can ever be had from the alerts of a plan.

use super::Correlations;
use super::field::FieldName;
use super::filter::Filter;
use super::rule::Lookup;
use crate::plan::fault::Fault;
use crate::plan::mapping::{Mapping, Unmapped};

/// A field that no alert can have is a fault: the rule would never fire. Entities may always be had; other fields only
/// where a mapping keeps what it does not take.
#[must_use]
pub fn check(correlations: &Correlations, mappings: &[Mapping]) -> Vec<Fault> {
    if mappings.iter().any(|mapping| mapping.unmapped == Unmapped::Keep) {
        return Vec::new();
    }
    let mut faults = Vec::new();
    for rule in &correlations.rules {
        let lookups = rule.inputs.iter().flat_map(|input| input.group.iter().chain(&input.value));
        let looked_up = lookups.filter_map(|lookup| match lookup {
            Lookup::Alert(name) => Some(name),
            Lookup::Finding(_) => None,
        });
        for name in looked_up.chain(rule.only.iter().flat_map(Filter::fields)) {
            if let FieldName { known, path: Some(path) } = name
                && known.is_empty()
            {
                let fault = Fault {
                    file: rule.file.clone(),
                    line: Some(rule.line),
                    what: format!("{:?} names the field {:?}, which no alert has", rule.name, path.text()),
                    cure: "use rule, product, or an entity kind with or without src_ or dst_ (src_ip, host, user), or write \
                           `unmapped: keep` in the mapping whose records have it"
                        .to_owned(),
                };
                faults.push(fault);
            }
        }
    }
    faults.dedup();
    faults
}
