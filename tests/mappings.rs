//! The mapping files that Quell ships: their examples hold, and real records of each product are all accounted for.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use quell::ingest::{FileReader, Framed, Limits, Origin};
use quell::normalize::{Normalizer, Parsed, SourceSettings, example};
use quell::plan::catalog::Parts;
use quell::plan::mapping::{Mapping, TimeFormat};
use quell::record::Names;

fn here(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn shipped() -> Vec<Mapping> {
    let parts = Parts::read(&here("dataflows/pipeline.yml"));
    let faults: Vec<String> = parts.faults.iter().map(ToString::to_string).collect();
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    parts.mappings
}

#[derive(Debug, Default, PartialEq, Eq)]
struct Sums {
    records: u64,
    alerts: u64,
    rejects: u64,
    ignored: u64,
    without_entity: u64,
    reasons: Vec<String>,
}

fn read(path: &Path, mappings: &[Mapping]) -> Sums {
    let names = Arc::new(Names::default());
    let (name, tenant) = (names.intern("real"), names.intern("default"));
    let settings = SourceSettings {
        name,
        tenant,
        tenant_from_field: false,
        zone: jiff::tz::TimeZone::UTC,
        as_of: 1_893_456_000_000,
        future_max_ms: 86_400_000,
    };
    let mut normalizer = Normalizer::new(mappings, settings, names);
    let (mut sums, mut parsed) = (Sums::default(), Parsed::default());
    for framed in
        FileReader::open(path, Origin { source: name, tenant }, Limits::default()).expect("it is there")
    {
        match framed {
            Framed::Chunk(chunk) => {
                assert_eq!(sums.records, chunk.ordinal, "ordinals follow");
                normalizer.parse(&chunk, &mut parsed);
                sums.records += parsed.records;
                sums.alerts += parsed.alerts.len() as u64;
                sums.rejects += parsed.rejects.len() as u64;
                sums.ignored += parsed.ignored_count();
                sums.without_entity += parsed.alerts.iter().filter(|a| a.entities.is_empty()).count() as u64;
                sums.reasons.extend(parsed.rejects.iter().take(3).map(|reject| reject.reason.clone()));
            }
            Framed::Reject(reject) => {
                sums.records += 1;
                sums.rejects += 1;
                sums.reasons.push(reject.reason);
            }
        }
    }
    assert_eq!(sums.records, sums.alerts + sums.rejects + sums.ignored, "{}", path.display());
    sums
}

/// Reads every file of a folder of real data.
fn each(folder: &str, check: impl Fn(&str, &Sums)) {
    let lies = |above: &Path| above.join("shared/data").join(folder);
    let found = here("").ancestors().skip(1).map(lies).find(|data| data.is_dir());
    let Some(files) = found.and_then(|data| std::fs::read_dir(data).ok()) else {
        eprintln!("skipped: shared/data/{folder} lies in no folder above the project");
        return;
    };
    let mappings = shipped();
    for file in files {
        let path = file.expect("it can be listed").path();
        let sums = read(&path, &mappings);
        eprintln!("{}: {sums:?}", path.display());
        assert!(sums.records > 0, "{}", path.display());
        check(&path.file_name().unwrap_or_default().to_string_lossy(), &sums);
    }
}

#[test]
fn every_example_holds() {
    let mappings = shipped();
    assert!(mappings.len() >= 8);
    let faults: Vec<String> =
        mappings.iter().flat_map(|m| example::check(m, &mappings)).map(|f| f.to_string()).collect();
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn a_time_without_a_zone_is_read_wherever_one_with_a_zone_is() {
    for mapping in shipped() {
        let formats = &mapping.time.formats;
        assert!(
            !formats.contains(&TimeFormat::Rfc3339) || formats.contains(&TimeFormat::Iso8601),
            "{}: the source's zone is never asked for",
            mapping.file.display()
        );
    }
}

#[test]
fn suricata_alerts_are_all_taken() {
    each("suricata", |file, sums| {
        assert_eq!((sums.alerts, sums.without_entity), (sums.records, 0), "{file}");
    });
}

#[test]
fn wazuh_alerts_are_all_taken() {
    each("wazuh", |file, sums| assert_eq!((sums.alerts, sums.without_entity), (sums.records, 0), "{file}"));
}

#[test]
fn zeek_notices_and_weirds_are_alerts_and_the_rest_is_ignored() {
    each("zeek", |file, sums| {
        let alerts = file.starts_with("notice") || file.starts_with("weird");
        assert_eq!(sums.rejects, 0, "{file}");
        // An SSH connection of many tries is what a rule is about.
        let matched = if file.starts_with("ssh") { sums.alerts } else { 0 };
        assert_eq!(if alerts { sums.alerts } else { sums.ignored + matched }, sums.records, "{file}");
    });
}

#[test]
fn ait_alerts_are_all_taken() {
    each("ait-ads", |file, sums| assert_eq!((sums.alerts, sums.without_entity), (sums.records, 0), "{file}"));
}
