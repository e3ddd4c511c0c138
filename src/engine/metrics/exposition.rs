//! Exposition: Prometheus' text format 0.0.4 (<https://prometheus.io/docs/instrumenting/exposition_formats/>), which all who
//! scrape can read. A name is told once, with its help and its type before its samples.

use std::fmt::{Display, Write as _};

/// A label's name and value; the value may be any text.
pub(super) type Label = (&'static str, String);

/// Upper bounds of what is timed, in seconds: from a turn of ingest to a broker that is away.
const SECONDS: [f64; 15] =
    [0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0];

/// How long something took, how often.
#[derive(Debug, Default)]
pub(super) struct Histogram {
    /// How many were within each of [`SECONDS`] and not within the one before.
    within: [u64; SECONDS.len()],
    count: u64,
    sum: f64,
}

impl Histogram {
    /// It took so many seconds, so many times.
    pub(super) fn observe(&mut self, seconds: f64, times: u64) {
        if let Some(at) = SECONDS.iter().position(|bound| seconds <= *bound) {
            self.within[at] += times;
        }
        self.count += times;
        self.sum += seconds * times as f64;
    }
}

/// Text in the making. What is written to memory is always written.
#[derive(Default)]
pub(super) struct Out(String);

impl Out {
    pub(super) fn gauge(&mut self, name: &str, help: &str, value: impl Display) {
        self.gauges(name, help, [(Vec::new(), value)]);
    }

    pub(super) fn gauges<V: Display>(
        &mut self,
        name: &str,
        help: &str,
        all: impl IntoIterator<Item = (Vec<Label>, V)>,
    ) {
        self.family(name, help, "gauge");
        all.into_iter().for_each(|(labels, value)| self.sample(name, "", &labels, value));
    }

    pub(super) fn counter(&mut self, name: &str, help: &str, value: u64) {
        self.counters(name, help, [(Vec::new(), value)]);
    }

    pub(super) fn counters(
        &mut self,
        name: &str,
        help: &str,
        all: impl IntoIterator<Item = (Vec<Label>, u64)>,
    ) {
        self.family(name, help, "counter");
        all.into_iter().for_each(|(labels, value)| self.sample(name, "", &labels, value));
    }

    pub(super) fn histogram(&mut self, name: &str, help: &str, said: &Histogram) {
        self.family(name, help, "histogram");
        let mut within = 0;
        for (bound, count) in SECONDS.iter().zip(said.within) {
            within += count;
            // A bound is a floating-point number, and is written as one.
            self.sample(name, "_bucket", &[("le", format!("{bound:?}"))], within);
        }
        self.sample(name, "_bucket", &[("le", "+Inf".to_owned())], said.count);
        self.sample(name, "_sum", &[], said.sum);
        self.sample(name, "_count", &[], said.count);
    }

    /// The whole text.
    pub(super) fn finish(self) -> String {
        self.0
    }

    fn family(&mut self, name: &str, help: &str, kind: &str) {
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    fn sample(&mut self, name: &str, suffix: &str, labels: &[Label], value: impl Display) {
        let _ = write!(self.0, "{name}{suffix}");
        for (at, (name, value)) in labels.iter().enumerate() {
            let open = if at == 0 { '{' } else { ',' };
            let value = value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
            let _ = write!(self.0, "{open}{name}=\"{value}\"");
        }
        let close = if labels.is_empty() { "" } else { "}" };
        let _ = writeln!(self.0, "{close} {value}");
    }
}
