//! Campaigns by definition: what the index of strong incidents finds is all that a search through them would, whatever is
//! listed meanwhile; and what is listed joins nothing. Links by
//! definition: what they say two alerts share, both have. And what attackers and administrators do to linking: slow steps,
//! floods of decoys, new hosts. And what is where all is new.

use proptest::prelude::*;

use super::*;
use crate::record::{Names, Observable, Role, Severity, Tactics};

mod newcomers;
mod sweeps;
mod waves;

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
        let names = Arc::new(Names::default());
        let mut links = Links::new(LinkSettings { strong, ..LinkSettings::default() }, Arc::clone(&names));
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
        habits in 0i64..60,
    ) {
        let names = Arc::new(Names::default());
        let settings = LinkSettings::default();
        let mut links = Links::new(settings.clone(), Arc::clone(&names));
        let mut past: Vec<Alert> = Vec::new();
        let mut tick = 1_700_000_000;
        // What everybody does every hour, and then what comes as it comes.
        let usual = (0..habits).flat_map(|_| (0..40).map(|n| (if n == 0 { 3_600 } else { 1 }, n % 5, n / 5, 0, n % 5)));
        let steps = steps.into_iter().map(|(gap, host, rule, ip)| (gap, host, rule, ip, rule % 5));
        for (n, (gap, host, rule, ip, user)) in (0..).zip(usual.chain(steps)) {
            tick += if gap % 3 == 0 { gap } else { gap % 600 };
            let entities = [format!("host:h{host}"), format!("ip:198.51.100.{ip}"), format!("user:u{user}")];
            let texts: Vec<&str> = entities.iter().map(String::as_str).collect();
            let alert = told(n, tick, &format!("r{rule}"), &texts, &names);
            let verdict = links.alert(&alert, None);
            for evidence in &verdict.evidence {
                let other = past.iter().find(|other| other.id == evidence.other);
                let other = other.expect("a link leads to an alert before");
                let Some(entity) = evidence.entity.filter(|_| evidence.kind != "campaign") else { continue };
                let has = |alert: &Alert| network::is_named(entity, alert, &names);
                prop_assert!(has(&alert) && has(other), "{evidence:?}");
                let gap_s = if evidence.kind == "rare" { settings.rare_gap_s } else { settings.entity_gap_s };
                prop_assert!(alert.tick - other.tick <= gap_s + 1);
                if evidence.kind == "rare" {
                    // Rare then, and no habit since: of a week's hours few at most. A network links through such an address.
                    let rare = if network::is_one(entity, &names) { alert.entities[1].entity } else { entity };
                    let has = |alert: &&Alert| network::is_named(rare, alert, &names);
                    let mut hours: Vec<i64> = past.iter().filter(has).map(|it| it.tick / 3600).collect();
                    hours.dedup();
                    prop_assert!(hours.len() <= 24, "{hours:?}");
                }
                if evidence.kind == "encounter" {
                    // The host and the user had met in few hours before this one.
                    let both = |it: &&Alert| alert.entities[0] == it.entities[0] && alert.entities[2] == it.entities[2];
                    let mut hours: Vec<i64> = past.iter().filter(both).map(|it| it.tick / 3600).collect();
                    hours.dedup();
                    prop_assert!(hours.iter().filter(|hour| **hour != alert.tick / 3600).count() <= 24, "{hours:?}");
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

proptest! {
    /// Whose accounts an incident names is what a recount over all its alerts says, however it merged.
    #[test]
    fn actors_are_what_a_recount_says(
        steps in prop::collection::vec((0i64..20_000, 0u8..5, 0u8..8, 0u8..6), 1..150),
    ) {
        let names = Arc::new(Names::default());
        let mut links = Links::new(LinkSettings::default(), Arc::clone(&names));
        let mut past: Vec<(Number, Alert)> = Vec::new();
        let mut tick = 1_700_000_000;
        for (n, (gap, host, rule, user)) in (0..).zip(steps) {
            tick += if gap % 3 == 0 { gap } else { gap % 600 };
            let entities = [format!("host:h{host}"), format!("user:u{user}"), format!("hash:{}", gap % 9)];
            // Some name no account.
            let texts: Vec<&str> = entities.iter().map(String::as_str).filter(|it| *it != "user:u5").collect();
            let alert = told(n, tick, &format!("r{rule}"), &texts, &names);
            let verdict = links.alert(&alert, None);
            past.push((verdict.home, alert));
            let mut due: FxHashMap<Number, (FxHashSet<Sym>, u32)> = FxHashMap::default();
            for (home, alert) in &past {
                let accounts = alert.entities.iter().filter(|it| it.entity.kind == EntityKind::User);
                let due = due.entry(links.resolve(*home).expect("none is forgotten")).or_default();
                let before = due.0.len();
                due.0.extend(accounts.clone().map(|it| it.entity.value));
                due.1 += u32::from(accounts.count() > 0);
                prop_assert!(due.0.len() <= before + 1);
            }
            for (number, bond) in &links.bonds {
                let (accounts, named) = due.remove(number).unwrap_or_default();
                prop_assert_eq!(bond.actors.told(), (accounts, named));
            }
        }
    }
}

/// A site told alert by alert. `usual` is what happens every hour on its hosts.
struct Site {
    names: Arc<Names>,
    links: Links,
    n: u64,
    homes: Vec<(Number, String)>,
    /// One of the usual rules is about the user first: alerts name what connects subjects.
    connects: bool,
}

const START: Tick = 1_700_000_000 / 3600 * 3600;

impl Site {
    fn new() -> Site {
        let names = Arc::new(Names::default());
        Site {
            links: Links::new(LinkSettings::default(), Arc::clone(&names)),
            names,
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

/// Decoys from one address, `each` minute so many.
#[derive(Clone, Copy)]
struct Decoys {
    /// On as many hosts, the attacked ones among them or not.
    hosts: u16,
    everywhere: bool,
    /// By so many rules.
    rules: u16,
    each: u16,
    /// So many minutes before the attacks.
    ahead: u16,
}

/// Where the alerts of two attacks by two tools are, while decoys are let off.
fn attacks_among(decoys: Decoys) -> [Vec<(usize, usize)>; 2] {
    let mut site = Site { connects: true, ..Site::new() };
    for hour in 0..72 {
        site.usual(START + hour * 3600, usize::from(decoys.hosts));
    }
    for step in 0..30 + decoys.ahead {
        let at = START + 72 * 3600 + Tick::from(step) * 60;
        for (story, host, after) in [("one", 3, 0), ("two", 17, 1)] {
            let (host, tool) = (format!("host:h{host}"), format!("hash:{story}"));
            if let Some(attack) = step.checked_sub(decoys.ahead) {
                site.tell(story, at + after, &format!("{story} {}", attack / 3), &[&host, &tool]);
            }
        }
        for decoy in 0..decoys.each {
            let host = (step * decoys.each + decoy) % decoys.hosts;
            if decoys.everywhere || host != 3 && host != 17 {
                let (host, rule) = (format!("host:h{host}"), format!("decoy {}", decoy % decoys.rules));
                site.tell("decoy", at + 2 + Tick::from(decoy), &rule, &[&host, "ip:198.51.100.7"]);
            }
        }
    }
    [site.of("one"), site.of("two")]
}

#[test]
fn decoys_neither_glue_nor_swallow() {
    let decoys = Decoys { hosts: 40, everywhere: false, rules: 5, each: 20, ahead: 0 };
    assert_eq!(attacks_among(decoys), [[(30, 0)], [(30, 0)]]);
}

#[test]
fn a_flood_on_the_attacked_hosts_themselves_glues_nothing() {
    for (rules, each, ahead) in [(5, 20, 5), (1, 10, 15)] {
        let decoys = Decoys { hosts: 60, everywhere: true, rules, each, ahead };
        assert_eq!(attacks_among(decoys), [[(30, 0)], [(30, 0)]], "{rules} {each} {ahead}");
    }
}

#[test]
fn neighbouring_addresses_are_one_hand() {
    let mut site = Site::new();
    for hour in 0..48 {
        site.usual(START + hour * 3600, 60);
    }
    // Passwords tried from four addresses in turn, each at other users' hosts, by a rule that is raised every hour.
    for step in 0..40 {
        let (host, ip) = (format!("host:h{step}"), format!("ip:198.51.100.{}", 16 + step % 4));
        site.tell("spray", START + 48 * 3600 + step * 30, "usual 1", &[&host, &ip]);
    }
    assert_eq!(site.of("spray"), [(40, 0)]);
}

#[test]
fn neighbours_are_one_hand_beside_a_common_one() {
    let mut site = Site::new();
    for hour in 0..48 {
        site.usual(START + hour * 3600, 60);
        site.tell("-", START + hour * 3600 + 900, "usual 1", &["host:h7", "ip:198.51.100.30"]);
    }
    for step in 0..40 {
        let (host, ip) = (format!("host:h{step}"), format!("ip:198.51.100.{}", 16 + step % 4));
        site.tell("spray", START + 48 * 3600 + step * 30, "usual 1", &[&host, &ip]);
    }
    assert_eq!(site.of("spray"), [(40, 0)]);
}

#[test]
fn two_hands_at_the_same_accounts_are_two_stories() {
    let mut site = Site::new();
    for hour in 0..48 {
        site.usual(START + hour * 3600, 60);
    }
    // The second begins while the first one's accounts are fresh.
    for (story, ip, after) in [("one", "ip:198.51.100.7", 0), ("two", "ip:203.0.113.9", 700)] {
        for step in 0..30 {
            let at = START + 48 * 3600 + after + step * 20;
            site.tell(story, at, "sign-in failed", &[&format!("user:u{step}"), ip]);
        }
    }
    assert_eq!((site.of("one"), site.of("two")), (vec![(30, 0)], vec![(30, 0)]));
}

#[test]
fn two_accounts_at_one_server_are_two_stories() {
    let mut site = Site::new();
    for hour in 0..48 {
        site.usual(START + hour * 3600, 80);
    }
    // An attacker goes from a server to host after host; then an administrator does, from the same server.
    for (story, user, after) in [("one", "user:service", 0), ("two", "user:admin", 820)] {
        for step in 0..40 {
            let host = format!("host:h{}", step + if after > 0 { 40 } else { 0 });
            let at = START + 48 * 3600 + after + step * 20;
            site.tell(story, at, "service created", &[&host, user, "ip:10.0.9.9"]);
        }
    }
    assert_eq!((site.of("one"), site.of("two")), (vec![(40, 0)], vec![(40, 0)]));
}

#[test]
fn what_is_the_sites_own_is_in_other_stories_hours_later() {
    for (thing, whole) in [("user:service", false), ("ip:10.0.0.9", false), ("hash:0badc0de", true)] {
        let mut site = Site::new();
        for hour in 0..60 {
            site.usual(START + hour * 3600, 30);
        }
        for (host, hour) in [(3, 60), (17, 65)] {
            for step in 0..3 {
                let at = START + hour * 3600 + step * 60;
                site.tell("story", at, "usual 1", &[&format!("host:h{host}"), thing]);
            }
        }
        let parts = if whole { vec![(6, 0)] } else { vec![(3, 0), (3, 0)] };
        assert_eq!(site.of("story"), parts, "{thing}");
    }
}

#[test]
fn where_all_is_new_nothing_is_a_story() {
    let mut site = Site::new();
    let (alerts, mut chance) = (6_000, 1u64);
    // Pairs by chance, most of them once or twice in the day.
    for n in 0..alerts {
        chance = chance.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let (host, rule) = ((chance >> 33) % 60, (chance >> 45) % 60);
        site.tell("-", START + n * 14, &format!("rule {rule}"), &[&format!("host:h{host}")]);
    }
    let mut homes: Vec<Number> = site.homes.iter().map(|(home, _)| *home).collect();
    homes.sort_unstable();
    homes.dedup();
    // About one for each pair, and those of the first hours, when that is not known yet.
    assert!(homes.len() < 4_500, "{} of {alerts}", homes.len());
    let linked = site.links.bonds.values().filter(|bond| bond.kind == IncidentKind::Linked).count();
    assert!(linked * 20 < homes.len(), "{linked} of {}", homes.len());
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
