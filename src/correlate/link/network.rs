//! Networks: neighbouring public addresses are rented and used together, so the network that an address lies in is a thing
//! that alerts share, too: rare or common as any entity.

use crate::record::{Alert, Entity, EntityKind, Names, Net};

/// The network of a public address, as an entity: `ip:198.51.100.16/28`.
pub(super) fn of(entity: Entity, names: &Names) -> Option<Entity> {
    if entity.kind != EntityKind::Ip {
        return None;
    }
    let network = names.with(entity.value, Net::around)?;
    Some(Entity { kind: EntityKind::Ip, value: names.intern(&network.to_string()) })
}

/// Whether the alert names the entity, or an address in that network.
pub(super) fn is_named(entity: Entity, alert: &Alert, names: &Names) -> bool {
    alert.entities.iter().any(|it| it.entity == entity || of(it.entity, names) == Some(entity))
}

/// Whether an entity is a network itself.
pub(super) fn is_one(entity: Entity, names: &Names) -> bool {
    entity.kind == EntityKind::Ip && names.with(entity.value, |text| text.contains('/'))
}
