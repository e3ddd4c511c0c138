//! Field names of correlations: what `group-by`, `field` and `aliases` may name, and where an alert has it.
//!
//! - Quell's own: `rule`, `title`, `product`, `severity`, or an entity kind with or without the side that it stood on:
//!   `host`, `src_ip`, `dst_user`. Without a side any does; the first in the mapping's order counts.
//! - Sigma's usual names, in any case: `SourceIp`, `TargetUserName`, `ComputerName`, `source.ip`, `user.name`... They mean
//!   an entity where the alert has it, and otherwise the field of that name.
//! - Any other is the dotted path of a field that the mapping left over, for mappings with `unmapped: keep`.

use smallvec::SmallVec;

use crate::plan::field::FieldPath;
use crate::record::{EntityKind, Role};

/// What every alert may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Field {
    /// The alert's rule.
    Rule,
    /// Its name.
    Title,
    /// The alert's product.
    Product,
    /// How bad the product says it is, as a word.
    Severity,
    /// An entity's value; any role where none is given.
    Entity(EntityKind, Option<Role>),
}

impl Field {
    /// The field of that name in a correlation file.
    #[must_use]
    pub fn parse(name: &str) -> Option<Field> {
        let kind = |name: &str| EntityKind::parse(name);
        match name {
            "rule" => Some(Field::Rule),
            "title" => Some(Field::Title),
            "product" => Some(Field::Product),
            "severity" => Some(Field::Severity),
            _ => match (name.strip_prefix("src_"), name.strip_prefix("dst_")) {
                (Some(rest), _) => Some(Field::Entity(kind(rest)?, Some(Role::Source))),
                (_, Some(rest)) => Some(Field::Entity(kind(rest)?, Some(Role::Destination))),
                _ => Some(Field::Entity(kind(name)?, None)),
            },
        }
    }
}

/// A name, and where an alert may have it: the first that holds something counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldName {
    /// What every alert may have.
    pub known: SmallVec<[Field; 2]>,
    /// A field that the mapping left over.
    pub path: Option<FieldPath>,
}

impl FieldName {
    /// Where an alert has a field of that name; what is wrong with the name otherwise.
    pub fn parse(name: &str) -> Result<FieldName, String> {
        if let Some(own) = Field::parse(name) {
            return Ok(FieldName { known: SmallVec::from_iter([own]), path: None });
        }
        let path = FieldPath::try_from(name.to_owned())?;
        Ok(FieldName { known: usual(&name.to_ascii_lowercase()), path: Some(path) })
    }
}

/// What Sigma's taxonomy, the Elastic Common Schema and the common log sources call an alert's entities.
fn usual(name: &str) -> SmallVec<[Field; 2]> {
    use EntityKind::{Domain, File, Hash, Host, Ip, Mailbox, Process, Url, User};
    let any = |kind| SmallVec::from_iter([Field::Entity(kind, None)]);
    let only = |kind, role| SmallVec::from_iter([Field::Entity(kind, Some(role))]);
    // A product that knows one account calls it neither source nor target.
    let side = |kind, role| {
        SmallVec::from_iter([Field::Entity(kind, Some(role)), Field::Entity(kind, Some(Role::Related))])
    };
    match name {
        "rule_id" | "ruleid" | "rule.id" => SmallVec::from_iter([Field::Rule]),
        "rule_name" | "rulename" | "rule.name" => SmallVec::from_iter([Field::Title]),
        "sourceip" | "source_ip" | "srcip" | "source.ip" | "source.address" | "sourceaddress" | "src"
        | "ipaddress" | "clientip" | "client_ip" | "client.ip" | "client.address" | "c-ip"
        | "src_endpoint.ip" => side(Ip, Role::Source),
        "destinationip"
        | "destination_ip"
        | "destip"
        | "dest_ip"
        | "dstip"
        | "destination.ip"
        | "destination.address"
        | "destinationaddress"
        | "dst"
        | "server.ip"
        | "dst_endpoint.ip" => side(Ip, Role::Destination),
        "user.name" | "username" | "user_name" | "account" | "accountname" | "account_name" | "userid"
        | "cs-username" | "actor.user.name" => any(User),
        "targetusername"
        | "targetuser"
        | "target_user"
        | "destination.user.name"
        | "user.target.name"
        | "dstuser" => side(User, Role::Destination),
        "subjectusername" | "subjectuser" | "source.user.name" | "srcuser" | "sourceuser" => {
            side(User, Role::Source)
        }
        "computername" | "computer" | "hostname" | "host_name" | "host.name" | "host.hostname"
        | "agent.name" | "devicename" | "device.hostname" | "dvchost" => any(Host),
        "workstationname" | "workstation" | "sourcehostname" | "source.domain" => only(Host, Role::Source),
        "destinationhostname" | "destination.domain" | "desthost" => only(Host, Role::Destination),
        "hashes" | "sha256" | "sha1" | "md5" | "imphash" | "file.hash.sha256" | "file_hash" => any(Hash),
        "query" | "queryname" | "dns.question.name" | "domain.name" => any(Domain),
        "url.full" | "url.original" | "c-uri" => any(Url),
        "image" | "processname" | "process_name" | "process.name" | "process.executable" => any(Process),
        "targetfilename" | "filename" | "file_name" | "file.name" | "file.path" => any(File),
        "recipient" | "email.to.address" => side(Mailbox, Role::Destination),
        "sender" | "email.from.address" => side(Mailbox, Role::Source),
        _ => Field::parse(name).into_iter().collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_find_their_fields() {
        let known = |name: &str| FieldName::parse(name).unwrap().known.to_vec();
        let entity = |kind, role| Field::Entity(kind, role);
        assert_eq!(known("src_ip"), [entity(EntityKind::Ip, Some(Role::Source))]);
        assert_eq!(known("host"), [entity(EntityKind::Host, None)]);
        assert_eq!(known("User"), known("user.name").as_slice(), "in any case");
        assert_eq!(known("TargetUserName")[0], entity(EntityKind::User, Some(Role::Destination)));
        assert_eq!(known("SOURCEIP")[0], entity(EntityKind::Ip, Some(Role::Source)));
        assert_eq!(known("BytesOut"), []);
        assert_eq!(FieldName::parse("BytesOut").unwrap().path.unwrap().text(), "BytesOut");
        assert_eq!(FieldName::parse("user").unwrap().path, None, "Quell's own names mean nothing else");
        assert!(FieldName::parse("a..b").is_err());
    }
}
