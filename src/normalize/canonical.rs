//! Canonical: one spelling for each entity, so that equal things meet. Values are chosen by attackers: each is
//! bounded, and none is trusted to be what its field says.

use std::borrow::Cow;
use std::net::{IpAddr, SocketAddr};

use crate::plan::mapping::Transform;
use crate::record::EntityKind;

/// The longest value, in bytes.
pub(super) const VALUE_MAX: usize = 1024;

/// `text` without the white space around it, cut at a character's end to [`VALUE_MAX`] bytes.
pub(super) fn capped(text: &str) -> &str {
    let text = text.trim();
    &text[..text.floor_char_boundary(VALUE_MAX)]
}

/// The canonical value of an entity of `kind`; none if it says nothing.
pub(crate) fn canonical(
    kind: EntityKind,
    transforms: &[Transform],
    skip: &[String],
    text: &str,
) -> Option<String> {
    let mut value = Cow::Borrowed(capped(text));
    for transform in transforms {
        value = match transform {
            Transform::Lower => Cow::Owned(value.to_lowercase()),
            Transform::StripPort => Cow::Owned(strip_port(&value).to_owned()),
            Transform::Unquote => Cow::Owned(unquote(&value).to_owned()),
        };
    }
    if value.is_empty() || skip.iter().any(|word| word.to_lowercase() == value.to_lowercase()) {
        return None;
    }
    let value = match kind {
        EntityKind::Ip => return address(&value),
        // A web server named by its address has no domain.
        EntityKind::Domain if address(&value).is_some() => return None,
        EntityKind::Host | EntityKind::Domain => value.trim_end_matches('.').to_lowercase(),
        EntityKind::User | EntityKind::Hash | EntityKind::Mailbox => value.to_lowercase(),
        EntityKind::Url | EntityKind::Resource | EntityKind::Process | EntityKind::File => value.into_owned(),
    };
    // Lower case may be longer than what it was made of.
    Some(capped(&value).to_owned()).filter(|value| !value.is_empty())
}

/// An address in the spelling of RFC 5952, which is `std`'s; IPv4 in IPv6 becomes IPv4, a zone (`%eth0`) is left out.
fn address(text: &str) -> Option<String> {
    let text = text.split('%').next().unwrap_or(text);
    let text = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
    text.parse::<IpAddr>().ok().map(|address| address.to_canonical().to_string())
}

fn strip_port(text: &str) -> &str {
    if let Some(rest) = text.strip_prefix('[') {
        return rest.split(']').next().unwrap_or(rest);
    }
    // Two colons and no bracket: an IPv6 address by itself.
    match text.split_once(':') {
        Some((host, port))
            if text.parse::<SocketAddr>().is_ok() || port.bytes().all(|b| b.is_ascii_digit()) =>
        {
            host
        }
        _ => text,
    }
}

fn unquote(text: &str) -> &str {
    let pairs = [('<', '>'), ('"', '"'), ('\'', '\'')];
    let inner = |(open, close)| text.strip_prefix(open).and_then(|rest: &str| rest.strip_suffix(close));
    pairs.into_iter().find_map(inner).unwrap_or(text).trim()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> Option<String> {
        canonical(EntityKind::Ip, &[Transform::StripPort], &["0.0.0.0".into()], text)
    }

    #[test]
    fn addresses_have_one_spelling() {
        assert_eq!(ip("192.168.10.21:80").as_deref(), Some("192.168.10.21"));
        assert_eq!(ip("::ffff:10.0.0.1").as_deref(), Some("10.0.0.1"));
        assert_eq!(ip("2001:DB8:0:0::1").as_deref(), Some("2001:db8::1"));
        assert_eq!(ip("[2001:db8::1]:443").as_deref(), Some("2001:db8::1"));
        assert_eq!(ip("fe80::1%eth0").as_deref(), Some("fe80::1"));
        assert_eq!([ip("0.0.0.0"), ip("mail"), ip(""), ip("10.0.0.1.2")], [None, None, None, None]);
    }

    #[test]
    fn names_are_lower_case_and_bounded() {
        let of = |kind, text: &str| canonical(kind, &[Transform::Unquote], &["-".into()], text);
        assert_eq!(of(EntityKind::Host, "Mail.Corp.Example.").as_deref(), Some("mail.corp.example"));
        assert_eq!(of(EntityKind::User, "<Violet>").as_deref(), Some("violet"));
        assert_eq!(of(EntityKind::User, " - "), None);
        assert_eq!(of(EntityKind::File, "C:\\Windows").as_deref(), Some("C:\\Windows"));
        assert_eq!(of(EntityKind::User, &"\u{20ac}".repeat(1000)).map(|v| v.len()), Some(1023));
    }
}
