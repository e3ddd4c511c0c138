//! What is swept, and when, changes nothing: sweeps come when a turn does, and turns differ from run to run.

use proptest::prelude::*;

use super::{START, told};
use crate::correlate::link::Links;
use crate::plan::link::LinkSettings;
use crate::record::Names;
use std::sync::Arc;

/// One of the site's own, or a stranger's.
fn address(ip: u8) -> String {
    if ip.is_multiple_of(2) { format!("ip:203.0.113.{ip}") } else { format!("ip:10.0.0.{ip}") }
}

proptest! {
    #[test]
    fn sweeps_change_nothing(
        steps in prop::collection::vec((0i64..40_000, 0u8..4, 0u8..4, 0u8..6, any::<bool>()), 1..250),
    ) {
        let names = Arc::new(Names::default());
        let settings = LinkSettings { span_max_s: 6 * 86_400, ..LinkSettings::default() };
        let new = || Links::new(settings.clone(), Arc::clone(&names));
        let (mut swept, mut whole) = (new(), new());
        let mut tick = START;
        // What everybody does every hour, and then what comes as it comes: runs, pauses and days of silence.
        let usual = (0..24).flat_map(|_| (0..16).map(|n| (if n == 0 { 3_600 } else { 1 }, n % 4, n / 4, 9, false)));
        let steps = steps.into_iter().map(|(gap, host, rule, ip, sweep)| (gap, host, rule + 4, ip, sweep));
        for (n, (gap, host, rule, ip, sweep)) in (0..).zip(usual.chain(steps)) {
            tick += match gap % 8 {
                0 => gap * 4,
                1 | 2 => gap % 2_400,
                _ => gap % 60,
            };
            let entities = [format!("host:h{host}"), format!("user:u{}", (host + ip) % 4), address(ip)];
            let entities = entities.each_ref().map(String::as_str);
            let alert = told(n, tick, &format!("rule {rule}"), &entities, &names);
            let said = |links: &mut Links| {
                let verdict = links.alert(&alert, None);
                let closed = (1..links.next).filter(|it| links.closes(*it).is_some_and(|end| end < tick));
                for number in closed.collect::<Vec<_>>() {
                    links.forget(number);
                }
                (verdict.home, verdict.strength, verdict.absorbed.to_vec(), verdict.evidence.to_vec())
            };
            prop_assert_eq!(said(&mut swept), said(&mut whole));
            if sweep {
                swept.swept = 0;
                swept.sweep(tick);
            }
        }
    }
}
