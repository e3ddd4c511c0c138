//! Campaigns by definition: what the index of strong incidents finds is all that a search through them would, whatever is
//! listed meanwhile; and what is listed joins nothing. Links by
//! definition: what they say two alerts share, both have. And what attackers and administrators do to linking: slow steps,
//! floods of decoys, new hosts.

use proptest::prelude::*;

use super::*;
use crate::record::{Names, Observable, Role, Severity, Tactics};

fn alert(n: u64, tick: Tick, (host, rule): (u8, u8), names: &Names) -> Alert {
    told(n, tick, &format!("rule-{rule}"), &[&format!("host:host-{host}")], names)
}

fn told(n: u64, tick: Tick, rule: &str, entities: &[&str], names: &Names) -> Alert {
    let rule = names.intern(rule);
    let entity = |text: &&str| Entity::parse(text, names).expect("kind:value");
    let entities = entities.iter().map(entity).map(|entity| Observable { entity, role: Role::Related });
    Alert {
        id: AlertId::of(&[&n.to_le_bytes()]),
        time: tick * 1000,
        tick,
        tenant: Sym::EMPTY,
        source: Sym::EMPTY,
        position: n,
        product: Sym::EMPTY,
        rule,
        title: rule,
        severity: Severity::Low,
        identified: false,
        further: false,
        tactics: Tactics::default(),
        attacks: Sym::EMPTY,
        entities: entities.collect(),
        unmapped: None,
    }
}

/// Strong incidents that should be one with `home` at `tick`.
fn parted(links: &Links, home: Number, tick: Tick) -> Vec<Number> {
    let settings = &links.settings;
    let mine = &links.bonds[&home];
    let shares = |bond: &Bond| bond.subjects.iter().any(|subject| mine.subjects.contains(subject));
    let strong = links.bonds.iter().filter(|(number, bond)| {
        **number != home
            && bond.is_known_strong
            && tick - bond.last <= settings.campaign_gap_s
            && tick - bond.first <= settings.span_max_s
            && links.strongs.weight(tick - bond.last, links.scale.observed_s(tick), tick)
                >= settings.campaign_weight + links.connections.silence()
            && shares(bond)
    });
    strong.map(|(number, _)| *number).collect()
}

proptest! {
    #[test]
    fn campaigns_are_what_a_search_would_find(
        steps in prop::collection::vec((0i64..40_000, 0u8..6, 0u8..12), 1..150),
        strong in 1_000i32..6_000,
    ) {
        let names = Names::default();
        let mut links = Links::new(LinkSettings { strong, ..LinkSettings::default() });
        let mut tick = 1_700_000_000;
        let mut listed: FxHashSet<Entity> = FxHashSet::default();
        for (n, (gap, host, rule)) in (0..).zip(steps) {
            // Most come close together, some after hours.
            tick += if gap % 4 == 0 { gap } else { gap % 600 };
            let alert = alert(n, tick, (host, rule), &names);
            if gap % 11 == 0 {
                let host = alert.entities[0].entity;
                if !listed.remove(&host) {
                    listed.insert(host);
                }
                links.list(listed.clone());
            }
            let verdict = links.alert(&alert, None);
            let by = verdict.evidence.iter().filter_map(|evidence| evidence.entity);
            prop_assert_eq!(by.filter(|entity| listed.contains(entity)).count(), 0);
            if verdict.strength >= strong {
                prop_assert_eq!(parted(&links, verdict.home, tick), Vec::<Number>::new());
            }
            for number in links.bonds.keys().copied().collect::<Vec<_>>() {
                if links.closes(number).is_some_and(|end| end < tick) {
                    links.forget(number);
                }
            }
            links.sweep(tick);
        }
    }
}

proptest! {
    /// Every link says what is so: the two alerts have the entity, lie within its gap, and what is called rare was active
    /// in few hours when its incident met it, by a count of all alerts before.
    #[test]
    fn links_say_what_is_so(
        steps in prop::collection::vec((0i64..20_000, 0u8..5, 0u8..8, 0u16..40), 1..200),
    ) {
        let names = Names::default();
        let settings = LinkSettings::default();
        let mut links = Links::new(settings.clone());
        let mut past: Vec<Alert> = Vec::new();
        let mut tick = 1_700_000_000;
        for (n, (gap, host, rule, ip)) in (0..).zip(steps) {
            tick += if gap % 3 == 0 { gap } else { gap % 600 };
            let entities = [format!("host:h{host}"), format!("ip:{ip}")];
            let texts: Vec<&str> = entities.iter().map(String::as_str).collect();
            let alert = told(n, tick, &format!("r{rule}"), &texts, &names);
            let verdict = links.alert(&alert, None);
            for evidence in &verdict.evidence {
                let other = past.iter().find(|other| other.id == evidence.other);
                let other = other.expect("a link leads to an alert before");
                let Some(entity) = evidence.entity.filter(|_| evidence.kind != "campaign") else { continue };
                let has = |alert: &Alert| alert.entities.iter().any(|it| it.entity == entity);
                prop_assert!(has(&alert) && has(other), "{evidence:?}");
                let gap_s = if evidence.kind == "rare" { settings.rare_gap_s } else { settings.entity_gap_s };
                prop_assert!(alert.tick - other.tick <= gap_s + 1);
                if evidence.kind == "rare" {
                    // Rare then, and no habit since: of a week's hours few at most.
                    let mut hours: Vec<i64> = past.iter().filter(|it| has(it)).map(|it| it.tick / 3600).collect();
                    hours.dedup();
                    prop_assert!(hours.len() <= 24, "{hours:?}");
                }
                prop_assert!(verdict.is_linked);
            }
            past.push(alert);
            for number in links.bonds.keys().copied().collect::<Vec<_>>() {
                if links.closes(number).is_some_and(|end| end < tick) {
                    links.forget(number);
                }
            }
            links.sweep(tick);
        }
    }
}

/// A site told alert by alert. `usual` is what happens every hour on its hosts.
struct Site {
    names: Names,
    links: Links,
    n: u64,
    homes: Vec<(Number, String)>,
    /// One of the usual rules is about the user first: alerts name what connects subjects.
    connects: bool,
}

const START: Tick = 1_700_000_000 / 3600 * 3600;

impl Site {
    fn new() -> Site {
        Site {
            names: Names::default(),
            links: Links::new(LinkSettings::default()),
            n: 0,
            homes: Vec::new(),
            connects: false,
        }
    }

    /// One alert, told what it is of.
    fn tell(&mut self, of: &str, tick: Tick, rule: &str, entities: &[&str]) {
        self.n += 1;
        let alert = told(self.n, tick, rule, entities, &self.names);
        let due = self.links.bonds.keys().copied().collect::<Vec<_>>();
        for number in due {
            if self.links.closes(number).is_some_and(|end| end < tick) {
                self.links.forget(number);
            }
        }
        let verdict = self.links.alert(&alert, None);
        for (home, _) in &mut self.homes {
            if verdict.absorbed.contains(home) {
                *home = verdict.home;
            }
        }
        self.homes.push((verdict.home, of.to_owned()));
        self.links.sweep(tick);
    }

    /// The habits of `hosts` hosts in the hour that begins at `tick`.
    fn usual(&mut self, tick: Tick, hosts: usize) {
        for host in 0..hosts {
            let (name, user) = (format!("host:h{host}"), format!("user:u{host}"));
            for rule in 0..4 {
                let at = tick + Tick::try_from(host * 7 + rule * 11).unwrap_or(0);
                let by_user = self.connects && rule == 3;
                let about =
                    if by_user { [user.as_str(), name.as_str()] } else { [name.as_str(), user.as_str()] };
                self.tell("-", at, &format!("usual {rule}"), &about);
            }
        }
    }

    /// The alerts of a story by incident: how many, and how many others are there with them.
    fn of(&self, of: &str) -> Vec<(usize, usize)> {
        let mut homes: Vec<Number> =
            self.homes.iter().filter(|(_, it)| it == of).map(|(home, _)| *home).collect();
        homes.sort_unstable();
        homes.dedup();
        let count = |home: Number, own: bool| {
            self.homes.iter().filter(|(at, it)| *at == home && (it == of) == own).count()
        };
        homes.into_iter().map(|home| (count(home, true), count(home, false))).collect()
    }
}

#[test]
fn what_is_rare_joins_what_is_common() {
    let mut site = Site::new();
    for hour in 0..48 {
        site.usual(START + hour * 3600, 30);
    }
    // The same rules as every hour, but from one address that nobody has seen before.
    for step in 0..20 {
        let (host, user) = (format!("host:h{step}"), format!("user:u{step}"));
        site.tell("attack", START + 48 * 3600 + step * 400, "usual 1", &[&host, &user, "ip:203.0.113.9"]);
    }
    assert_eq!(site.of("attack"), [(20, 0)]);
}

#[test]
fn slow_steps_stay_together() {
    let mut site = Site::new();
    let mut steps = 0;
    for hour in 0..120 {
        site.usual(START + hour * 3600, 30);
        // Every seventh hour for two and a half days, on one host after the other, by a tool of its own.
        if hour >= 55 && hour % 7 == 0 {
            let (host, user) = (format!("host:h{}", steps % 30), format!("user:u{}", steps % 30));
            site.tell("slow", START + hour * 3600 + 1800, "usual 2", &[&host, &user, "hash:0badc0de"]);
            steps += 1;
        }
    }
    let most = site.of("slow").into_iter().max().expect("it is somewhere");
    assert!(most.0 * 10 >= steps * 9 && most.1 == 0, "{:?} of {steps}", site.of("slow"));
}

#[test]
fn decoys_neither_glue_nor_swallow() {
    let mut site = Site { connects: true, ..Site::new() };
    for hour in 0..72 {
        site.usual(START + hour * 3600, 40);
    }
    let now = START + 72 * 3600;
    // Two attacks by two tools, and meanwhile a flood of new rules from one address on all other hosts.
    for step in 0..30 {
        let at = now + step * 60;
        for (story, host, after) in [("one", 3, 0), ("two", 17, 1)] {
            let (host, tool) = (format!("host:h{host}"), format!("hash:{story}"));
            site.tell(story, at + after, &format!("{story} {}", step / 3), &[&host, &tool]);
        }
        for decoy in 0..20 {
            let host = (step * 20 + decoy) % 40;
            if host != 3 && host != 17 {
                let (host, rule) = (format!("host:h{host}"), format!("decoy {}", decoy % 5));
                site.tell("decoy", at + 2 + decoy, &rule, &[&host, "ip:198.51.100.7"]);
            }
        }
    }
    assert_eq!((site.of("one"), site.of("two")), (vec![(30, 0)], vec![(30, 0)]));
}

#[test]
fn new_hosts_glue_nothing() {
    let mut site = Site::new();
    for hour in 0..100 {
        site.usual(START + hour * 3600, 30);
    }
    // Twenty hosts come on one day, each with its usual rules from then on; two attacks go on beside that.
    for hour in 100..148 {
        let at = START + hour * 3600;
        site.usual(at, 50);
        for (story, host) in [("one", 3), ("two", 17)] {
            let (host, tool) = (format!("host:h{host}"), format!("hash:{story}"));
            if hour < 104 {
                site.tell(story, at + 1800, &format!("{story} {hour}"), &[&host, &tool]);
            }
        }
    }
    assert_eq!((site.of("one"), site.of("two")), (vec![(4, 0)], vec![(4, 0)]));
    let mut sizes: std::collections::BTreeMap<Number, usize> = std::collections::BTreeMap::new();
    for (home, _) in &site.homes {
        *sizes.entry(*home).or_default() += 1;
    }
    let most = sizes.values().max().copied().unwrap_or_default();
    assert!(most * 50 <= site.homes.len(), "one incident has {most} of {}", site.homes.len());
}
