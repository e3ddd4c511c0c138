//! Zones against a scan of all networks for each address, as rows and addresses come and go.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Mutex;

use differential_dataflow::input::InputSession;
use proptest::prelude::*;
use timely::dataflow::ProbeHandle;

use super::*;
use crate::record::{Diff, Epoch, Exposure};

/// An address as bits, by family.
fn bits(text: &str) -> (bool, u128) {
    match text.parse().unwrap() {
        IpAddr::V4(v4) => (true, u128::from(v4.to_bits()) << 96),
        IpAddr::V6(v6) => (false, v6.to_bits()),
    }
}

/// Whether a network as written has an address as written, bit by bit; then its length.
fn has(net: &str, address: &str) -> Option<u8> {
    let (first, length) = net.split_once('/').unwrap();
    let (length, first, address): (u8, _, _) = (length.parse().unwrap(), bits(first), bits(address));
    let same = |at: u8| first.1 >> (127 - at) & 1 == address.1 >> (127 - at) & 1;
    (first.0 == address.0 && (0..length).all(same)).then_some(length)
}

/// Addresses of either family whose prefixes meet often.
fn address_text() -> impl Strategy<Value = String> {
    let octet = prop::sample::select(vec![0u8, 1, 10, 127, 128, 129, 255]);
    (any::<bool>(), prop::array::uniform4(octet)).prop_map(|(v4, [a, b, c, d])| {
        if v4 { format!("{a}.{b}.{c}.{d}") } else { format!("20{a:02x}:db8:{b:x}{c:02x}::{d:x}") }
    })
}

fn net_text() -> impl Strategy<Value = String> {
    (address_text(), 0u8..=128).prop_map(|(address, length)| {
        let most = if address.contains('.') { 32 } else { 128 };
        Net::parse(&format!("{address}/{}", length % (most + 1))).unwrap().to_string()
    })
}

/// A network, whose row it is (0: everybody's), and the number of its zone.
type Row = (String, u8, u8);
/// A tenant and an address.
type Host = (u8, String);
/// Changes of both sides.
type Step = (Vec<(Row, Diff)>, Vec<(Host, Diff)>);
/// Zones by tenant and address.
type Lies = BTreeMap<(String, String), String>;

/// What an address of a tenant lies in, by looking through all rows.
fn scan(rows: &BTreeSet<Row>, (tenant, address): &Host) -> Option<String> {
    let own = rows.iter().filter(|(_, whose, _)| *whose == 0 || whose == tenant);
    let found = own.filter_map(|(net, whose, zone)| Some((has(net, address)?, *whose, *zone)));
    let best = found.min_by_key(|(length, whose, zone)| (Reverse(*length), *whose == 0, *zone));
    best.map(|(.., zone)| format!("z{zone}"))
}

fn tenant(n: u8, names: &Names) -> Sym {
    if n == 0 { Sym::EMPTY } else { names.intern(&format!("t{n}")) }
}

fn ip(text: &str, names: &Names) -> Entity {
    Entity { kind: EntityKind::Ip, value: names.intern(text) }
}

/// All changes that come out, by epoch from 0, one a step.
fn changes(steps: &[Step], names: &Arc<Names>) -> Vec<((Entity, ContextRow), Epoch, Diff)> {
    let (with, steps) = (Arc::clone(names), steps.to_vec());
    let heard = Arc::new(Mutex::new(Vec::new()));
    let hears = Arc::clone(&heard);
    timely::execute_directly(move |worker| {
        let mut rows = InputSession::<Epoch, _, Diff>::new();
        let mut addresses = InputSession::<Epoch, _, Diff>::new();
        let probe = ProbeHandle::new();
        worker.dataflow(|scope| {
            zones(addresses.to_collection(scope), rows.to_collection(scope), &with)
                .inspect(move |change| hears.lock().unwrap().push(*change))
                .probe_with(&probe);
        });
        for (next, (tables, watched)) in (1..).zip(steps) {
            for ((net, whose, zone), diff) in tables {
                let zone = with.intern(&format!("z{zone}"));
                let known = Known::Zones { zone, exposure: Exposure::Internal };
                let row = ContextRow { tenant: tenant(whose, &with), protected: false, known };
                rows.update((ip(&net, &with), row), diff);
            }
            for ((whose, address), diff) in watched {
                addresses.update((tenant(whose, &with), ip(&address, &with)), diff);
            }
            rows.advance_to(next);
            addresses.advance_to(next);
            rows.flush();
            addresses.flush();
            worker.step_while(|| probe.less_than(&next));
        }
    });
    let heard = heard.lock().unwrap();
    heard.clone()
}

/// What stands after each step.
fn run(steps: &[Step]) -> Vec<Lies> {
    let names = Arc::new(Names::default());
    let heard = changes(steps, &names);
    let at = |last: Epoch| {
        let mut sums: BTreeMap<(Entity, ContextRow), Diff> = BTreeMap::new();
        for (row, _, diff) in heard.iter().filter(|(_, epoch, _)| *epoch <= last) {
            *sums.entry(*row).or_default() += *diff;
        }
        sums.retain(|_, sum| *sum != 0);
        assert!(sums.values().all(|sum| *sum == 1), "an address lies in one zone");
        let text = |(entity, row): (Entity, ContextRow)| {
            let Known::Zones { zone, .. } = row.known else { unreachable!("only zones come out") };
            ((names.get(row.tenant), names.get(entity.value)), names.get(zone))
        };
        sums.into_keys().map(text).collect()
    };
    (0..steps.len() as Epoch).map(at).collect()
}

/// Adds what is not there, and takes away what is; the change.
fn toggle<T: Ord + Clone>(set: &mut BTreeSet<T>, item: &T) -> (T, Diff) {
    let diff = if set.remove(item) { -1 } else { 1 };
    if diff > 0 {
        set.insert(item.clone());
    }
    (item.clone(), diff)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// At any moment each watched address lies where a scan of all networks finds it.
    #[test]
    fn the_longest_prefix_wins(
        pool in prop::collection::vec((net_text(), 0u8..3, 0u8..4), 1..12),
        hosts in prop::collection::vec((1u8..3, address_text()), 1..12),
        turns in prop::collection::vec(prop::collection::vec(any::<prop::sample::Index>(), 0..6), 1..8),
    ) {
        let spelt = |text: &str| text.parse::<IpAddr>().unwrap().to_string();
        let hosts: Vec<Host> = hosts.into_iter().map(|(whose, text)| (whose, spelt(&text))).collect();
        let (mut rows, mut watched) = (BTreeSet::<Row>::new(), BTreeSet::<Host>::new());
        let (mut steps, mut want) = (Vec::<Step>::new(), Vec::<Lies>::new());
        for turn in turns {
            let mut step = Step::default();
            for which in turn {
                let at = which.index(pool.len() + hosts.len());
                match pool.get(at) {
                    Some(row) => step.0.push(toggle(&mut rows, row)),
                    None => step.1.push(toggle(&mut watched, &hosts[at - pool.len()])),
                }
            }
            steps.push(step);
            let lies = |host: &Host| Some(((format!("t{}", host.0), host.1.clone()), scan(&rows, host)?));
            want.push(watched.iter().filter_map(lies).collect());
        }
        prop_assert_eq!(run(&steps), want);
    }
}
