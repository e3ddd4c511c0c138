//! ATT&CK: the fourteen Enterprise tactics as a set, and the spelling of tags.
//!
//! An alert's `attacks` is one interned string: tactic ids, then technique ids, each sorted, joined by commas
//! (`TA0008,T1021.002`).

use serde::{Deserialize, Serialize};

/// Tactic id and short name, in the order in which a campaign tends to go (ATT&CK Enterprise v17).
pub const TACTICS: [(&str, &str); 14] = [
    ("TA0043", "reconnaissance"),
    ("TA0042", "resource-development"),
    ("TA0001", "initial-access"),
    ("TA0002", "execution"),
    ("TA0003", "persistence"),
    ("TA0004", "privilege-escalation"),
    ("TA0005", "defense-evasion"),
    ("TA0006", "credential-access"),
    ("TA0007", "discovery"),
    ("TA0008", "lateral-movement"),
    ("TA0009", "collection"),
    ("TA0011", "command-and-control"),
    ("TA0010", "exfiltration"),
    ("TA0040", "impact"),
];

/// What ATT&CK 19 split defense evasion into: alerts and rules of both ages must meet, so it stays one tactic here.
const PARTS_OF_EVASION: [&str; 2] = ["stealth", "defense-impairment"];

/// A set of tactics: bit i is `TACTICS[i]`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Tactics(pub u16);

impl Tactics {
    /// The set of one tactic, given as `TA0008`, `lateral-movement`, `lateral_movement`, `Lateral Movement` or
    /// `LateralMovement`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Tactics> {
        let is = |name: &str| bare(text).eq(bare(name));
        let is_evasion = PARTS_OF_EVASION.iter().any(|part| is(part));
        let at = TACTICS.iter().position(|(id, name)| {
            if is_evasion { *name == "defense-evasion" } else { is(name) || is(id) }
        })?;
        Some(Tactics(1 << at))
    }

    /// Both sets' tactics.
    #[must_use]
    pub fn union(self, other: Tactics) -> Tactics {
        Tactics(self.0 | other.0)
    }

    /// The ids in this set, in campaign order.
    pub fn ids(self) -> impl Iterator<Item = &'static str> {
        TACTICS.iter().enumerate().filter(move |(at, _)| self.0 >> at & 1 == 1).map(|(_, (id, _))| *id)
    }
}

/// A spelling without what spellings differ in. It is asked for every version of an incident, so it takes no memory.
fn bare(text: &str) -> impl Iterator<Item = u8> {
    text.bytes().filter(|byte| !matches!(byte, b' ' | b'_' | b'-')).map(|byte| byte.to_ascii_lowercase())
}

/// The canonical attack list of loose tags: tactics by id or name, techniques `T1021[.002]`, with or without the
/// `attack.` of Sigma; also as Microsoft (`"Regsvr32 (T1218.010)"`) and AWS (`Discovery:S3/...`, `TTPs/Discovery`) write
/// them. Unknown tags are left out.
#[must_use]
pub fn canonical<'a>(tags: impl IntoIterator<Item = &'a str>) -> (Tactics, String) {
    let mut tactics = Tactics::default();
    let mut techniques: Vec<String> = Vec::new();
    for tag in tags {
        let tag = tag.trim_matches([' ', '"', '[', ']']);
        let tag = tag.strip_prefix("attack.").unwrap_or(tag);
        let tag = tag.strip_suffix(')').and_then(|tag| tag.rsplit_once('(')).map_or(tag, |(_, id)| id);
        if let Some(tactic) = tag.split([':', '/']).take(2).find_map(Tactics::parse) {
            tactics = tactics.union(tactic);
        } else if is_technique(tag) {
            techniques.push(tag.to_ascii_uppercase());
        }
    }
    techniques.sort_unstable();
    techniques.dedup();
    let mut all: Vec<&str> = tactics.ids().collect();
    all.sort_unstable();
    all.extend(techniques.iter().map(String::as_str));
    (tactics, all.join(","))
}

/// The tactics named in a canonical list.
#[must_use]
pub fn tactics_of(attacks: &str) -> Tactics {
    attacks.split(',').filter_map(Tactics::parse).fold(Tactics::default(), Tactics::union)
}

fn is_technique(tag: &str) -> bool {
    let bytes = tag.as_bytes();
    let digits = |part: &[u8], n: usize| part.len() == n && part.iter().all(u8::is_ascii_digit);
    match bytes {
        [b'T' | b't', rest @ ..] if rest.len() == 4 => digits(rest, 4),
        [b'T' | b't', rest @ ..] if rest.len() == 8 => {
            digits(&rest[..4], 4) && rest[4] == b'.' && digits(&rest[5..], 3)
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loose_tags_become_one_spelling() {
        let (tactics, text) = canonical([
            "attack.t1021.002",
            "Lateral Movement",
            "T1021",
            "attack.initial_access",
            "cve.2021",
            "T1021",
        ]);
        assert_eq!(text, "TA0001,TA0008,T1021,T1021.002");
        assert_eq!(tactics_of(&text), tactics);
        assert_eq!(Tactics::parse("Command_and-Control"), Tactics::parse("ta0011"));
        assert_eq!(
            ["", "TA00", "impacts", "Stealth", "TA-0005"].map(|tag| Tactics::parse(tag).map(|it| it.0)),
            [None, None, None, Some(1 << 6), Some(1 << 6)]
        );
        assert_eq!(canonical(["attack.stealth", "attack.defense-impairment"]).1, "TA0005");
        assert_eq!(canonical([r#"["Regsvr32 (T1218.010)""#, r#""CredentialAccess"]"#]).1, "TA0006,T1218.010");
        assert_eq!(canonical(["PrivilegeEscalation:IAMUser/X", "TTPs/Discovery"]).1, "TA0004,TA0007");
        assert_eq!(canonical(["Policy:IAMUser/X", "(T1)", "()", ")("]).1, "");
    }
}
