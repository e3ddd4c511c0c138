//! Net: a network of addresses that begin alike, written as CIDR.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};

use serde::{Deserialize, Serialize};

/// A network, its address as IPv6; IPv4 is mapped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Net {
    v4: bool,
    /// Bits of the 128 that count.
    length: u8,
    /// Bits beyond `length` are 0.
    first: u128,
}

/// Bits in front of an IPv4 address that is mapped into IPv6.
const MAPPED: u8 = 96;
/// Bits from one level of buckets to the next.
const LEVEL: u8 = 8;
/// Bits that neighbours share: sixteen IPv4 addresses are the least that providers assign to a customer as a rule, and of
/// IPv6 a /64 is one network.
const NEIGHBOURS_V4: u8 = 28;
const NEIGHBOURS_V6: u8 = 64;

impl Net {
    /// Reads `10.1.0.0/16`, `2001:db8::/32`, or an address alone; bits beyond the prefix may be set, and count nothing.
    #[must_use]
    pub fn parse(text: &str) -> Option<Net> {
        let (address, length) = match text.trim().split_once('/') {
            Some((address, length)) => (address, Some(length.parse::<u8>().ok()?)),
            None => (text.trim(), None),
        };
        let address: IpAddr = address.parse().ok()?;
        match (address, length) {
            (IpAddr::V4(v4), length @ (None | Some(0..=32))) => {
                Some(Net::of(true, length.unwrap_or(32) + MAPPED, v4.to_ipv6_mapped()))
            }
            (IpAddr::V6(v6), length @ (None | Some(0..=128))) => {
                let length = length.unwrap_or(128);
                Some(Net::of(length >= MAPPED && v6.to_ipv4_mapped().is_some(), length, v6))
            }
            (IpAddr::V4(_) | IpAddr::V6(_), Some(_)) => None,
        }
    }

    fn of(v4: bool, length: u8, address: Ipv6Addr) -> Net {
        Net { v4, length, first: address.to_bits() & mask(length) }
    }

    /// The network of one address.
    #[must_use]
    pub fn of_address(text: &str) -> Option<Net> {
        Net::parse(text).filter(|net| net.length == 128)
    }

    /// The network that a public address shares with its neighbours, which are rented and used together; none of a private
    /// one: within a site, neighbours are strangers.
    #[must_use]
    pub fn around(address: &str) -> Option<Net> {
        match address.parse::<IpAddr>().ok()?.to_canonical() {
            IpAddr::V4(v4) if v4.is_private() || v4.is_loopback() || v4.is_link_local() => None,
            IpAddr::V6(v6) if v6.is_unique_local() || v6.is_loopback() || v6.is_unicast_link_local() => None,
            IpAddr::V4(v4) => Some(Net::of(true, NEIGHBOURS_V4 + MAPPED, v4.to_ipv6_mapped())),
            IpAddr::V6(v6) => Some(Net::of(false, NEIGHBOURS_V6, v6)),
        }
    }

    /// Bits of its prefix, of 128: the longer one says more.
    #[must_use]
    pub fn length(self) -> u8 {
        self.length
    }

    /// The buckets that it is made of: networks whose prefix is a multiple of 8 bits. One where its own prefix is, 128 at
    /// most.
    pub fn made_of(self) -> impl Iterator<Item = Net> {
        let level = self.length.next_multiple_of(LEVEL);
        let count = 1u128 << (level - self.length);
        (0..count).map(move |at| {
            let offset = if level == 0 { 0 } else { at << (128 - level) };
            Net { length: level, first: self.first | offset, ..self }
        })
    }

    /// The buckets that it lies in, one a level: 5 of an IPv4 address, 17 of an IPv6 one.
    pub fn lies_in(self) -> impl Iterator<Item = Net> {
        let from = if self.v4 { MAPPED } else { 0 };
        (from..=self.length).step_by(usize::from(LEVEL)).map(move |length| Net {
            length,
            first: self.first & mask(length),
            ..self
        })
    }
}

fn mask(length: u8) -> u128 {
    u128::MAX.checked_shl(128 - u32::from(length)).unwrap_or(0)
}

impl fmt::Display for Net {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let v6 = Ipv6Addr::from_bits(self.first);
        match v6.to_ipv4_mapped().filter(|_| self.v4) {
            Some(v4) => write!(f, "{v4}/{}", self.length - MAPPED),
            None => write!(f, "{v6}/{}", self.length),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_are_read_as_people_write_them() {
        let said = |text: &str| Net::parse(text).map(|net| net.to_string());
        for (text, want) in [
            ("10.1.2.3/8", "10.0.0.0/8"),
            (" 0.0.0.0/0 ", "0.0.0.0/0"),
            ("192.0.2.7", "192.0.2.7/32"),
            ("2001:DB8::1/33", "2001:db8::/33"),
            ("::ffff:10.0.0.0/104", "10.0.0.0/8"),
            ("::/0", "::/0"),
        ] {
            assert_eq!(said(text).as_deref(), Some(want), "{text}");
        }
        for text in ["", "10.0.0.0/33", "10.0.0.0/-1", "10.0.0/8", "::/129", "host:a", "10.0.0.0/8/8"] {
            assert_eq!(said(text), None, "{text}");
        }
    }

    #[test]
    fn public_neighbours_share_a_network() {
        for (address, network) in [
            ("198.51.100.17", Some("198.51.100.16/28")),
            ("198.51.100.31", Some("198.51.100.16/28")),
            ("198.51.100.32", Some("198.51.100.32/28")),
            ("::ffff:198.51.100.17", Some("198.51.100.16/28")),
            ("2001:db8::1", Some("2001:db8::/64")),
            ("10.1.2.3", None),
            ("::ffff:10.1.2.3", None),
            ("fe80::1", None),
            ("198.51.100.16/28", None),
        ] {
            assert_eq!(Net::around(address).map(|net| net.to_string()).as_deref(), network, "{address}");
        }
    }
}
