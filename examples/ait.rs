//! scratch
use quell::correlate::link::Links;
use quell::plan::link::LinkSettings;
use quell::record::*;
use std::collections::{BTreeMap, HashMap};
fn run(file: &str, s: &LinkSettings, dbg: bool) -> (usize, usize, f64, usize, f64, f64, f64) {
    let names = Names::default();
    let text = std::fs::read_to_string(file).unwrap();
    let mut links = Links::new(s.clone());
    let mut home: Vec<u64> = vec![];
    let mut lab: Vec<String> = vec![];
    let mut bg: HashMap<u64, bool> = HashMap::new();
    let mut alerts = vec![];
    for (n, l) in text.lines().enumerate() {
        let f: Vec<&str> = l.split('\t').collect();
        let t: i64 = f[0].parse().unwrap();
        let o = |k, v: &str| Observable {
            entity: Entity { kind: k, value: names.intern(v) },
            role: Role::Related,
        };
        let mut e = smallvec::SmallVec::new();
        e.push(o(EntityKind::Host, f[3]));
        if std::env::var("NOIP").is_err() && !f[2].is_empty() {
            e.push(o(EntityKind::Ip, f[2]));
        }
        alerts.push((
            Alert {
                id: AlertId::of(&[&n.to_le_bytes()]),
                time: t * 1000,
                tick: t,
                tenant: Sym::EMPTY,
                source: Sym::EMPTY,
                position: n as u64,
                product: Sym::EMPTY,
                rule: names.intern(f[1]),
                title: names.intern(f[1]),
                severity: Severity::Low,
                identified: false,
                tactics: Tactics::default(),
                attacks: Sym::EMPTY,
                entities: e,
                unmapped: None,
            },
            f[4].to_string(),
        ));
    }
    alerts.sort_by_key(|a| a.0.order());
    for (a, l) in &alerts {
        let v = links.alert(a, None);
        if let Some(k) = v.opened {
            bg.insert(v.home, k == IncidentKind::Background);
        }
        home.push(v.home);
        lab.push(l.clone());
    }
    for h in home.iter_mut() {
        if let Some(r) = links.resolve(*h) {
            *h = r;
        }
    }
    let mut tot: BTreeMap<u64, (f64, f64, f64)> = BTreeMap::new();
    for (h, l) in home.iter().zip(&lab) {
        let e = tot.entry(*h).or_default();
        e.0 += 1.0;
        if l != "-" {
            e.1 += 1.0;
            if l != "dnsteal" {
                e.2 += 1.0
            }
        }
    }
    let ben: f64 = lab.iter().filter(|l| *l == "-").count() as f64;
    let att: Vec<_> = tot.values().filter(|v| v.1 > 0.0).collect();
    let purity = att.iter().map(|v| v.1 / v.0).sum::<f64>() / att.len() as f64;
    let perc = tot.iter().filter(|(h, _)| !bg[h]).map(|(_, v)| (v.0 - v.1) / ben).fold(0.0, f64::max);
    // steps' majority
    let mut steps: BTreeMap<&str, BTreeMap<u64, usize>> = BTreeMap::new();
    for (h, l) in home.iter().zip(&lab) {
        if l != "-" && l != "dnsteal" {
            *steps.entry(l).or_default().entry(*h).or_default() += 1;
        }
    }
    let mut hs: BTreeMap<u64, usize> = BTreeMap::new();
    for m in steps.values() {
        let b = m.iter().max_by_key(|x| x.1).unwrap();
        *hs.entry(*b.0).or_default() += 1;
    }
    let joined = *hs.values().max().unwrap() as f64 / steps.len() as f64;
    let cinc = tot.values().filter(|v| v.2 > 0.0).count();
    if dbg {
        for (h, v) in tot.iter().filter(|(_, v)| v.1 > 0.0) {
            println!("   {h} {:?} bg={}", v, bg[h]);
        }
        println!("entries {}", links.entries());
    }
    (
        lab.len(),
        tot.len(),
        100.0 * (1.0 - tot.len() as f64 / lab.len() as f64),
        att.len(),
        purity,
        joined,
        perc.max(cinc as f64 * 1e-9),
    )
}
fn main() {
    let dbg = std::env::args().nth(1).is_some();
    let go = |label: &str, s: LinkSettings| {
        let r: Vec<_> = ["fox", "russellmitchell", "santos", "wheeler"]
            .iter()
            .map(|n| run(&format!("/tmp/ait_{n}.tsv"), &s, dbg))
            .collect();
        println!(
            "{label:24} red {:?} att {:?} pur {:?} joined {:?} perc {:?} inc {:?}",
            r.iter().map(|x| (x.2 * 100.0).round() / 100.0).collect::<Vec<_>>(),
            r.iter().map(|x| x.3).collect::<Vec<_>>(),
            r.iter().map(|x| (x.4 * 100.0).round() / 100.0).collect::<Vec<_>>(),
            r.iter().map(|x| (x.5 * 100.0).round() / 100.0).collect::<Vec<_>>(),
            r.iter().map(|x| (x.6 * 1000.0).round() / 1000.0).collect::<Vec<_>>(),
            r.iter().map(|x| x.1).collect::<Vec<_>>()
        );
    };
    let d = LinkSettings::default();
    go("default", d.clone());
    if dbg {
        return;
    }
    for n in [75, 90, 120] {
        go(&format!("rare gap {n}"), LinkSettings { background_rare_gap_s: n, ..d.clone() });
    }
    for n in [700, 1000, 1300] {
        go(&format!("novelty {n}"), LinkSettings { entity_novelty: n, rule_novelty: n, ..d.clone() });
    }
    go(
        "strict",
        LinkSettings {
            entity_novelty: 500,
            rule_novelty: 700,
            coincidences_max: 2.0,
            degree_max: 32,
            background_rare_gap_s: 90,
            ..d.clone()
        },
    );
    go(
        "strict",
        LinkSettings {
            entity_novelty: 500,
            rule_novelty: 700,
            coincidences_max: 2.0,
            degree_max: 32,
            background_rare_gap_s: 90,
            background_common_hours: 3.0,
            ..d.clone()
        },
    );
}
