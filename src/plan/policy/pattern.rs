//! Patterns of entities in a policy: `host:dc-*`, `user:svc-?`, `ip:10.0.0.0/24`.

use std::net::IpAddr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::plan::address;
use crate::record::EntityKind;

/// What entities it is about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(with = "String")]
pub struct Pattern {
    kind: EntityKind,
    shape: Shape,
    text: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Shape {
    /// `*` is any run of characters, `?` any one; in lower case.
    Glob(Vec<char>),
    /// An address with its prefix length.
    Net(IpAddr, u8),
}

impl TryFrom<String> for Pattern {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let (kind, value) = text
            .split_once(':')
            .ok_or_else(|| format!("{text:?} is not `kind:pattern`, as in `host:dc-*`"))?;
        let kind = EntityKind::parse(kind).ok_or_else(|| format!("{kind:?} is no kind of entity"))?;
        if value.is_empty() {
            return Err(format!("{text:?} is empty behind the colon"));
        }
        let shape = match kind {
            EntityKind::Ip if !value.contains(['*', '?']) => net(value)?,
            EntityKind::Ip
            | EntityKind::Host
            | EntityKind::User
            | EntityKind::Hash
            | EntityKind::Mailbox
            | EntityKind::Domain
            | EntityKind::Url
            | EntityKind::Resource
            | EntityKind::Process
            | EntityKind::File => Shape::Glob(value.to_lowercase().chars().collect()),
        };
        Ok(Pattern { kind, shape, text })
    }
}

impl From<Pattern> for String {
    fn from(pattern: Pattern) -> String {
        pattern.text
    }
}

fn net(value: &str) -> Result<Shape, String> {
    let (ip, prefix) = value.split_once('/').map_or((value, None), |(ip, prefix)| (ip, Some(prefix)));
    let ip: IpAddr = ip.parse().map_err(|_| format!("{ip:?} is not an address"))?;
    let bits_max = if ip.is_ipv4() { 32 } else { 128 };
    let prefix = match prefix {
        None => bits_max,
        Some(text) => text
            .parse()
            .ok()
            .filter(|bits| *bits <= bits_max)
            .ok_or_else(|| format!("{text:?} is not a prefix length up to {bits_max}"))?,
    };
    Ok(Shape::Net(ip, prefix))
}

impl Pattern {
    /// The kind of entity that it is about.
    #[must_use]
    pub fn kind(&self) -> EntityKind {
        self.kind
    }

    /// Whether it covers the entity. A web address or mailbox is also judged by the host that it is at, since that
    /// is what a block of it would hit.
    #[must_use]
    pub fn covers(&self, kind: EntityKind, value: &str) -> bool {
        if self.kind == kind && self.fits(value) {
            return true;
        }
        match (kind, self.kind) {
            (EntityKind::Url, EntityKind::Ip | EntityKind::Host | EntityKind::Domain) => {
                host_of(value).is_some_and(|host| self.fits(host))
            }
            (EntityKind::Host, EntityKind::Domain | EntityKind::Ip)
            | (EntityKind::Domain, EntityKind::Host | EntityKind::Ip) => self.fits(value),
            (_, _) => false,
        }
    }

    fn fits(&self, value: &str) -> bool {
        match &self.shape {
            Shape::Glob(glob) => matches(glob, &value.to_lowercase().chars().collect::<Vec<_>>()),
            Shape::Net(net, prefix) => address::parse(value)
                .is_some_and(|ip| within(ip, *net, *prefix) || within(address::unmapped(ip), *net, *prefix)),
        }
    }
}

/// The host of a web address, credentials and port left out.
#[must_use]
pub(crate) fn host_of(url: &str) -> Option<&str> {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let authority = rest.split(['/', '?', '#', '\\']).next()?;
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    if let Some(end) = host.strip_prefix('[').and_then(|inner| inner.find(']')) {
        return Some(&host[1..=end]);
    }
    host.split(':').next().filter(|host| !host.is_empty())
}

fn within(ip: IpAddr, net: IpAddr, prefix: u8) -> bool {
    let cut = |bits: u128, width: u32| bits.checked_shr(width - u32::from(prefix)).unwrap_or(0);
    match (ip, net) {
        (IpAddr::V4(ip), IpAddr::V4(net)) => {
            cut(u128::from(ip.to_bits()), 32) == cut(u128::from(net.to_bits()), 32)
        }
        (IpAddr::V6(ip), IpAddr::V6(net)) => cut(ip.to_bits(), 128) == cut(net.to_bits(), 128),
        (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => false,
    }
}

/// Greedy matching with one point to go back to: linear in practice, never exponential in hostile input.
fn matches(glob: &[char], value: &[char]) -> bool {
    let (mut g, mut v, mut back) = (0, 0, None);
    while v < value.len() {
        match glob.get(g) {
            Some('*') => {
                back = Some((g, v));
                g += 1;
            }
            Some(c) if *c == '?' || *c == value[v] => {
                g += 1;
                v += 1;
            }
            Some(_) | None => match back {
                Some((star, at)) => {
                    back = Some((star, at + 1));
                    g = star + 1;
                    v = at + 1;
                }
                None => return false,
            },
        }
    }
    glob[g..].iter().all(|c| *c == '*')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn covers(pattern: &str, entity: &str) -> bool {
        let (kind, value) = entity.split_once(':').unwrap();
        Pattern::try_from(pattern.to_owned()).unwrap().covers(EntityKind::parse(kind).unwrap(), value)
    }

    #[test]
    fn patterns_cover_what_they_say() {
        for (pattern, entity) in [
            ("host:dc-*", "host:dc-01"),
            ("host:DC-*", "host:dc-01"),
            ("user:svc-?", "user:svc-a"),
            ("ip:10.0.0.0/24", "ip:10.0.0.255"),
            ("ip:10.0.0.0/24", "ip:::ffff:10.0.0.7"),
            ("ip:0.0.0.0/0", "ip:8.8.8.8"),
            ("ip:2001:db8::/32", "ip:2001:db8::1"),
            ("ip:10.0.0.1", "url:http://u@10.0.0.1:80/x"),
            ("ip:10.0.0.1", "url:http://0x0a000001/"),
            ("domain:*.corp.example", "url:https://mail.corp.example/a?b"),
            ("domain:corp.example", "host:corp.example"),
            ("resource:*backup*", "resource:arn:aws:s3:::Backup-1"),
        ] {
            assert!(covers(pattern, entity), "{pattern} {entity}");
        }
        for (pattern, entity) in [
            ("host:dc-*", "user:dc-01"),
            ("ip:10.0.0.0/24", "ip:10.0.1.0"),
            ("user:svc-?", "user:svc-ab"),
            ("domain:corp.example", "domain:evilcorp.example"),
            ("domain:corp.example", "url:http://corp.example@evil.example/"),
        ] {
            assert!(!covers(pattern, entity), "{pattern} {entity}");
        }
        for bad in ["dc-*", "hosts:x", "ip:10.0.0.0/33", "ip:x", "host:"] {
            assert!(Pattern::try_from(bad.to_owned()).is_err(), "{bad}");
        }
    }
}
