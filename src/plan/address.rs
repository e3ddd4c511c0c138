//! Addresses that nobody may act on or call: loopback, unspecified, multicast, broadcast, link-local, metadata.
//!
//! An attacker writes alert fields, and an address has many spellings (`127.1`, `0x7f000001`, `::ffff:7f00:1`,
//! `64:ff9b::7f00:1`): all are read as the one address that a socket would reach.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Reads an address as sockets do: dotted parts in decimal, octal or hex, fewer than four parts, brackets, a zone.
#[must_use]
pub fn parse(text: &str) -> Option<IpAddr> {
    let text = text.trim();
    let text = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
    let text = text.split('%').next().unwrap_or(text);
    if let Ok(ip) = text.parse::<IpAddr>() {
        return Some(ip);
    }
    inet_aton(text.strip_suffix('.').unwrap_or(text)).map(IpAddr::V4)
}

/// The forms that `inet_aton(3)` takes: the last part fills all bytes that are left.
fn inet_aton(text: &str) -> Option<Ipv4Addr> {
    let parts: Vec<u64> = text.split('.').map(number).collect::<Option<_>>()?;
    let (last, front) = parts.split_last()?;
    if front.len() > 3 || front.iter().any(|part| *part > 255) || *last >= 1 << (8 * (4 - front.len())) {
        return None;
    }
    let high = front.iter().enumerate().fold(0, |sum, (at, part)| sum | part << (8 * (3 - at)));
    u32::try_from(high | last).ok().map(Ipv4Addr::from)
}

fn number(part: &str) -> Option<u64> {
    let lower = part.to_ascii_lowercase();
    if let Some(hex) = lower.strip_prefix("0x") {
        return u64::from_str_radix(hex, 16).ok();
    }
    match lower.strip_prefix('0') {
        Some(octal) if !octal.is_empty() => u64::from_str_radix(octal, 8).ok(),
        _ if lower.bytes().all(|byte| byte.is_ascii_digit()) => lower.parse().ok(),
        _ => None,
    }
}

/// The IPv4 address that an IPv6 one carries: mapped, compatible, NAT64 (RFC 6052), 6to4 (RFC 3056).
#[must_use]
pub fn unmapped(ip: IpAddr) -> IpAddr {
    let IpAddr::V6(v6) = ip else { return ip };
    let parts = v6.segments();
    let v4 = |high: u16, low: u16| IpAddr::V4(Ipv4Addr::from(u32::from(high) << 16 | u32::from(low)));
    match parts {
        // `::` and `::1` are themselves, not carriers.
        [0, 0, 0, 0, 0, 0, 0, 0 | 1] => ip,
        [0, 0, 0, 0, 0, 0 | 0xffff, high, low]
        | [0x64, 0xff9b, 0, 0, 0, 0, high, low]
        | [0x2002, high, low, ..] => v4(high, low),
        _ => ip,
    }
}

/// Whether the address names no one machine of somebody else's: never a target.
#[must_use]
pub fn is_nobodys(ip: IpAddr) -> bool {
    is_metadata(ip) || unmapped(ip).is_loopback()
}

/// Whether a call to the address would reach a neighbour by accident or a cloud's metadata service: link-local,
/// unspecified, multicast, broadcast, and the metadata addresses of AWS (IPv6), Alibaba and Azure.
#[must_use]
pub fn is_metadata(ip: IpAddr) -> bool {
    match unmapped(ip) {
        IpAddr::V4(v4) => {
            v4.octets()[0] == 0
                || v4.is_link_local()
                || v4.is_multicast()
                || v4.octets()[0] >= 240
                || v4 == Ipv4Addr::new(100, 100, 100, 200)
                || v4 == Ipv4Addr::new(168, 63, 129, 16)
        }
        IpAddr::V6(v6) => {
            v6.is_unspecified()
                || v6.is_multicast()
                || v6.segments()[0] & 0xffc0 == 0xfe80
                || v6 == Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_spelling_of_a_forbidden_address_is_seen() {
        for text in [
            "127.0.0.1",
            "127.1",
            "2130706433",
            "0x7f000001",
            "0177.0.0.1",
            "0x7f.0.0.1",
            "[::1]",
            "::ffff:127.0.0.1",
            "::127.0.0.1",
            "64:ff9b::7f00:1",
            "2002:7f00:1::",
            "0.0.0.0",
            "0",
            "::",
            "224.0.0.1",
            "255.255.255.255",
            "169.254.169.254",
            "::ffff:169.254.169.254",
            "[::ffff:a9fe:a9fe]",
            "0xa9fea9fe",
            "2852039166",
            "fe80::1%eth0",
            "ff02::1",
            "fd00:ec2::254",
            "100.100.100.200",
            "0251.0376.0251.0376",
            "169.254.43518",
            "127.0.0.1.",
        ] {
            assert!(parse(text).is_some_and(is_nobodys), "{text}");
        }
    }

    #[test]
    fn ordinary_addresses_and_names_pass() {
        for text in ["10.0.0.1", "192.0.2.7", "2001:db8::1", "8.8.8.8", "::ffff:10.0.0.1", "2002:a00:1::"] {
            assert!(parse(text).is_some_and(|ip| !is_nobodys(ip)), "{text}");
        }
        for text in ["mail", "a.b", "1.2.3.4.5", "256.1.1.1", "", "1..2", "0x", "08.1.1.1"] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
