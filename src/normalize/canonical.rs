//! Canonical: one spelling for each entity, so that equal things meet. Values are chosen by attackers: each is
//! bounded, and none is trusted to be what its field says.

use std::borrow::Cow;
use std::net::{IpAddr, SocketAddr};

use super::compile::Cleaning;
use crate::plan::mapping::Transform;
use crate::record::EntityKind;

/// The longest value, in bytes.
pub(super) const VALUE_MAX: usize = 1024;

/// `text` without the white space around it, cut at a character's end to [`VALUE_MAX`] bytes.
pub(super) fn capped(text: &str) -> &str {
    let text = trimmed(text);
    if text.len() <= VALUE_MAX { text } else { &text[..text.floor_char_boundary(VALUE_MAX)] }
}

/// As `str::trim`, which is told at once of nearly all texts: a printed letter of ASCII begins and ends them.
#[inline]
pub(super) fn trimmed(text: &str) -> &str {
    match text.as_bytes() {
        [b'!'..=b'~', .., b'!'..=b'~'] => text,
        _ => text.trim(),
    }
}

/// The canonical value of an entity in `text`; none if it says nothing.
pub(super) fn clean(cleaning: &Cleaning, text: &str) -> Option<String> {
    let Cleaning { kind, after, transform, skip } = cleaning;
    if after.is_empty() {
        return canonical(*kind, transform, skip, text);
    }
    // Free text names the source last; what comes before it, a user's name say, is chosen by who is told of.
    let found = after.iter().filter_map(|mark| text.rfind(mark.as_str()).map(|at| at + mark.len())).max()?;
    canonical(*kind, transform, skip, text[found..].split_whitespace().next()?)
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
            Transform::StripDomain => Cow::Owned(strip_domain(&value).to_owned()),
            Transform::StrongestHash => Cow::Owned(strongest_hash(&value).to_owned()),
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
    let kept = capped(&value);
    let value = if kept.len() < value.len() { kept.to_owned() } else { value };
    Some(value).filter(|value| !value.is_empty())
}

/// An address in the spelling of RFC 5952, which is `std`'s; IPv4 in IPv6 becomes IPv4, a zone (`%eth0`) is left out.
fn address(text: &str) -> Option<String> {
    let text = text.split('%').next().unwrap_or(text);
    let text = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
    match text.parse::<IpAddr>().ok()? {
        // It has one spelling, which was read just now.
        IpAddr::V4(_) => Some(text.to_owned()),
        IpAddr::V6(address) => Some(address.to_canonical().to_string()),
    }
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

fn strip_domain(text: &str) -> &str {
    let name = text.rsplit('\\').next().unwrap_or(text);
    name.split('@').next().unwrap_or(name)
}

/// Of `MD5=...,SHA256=...,IMPHASH=...` one hash of the file itself; of a hash alone that hash.
fn strongest_hash(text: &str) -> &str {
    if !text.contains('=') {
        return text;
    }
    let named = |name: &str| {
        let of =
            |part: &&str| part.split_once('=').is_some_and(|(key, _)| key.trim().eq_ignore_ascii_case(name));
        text.split(',').find(of).and_then(|part| part.split_once('=')).map(|(_, hash)| hash.trim())
    };
    ["SHA256", "SHA1", "MD5"].into_iter().find_map(named).unwrap_or_default()
}

fn unquote(text: &str) -> &str {
    let pairs = [('<', '>'), ('"', '"'), ('\'', '\'')];
    let inner = |(open, close)| text.strip_prefix(open).and_then(|rest: &str| rest.strip_suffix(close));
    pairs.into_iter().find_map(inner).unwrap_or(text).trim()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn an_address_is_spelt_as_std_spells_it(text in "[0-9]{1,3}(\\.[0-9]{1,3}){3}|([0-9a-fA-F]{0,4}:){1,7}[0-9a-f.:]{0,9}") {
            let spelt = text.parse::<IpAddr>().ok().map(|address| address.to_canonical().to_string());
            prop_assert_eq!(address(&text), spelt);
        }
    }

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
    fn users_and_hashes_are_found_within_what_windows_writes() {
        let of = |kind, transform, text: &str| canonical(kind, &[transform], &[], text);
        let user = |text| of(EntityKind::User, Transform::StripDomain, text);
        assert_eq!(
            [user("CORP\\Ada"), user("ada@corp.example"), user("Ada")],
            [const { "ada" }; 3].map(|u| Some(u.to_owned()))
        );
        let hash = |text| of(EntityKind::Hash, Transform::StrongestHash, text);
        assert_eq!(hash("MD5=0A,SHA256=0B,IMPHASH=0C").as_deref(), Some("0b"));
        assert_eq!(hash("SHA1=0D, MD5=0A").as_deref(), Some("0d"));
        assert_eq!((hash("IMPHASH=0C"), hash("0E").as_deref()), (None, Some("0e")));
    }

    #[test]
    fn a_word_is_found_in_free_text_after_its_last_mark() {
        let cleaning = Cleaning {
            kind: EntityKind::Ip,
            after: vec![" from ".into(), "rhost=".into()],
            transform: Vec::new(),
            skip: Vec::new(),
        };
        let of = |text| clean(&cleaning, text);
        let lie = "Failed password for invalid user x from 192.0.2.1 from 203.0.113.9 port 4242 ssh2";
        assert_eq!(of(lie).as_deref(), Some("203.0.113.9"));
        assert_eq!(
            of("authentication failure; rhost=203.0.113.9  user=root").as_deref(),
            Some("203.0.113.9")
        );
        assert_eq!([of("Accepted"), of("ends from "), of("away from home")], [None, None, None]);
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
