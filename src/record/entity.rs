//! Entities: what alerts are about and may share. A kind says what a value is, a role what part it played.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::names::{Names, Sym};

/// What an entity is. The names are those of OCSF's observables where OCSF has the thing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[repr(u8)]
pub enum EntityKind {
    /// A computer, by name.
    Host,
    /// An account.
    User,
    /// An IP address.
    Ip,
    /// A file's hash.
    Hash,
    /// A mailbox or mail address.
    Mailbox,
    /// A DNS name that is not one of our hosts.
    Domain,
    /// A web address.
    Url,
    /// A cloud resource.
    Resource,
    /// A process.
    Process,
    /// A file, by path.
    File,
}

impl EntityKind {
    /// Every kind, in the order of the archive.
    pub const ALL: [EntityKind; 10] = [
        EntityKind::Host,
        EntityKind::User,
        EntityKind::Ip,
        EntityKind::Hash,
        EntityKind::Mailbox,
        EntityKind::Domain,
        EntityKind::Url,
        EntityKind::Resource,
        EntityKind::Process,
        EntityKind::File,
    ];

    /// The kind's name, as files and the archive spell it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            EntityKind::Host => "host",
            EntityKind::User => "user",
            EntityKind::Ip => "ip",
            EntityKind::Hash => "hash",
            EntityKind::Mailbox => "mailbox",
            EntityKind::Domain => "domain",
            EntityKind::Url => "url",
            EntityKind::Resource => "resource",
            EntityKind::Process => "process",
            EntityKind::File => "file",
        }
    }

    /// The kind of that name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }
}

/// What part an entity played in an alert.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
#[repr(u8)]
pub enum Role {
    /// Neither side in particular.
    #[default]
    Related,
    /// Where it came from.
    Source,
    /// Where it went.
    Destination,
}

impl Role {
    /// The prefix by which correlations and the archive name the role: `src_ip`, `dst_ip`, `ip`.
    #[must_use]
    pub fn prefix(self) -> &'static str {
        match self {
            Role::Related => "",
            Role::Source => "src_",
            Role::Destination => "dst_",
        }
    }
}

/// A thing that alerts share: the same kind and value are the same entity, whatever its role.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Entity {
    /// What it is.
    pub kind: EntityKind,
    /// Its value, canonical: addresses as RFC 5952, hosts, users and hashes in lower case.
    pub value: Sym,
}

impl Entity {
    /// `host:mail`: the form of the archive, of `explain` and of policy files.
    #[must_use]
    pub fn text(self, names: &Names) -> String {
        names.with(self.value, |value| format!("{}:{value}", self.kind.name()))
    }

    /// How two entities' texts compare.
    #[must_use]
    pub fn compare(self, other: Entity, names: &Names) -> std::cmp::Ordering {
        // No kind's name is the beginning of another's, so the colon behind it decides nothing.
        self.kind.name().cmp(other.kind.name()).then_with(|| names.compare(self.value, other.value))
    }

    /// Reads what `text` writes.
    #[must_use]
    pub fn parse(text: &str, names: &Names) -> Option<Entity> {
        let (kind, value) = text.split_once(':')?;
        Some(Entity { kind: EntityKind::parse(kind)?, value: names.intern(value) })
    }
}

/// An entity in its role within one alert.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Observable {
    /// The thing.
    pub entity: Entity,
    /// Its part.
    pub role: Role,
}

impl Observable {
    /// `src_ip:10.0.0.1`: an alert's entity with its role, as the archive holds it.
    #[must_use]
    pub fn text(self, names: &Names) -> String {
        format!("{}{}", self.role.prefix(), self.entity.text(names))
    }

    /// Reads what `text` writes.
    #[must_use]
    pub fn parse(text: &str, names: &Names) -> Option<Observable> {
        for role in [Role::Source, Role::Destination] {
            if let Some(entity) = text.strip_prefix(role.prefix()).and_then(|rest| Entity::parse(rest, names))
            {
                return Some(Observable { entity, role });
            }
        }
        Some(Observable { entity: Entity::parse(text, names)?, role: Role::Related })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn observables_come_back() {
        let names = Names::default();
        for text in ["host:mail", "src_ip:10.0.0.1", "dst_user:a:b", "file:src_ip:x"] {
            assert_eq!(Observable::parse(text, &names).map(|o| o.text(&names)).as_deref(), Some(text));
        }
        assert_eq!(Observable::parse("nonsense", &names), None);
        let all: Vec<Entity> = EntityKind::ALL
            .into_iter()
            .flat_map(|kind| ["a", "b"].map(|v| Entity { kind, value: names.intern(v) }))
            .collect();
        for one in &all {
            for other in &all {
                assert_eq!(one.compare(*other, &names), one.text(&names).cmp(&other.text(&names)));
            }
        }
    }
}
