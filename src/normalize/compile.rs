//! Compile: mapping files with every path replaced by its slot.

use super::asked::Asked;
use super::detect::DetectionPlan;
use super::paths::Paths;
use crate::plan::mapping::{
    Condition, EntityField, FieldPath, Mapping, Product, ProductField, SeverityField, Test, TimeFormat,
    Unmapped,
};
use crate::record::{EntityKind, Names, Role, Sym};

use super::value::{Digits, Slots, Value};

/// All mappings of a source.
pub(super) struct Compiled {
    pub(super) paths: Paths,
    pub(super) mappings: Vec<Plan>,
    /// Which of them may take a record.
    pub(super) asked: Asked,
    /// What is done to entities' values, each once: its number is the memo's tag.
    pub(super) cleanings: Vec<Cleaning>,
}

/// One mapping.
pub(super) struct Plan {
    pub(super) product: ProductPlan,
    pub(super) detect: Vec<Check>,
    pub(super) ignore: Vec<(Vec<Check>, Box<[u16]>)>,
    pub(super) id: Vec<Box<[u16]>>,
    pub(super) tenant: Box<[u16]>,
    pub(super) time: Box<[u16]>,
    pub(super) formats: Vec<TimeFormat>,
    pub(super) rule: Box<[u16]>,
    pub(super) detection: Option<DetectionPlan>,
    pub(super) title: Box<[u16]>,
    pub(super) severity: SeverityField,
    pub(super) severity_slots: Box<[u16]>,
    pub(super) attacks: Box<[u16]>,
    pub(super) entities: Vec<EntityPlan>,
    /// Which of them a record may have.
    pub(super) asked: Asked,
    /// The paths that are taken, where the rest is kept.
    pub(super) keep: Option<Vec<FieldPath>>,
}

impl Plan {
    /// The slots of which one must hold something in a record that it takes; none where that need not be.
    fn needs(&self) -> Option<&[u16]> {
        self.detect.iter().find_map(Check::needs)
    }
}

pub(super) enum ProductPlan {
    Constant(String, Sym),
    Field(Box<[u16]>, ProductField),
}

pub(super) struct EntityPlan {
    pub(super) role: Role,
    pub(super) slots: Box<[u16]>,
    pub(super) cleaning: u32,
    /// Nobody asks for it.
    pub(super) spare: bool,
}

impl EntityPlan {
    /// Of alternatives the first field that holds something, with all that it holds.
    pub(super) fn values<'s, 'a>(&self, slots: &'s Slots<'a>) -> impl Iterator<Item = &'s Value<'a>> {
        let slot = self.slots.iter().find(|slot| slots.first(&[**slot]).is_present());
        slot.into_iter().flat_map(|slot| slots.all(*slot))
    }
}

#[derive(Clone, PartialEq)]
pub(super) struct Cleaning {
    pub(super) kind: EntityKind,
    pub(super) after: Vec<String>,
    pub(super) transform: Vec<crate::plan::mapping::Transform>,
    pub(super) skip: Vec<String>,
}

/// A condition.
pub(super) struct Check {
    slots: Box<[u16]>,
    test: Test,
}

impl Check {
    /// The slots of which one must hold something for it to hold; none where that need not be.
    fn needs(&self) -> Option<&[u16]> {
        (self.test != Test::Exists(false)).then_some(&self.slots)
    }

    pub(super) fn holds(&self, slots: &Slots<'_>) -> bool {
        let value = slots.first(&self.slots);
        // Most mappings ask for what a record has not: that is told at once.
        if !value.is_present() {
            return self.test == Test::Exists(false);
        }
        let mut digits: Digits = [0; 40];
        match (&self.test, value.text(&mut digits)) {
            (Test::Exists(wanted), found) => *wanted == found.is_some(),
            (Test::In(texts), Some(found)) => texts.iter().any(|text| text == found),
            (Test::NotIn(texts), Some(found)) => texts.iter().all(|text| text != found),
            (Test::StartsWith(texts), Some(found)) => {
                texts.iter().any(|text| found.starts_with(text.as_str()))
            }
            (Test::In(_) | Test::NotIn(_) | Test::StartsWith(_), None) => false,
        }
    }
}

impl Compiled {
    pub(super) fn new(mappings: &[Mapping], names: &Names) -> Self {
        let (paths, asked) = (Paths::new(), Asked::default());
        let mut compiled = Compiled { paths, mappings: Vec::new(), asked, cleanings: Vec::new() };
        // Alerts first: they pay for no mapping of events.
        let (events, alerts): (Vec<&Mapping>, Vec<&Mapping>) =
            mappings.iter().partition(|mapping| mapping.detection.is_some());
        for mapping in alerts.into_iter().chain(events) {
            let plan = compiled.plan(mapping, names);
            compiled.mappings.push(plan);
        }
        // Now all slots are known.
        let slots = compiled.paths.len();
        for plan in &mut compiled.mappings {
            let needs: Vec<_> = plan.entities.iter().map(|entity| Some(&entity.slots[..])).collect();
            plan.asked = Asked::new(slots, &needs);
        }
        let needs: Vec<_> = compiled.mappings.iter().map(Plan::needs).collect();
        compiled.asked = Asked::new(slots, &needs);
        compiled
    }

    fn plan(&mut self, mapping: &Mapping, names: &Names) -> Plan {
        let paths = &mut self.paths;
        let product = match &mapping.product {
            Product::Constant(name) => ProductPlan::Constant(name.clone(), names.intern(name)),
            Product::Field(field) => ProductPlan::Field(paths.slots(&field.field), field.clone()),
        };
        let mut optional =
            |field: &Option<_>| field.as_ref().map(|field| paths.slots(field)).unwrap_or_default();
        let (tenant, title) = (optional(&mapping.tenant), optional(&mapping.title));
        let (rule, severity_slots) = (optional(&mapping.rule), optional(&mapping.severity.field));
        let id = mapping.id.iter().flat_map(|id| &id.0).map(|part| paths.slots(part)).collect();
        let detection = mapping.detection.as_ref().map(|detection| DetectionPlan::new(detection, paths));
        let mut checks = |conditions: &[Condition]| -> Vec<Check> {
            let check = |c: &Condition| Check { slots: paths.slots(&c.field), test: c.test.clone() };
            conditions.iter().map(check).collect()
        };
        let detect = checks(&mapping.detect);
        let ignored: Vec<_> = mapping.ignore.iter().map(|ignore| checks(&ignore.when)).collect();
        let ignore =
            ignored.into_iter().zip(&mapping.ignore).map(|(when, i)| (when, paths.slots(&i.kind))).collect();
        Plan {
            product,
            detect,
            ignore,
            id,
            tenant,
            time: paths.slots(&mapping.time.field),
            formats: mapping.time.formats.clone(),
            rule,
            detection,
            title,
            severity: mapping.severity.clone(),
            severity_slots,
            attacks: mapping.attacks.iter().map(|path| paths.slot(path)).collect(),
            keep: (mapping.unmapped == Unmapped::Keep).then(|| taken(mapping)),
            entities: mapping.entities.iter().map(|entity| self.entity(entity)).collect(),
            asked: Asked::default(),
        }
    }

    fn entity(&mut self, entity: &EntityField) -> EntityPlan {
        let EntityField { kind, after, transform, skip, .. } = entity.clone();
        let cleaning = Cleaning { kind, after, transform, skip };
        let known = self.cleanings.iter().position(|other| *other == cleaning);
        let at = known.unwrap_or_else(|| {
            self.cleanings.push(cleaning);
            self.cleanings.len() - 1
        });
        let cleaning = u32::try_from(at).expect("fewer than 2^32 entities in all mapping files");
        let slots = self.paths.slots(&entity.field);
        EntityPlan { role: entity.role, slots, cleaning, spare: entity.spare }
    }
}

/// Every path that goes into the alert.
fn taken(mapping: &Mapping) -> Vec<FieldPath> {
    let product = match &mapping.product {
        Product::Constant(_) => None,
        Product::Field(field) => Some(&field.field),
    };
    let single = [product, mapping.rule.as_ref(), mapping.tenant.as_ref(), mapping.title.as_ref()];
    let single = single
        .into_iter()
        .flatten()
        .chain([&mapping.time.field])
        .chain(mapping.id.iter().flat_map(|id| &id.0));
    let more = mapping.severity.field.iter().chain(mapping.entities.iter().map(|entity| &entity.field));
    single.chain(more).flat_map(|paths| &paths.0).chain(&mapping.attacks).cloned().collect()
}
