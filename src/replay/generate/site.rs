//! Site: one tenant's hosts and accounts, each with a role that decides its habits.
//!
//! State: a name, an address and a role for every host and account, for the whole run.

use super::dice::{Dice, mix};

/// What a host is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum HostRole {
    DomainController,
    FileServer,
    Web,
    Mail,
    Database,
    Jump,
    Backup,
    Build,
    Scanner,
    Workstation,
}

/// What an account is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Duty {
    Administrator,
    Engineer,
    Service,
    Executive,
    Staff,
}

/// A computer of the site.
pub(super) struct Host {
    pub(super) name: String,
    /// IPv4.
    pub(super) ip: u32,
    pub(super) role: HostRole,
}

/// An account of the site.
pub(super) struct User {
    pub(super) name: String,
    pub(super) duty: Duty,
    /// The host that it sits at.
    pub(super) host: u32,
}

/// One tenant.
pub(super) struct Site {
    pub(super) index: u32,
    /// What alerts say in `metadata.tenant_uid`; none where there is one tenant.
    pub(super) tenant: Option<String>,
    pub(super) mail_domain: String,
    pub(super) hosts: Vec<Host>,
    pub(super) users: Vec<User>,
}

const FIRST: [&str; 32] = [
    "ada", "amir", "anna", "bela", "carla", "chen", "dana", "elif", "emil", "fatima", "felix", "greta",
    "hugo", "ines", "ivan", "jana", "kofi", "lena", "lior", "maya", "milan", "nadia", "noor", "omar",
    "petra", "priya", "rosa", "sami", "tomas", "vera", "yuki", "zoe",
];
const LAST: [&str; 32] = [
    "abbas", "berg", "costa", "dietz", "eriksen", "fischer", "garcia", "haas", "ito", "jansen", "keller",
    "lang", "moreno", "nagy", "okafor", "petrov", "quinn", "rossi", "silva", "tanaka", "ullman", "vargas",
    "weber", "xu", "yilmaz", "zeman", "lindt", "marsh", "novak", "ortiz", "patel", "reyes",
];

impl Site {
    /// Tenant `index` of `tenants`.
    pub(super) fn new(index: u32, tenants: u32, hosts: u32, users: u32) -> Site {
        // The first tenant's names are plain; another's carry its number, so that no name means two things.
        let mark = if index == 0 { String::new() } else { format!("s{}", index + 1) };
        let hosts: Vec<Host> = (0..hosts).map(|at| host(index, at, &mark)).collect();
        let seats: Vec<u32> =
            (0u32..).zip(&hosts).filter(|(_, h)| h.role == HostRole::Workstation).map(|(at, _)| at).collect();
        let users = (0..users).map(|at| user(at, &mark, &seats)).collect();
        Site {
            index,
            tenant: (tenants > 1).then(|| format!("site-{}", index + 1)),
            mail_domain: if index == 0 { "corp.example".into() } else { format!("{mark}.corp.example") },
            hosts,
            users,
        }
    }

    /// The host at `at`.
    pub(super) fn host(&self, at: u32) -> &Host {
        &self.hosts[at as usize % self.hosts.len()]
    }

    /// The account at `at`.
    pub(super) fn user(&self, at: u32) -> &User {
        &self.users[at as usize % self.users.len()]
    }

    /// Some host of that role; any where the site has none.
    pub(super) fn any_host(&self, role: HostRole, dice: &mut Dice) -> u32 {
        some(&self.hosts, |host| host.role == role, dice)
    }

    /// Some account of that duty; any where the site has none.
    pub(super) fn any_user(&self, duty: Duty, dice: &mut Dice) -> u32 {
        some(&self.users, |user| user.duty == duty, dice)
    }

    /// Who sits at a host; for a server, an account that works on it.
    pub(super) fn user_of(&self, host: u32, dice: &mut Dice) -> u32 {
        match self.host(host).role {
            HostRole::Workstation => some(&self.users, |user| user.host == host, dice),
            HostRole::Build | HostRole::Web => self.any_user(Duty::Engineer, dice),
            HostRole::Jump | HostRole::DomainController => self.any_user(Duty::Administrator, dice),
            HostRole::FileServer
            | HostRole::Mail
            | HostRole::Database
            | HostRole::Backup
            | HostRole::Scanner => self.any_user(Duty::Service, dice),
        }
    }
}

/// The first that suits from a random place on; a random one where none does.
fn some<T>(things: &[T], suits: impl Fn(&T) -> bool, dice: &mut Dice) -> u32 {
    let start = dice.index(things.len());
    let at = (0..things.len()).map(|step| (start + step) % things.len()).find(|at| suits(&things[*at]));
    u32::try_from(at.unwrap_or(start)).unwrap_or(0)
}

fn host(site: u32, at: u32, mark: &str) -> Host {
    let (role, stem) = match at % 40 {
        0 => (HostRole::DomainController, "dc"),
        1 => (HostRole::FileServer, "files"),
        2 | 9 => (HostRole::Web, "web"),
        3 => (HostRole::Mail, "mail"),
        4 => (HostRole::Database, "db"),
        5 => (HostRole::Jump, "jump"),
        6 => (HostRole::Backup, "backup"),
        7 => (HostRole::Build, "build"),
        8 if at < 80 => (HostRole::Scanner, "scan"),
        _ => (HostRole::Workstation, "ws"),
    };
    let dash = if mark.is_empty() { "" } else { "-" };
    // 10.site.x.y; 250 hosts to a block leave room for gateways.
    let ip = 10 << 24 | (site & 255) << 16 | (at / 250) << 8 | (at % 250 + 1);
    Host { name: format!("{mark}{dash}{stem}-{:03}", at + 1), ip, role }
}

fn user(at: u32, mark: &str, seats: &[u32]) -> User {
    let duty = match at % 20 {
        0 => Duty::Administrator,
        1 => Duty::Engineer,
        2 => Duty::Service,
        3 => Duty::Executive,
        _ => Duty::Staff,
    };
    let dot = if mark.is_empty() { "" } else { "." };
    let name = if duty == Duty::Service {
        format!("{mark}{dot}svc-{:03}", at + 1)
    } else {
        // Walks through all 1,024 pairs before one comes again; then a number tells them apart.
        let pair = (at * 397 % 1024) as usize;
        let again = if at < 1024 { String::new() } else { (at / 1024 + 1).to_string() };
        format!("{mark}{dot}{}.{}{again}", FIRST[pair % 32], LAST[pair / 32])
    };
    let host = if seats.is_empty() { 0 } else { seats[at as usize % seats.len()] };
    User { name, duty, host }
}

/// An address outside: 198.18.0.0/15, which RFC 2544 keeps out of the internet.
pub(super) fn outside(number: u64) -> u32 {
    198 << 24 | 18 << 16 | u32::try_from(mix(number) & 0x1_ffff).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn names_and_addresses_are_unique_across_tenants() {
        let sites: Vec<Site> = (0..3).map(|index| Site::new(index, 3, 700, 3000)).collect();
        let hosts: BTreeSet<&str> =
            sites.iter().flat_map(|s| s.hosts.iter().map(|h| h.name.as_str())).collect();
        let ips: BTreeSet<u32> = sites.iter().flat_map(|s| s.hosts.iter().map(|h| h.ip)).collect();
        let users: BTreeSet<&str> =
            sites.iter().flat_map(|s| s.users.iter().map(|u| u.name.as_str())).collect();
        assert_eq!((hosts.len(), ips.len(), users.len()), (2100, 2100, 9000));
    }

    #[test]
    fn a_site_of_one_host_still_has_someone_for_everything() {
        let site = Site::new(0, 1, 1, 1);
        let mut dice = Dice::of(&[7]);
        assert_eq!(site.any_host(HostRole::Scanner, &mut dice), 0);
        assert_eq!(site.any_user(Duty::Service, &mut dice), 0);
        assert_eq!(site.user_of(0, &mut dice), 0);
    }
}
