//! Vendors' samples that others collected: each log type that a mapping reads is read whole, by the mapping meant for it,
//! and public Sigma rules fire on what are events. Skipped, saying so, where the data are not there.

#[path = "common/mod.rs"]
mod common;
#[allow(dead_code, reason = "another test needs the other half")]
#[path = "sigma/unpack.rs"]
mod unpack;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::sync::Arc;

use common::{asking_plan, real, root, source};
use flate2::read::GzDecoder;
use quell::ingest::Chunk;
use quell::normalize::{Normalizer, Parsed};
use quell::plan::catalog::Parts;
use quell::record::Names;
use serde_json::Value;

/// The samples by log type. A sample is of the type that its store noted, or of the one that its rule is for.
fn samples() -> Option<BTreeMap<String, Vec<Value>>> {
    let file = File::open(real("panther/rule_tests.ndjson.gz")?).expect("it can be opened");
    let mut samples: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    for line in BufReader::new(GzDecoder::new(file)).lines() {
        let test: Value = serde_json::from_str(&line.expect("text")).expect("JSON");
        let log = &test["log"];
        let types = test["log_types"].as_array().map(Vec::as_slice).unwrap_or_default();
        let noted = log["p_log_type"].as_str().or(match types {
            [only] => only.as_str(),
            _ => None,
        });
        if let Some(kind) = noted.filter(|_| log.is_object()) {
            samples.entry(kind.to_owned()).or_default().push(log.clone());
        }
    }
    Some(samples)
}

/// What became of samples.
#[derive(Debug, Default, PartialEq, Eq)]
struct Sums {
    alerts: usize,
    ignored: usize,
    /// Refused because the sample holds no time of its own, and for nothing else.
    timeless: Vec<Value>,
    /// No mapping knows them.
    unknown: Vec<Value>,
    /// By the products that the mappings name.
    products: BTreeMap<String, usize>,
    rules: BTreeSet<String>,
    other: Vec<String>,
}

fn read(parts: &Parts, samples: &[Value]) -> Sums {
    let names = Arc::new(Names::default());
    let settings = source("samples", &names);
    let mut normalizer = Normalizer::new(&parts.mappings, settings, Arc::clone(&names));
    let (mut sums, mut parsed) = (Sums::default(), Parsed::default());
    for (sample, at) in samples.iter().zip(0..) {
        normalizer.parse(&Chunk::of_record(sample.to_string().into_bytes(), at, at), &mut parsed);
        if let Some(alert) = parsed.alerts.first() {
            sums.alerts += 1;
            *sums.products.entry(names.get(alert.product)).or_default() += 1;
        }
        sums.rules.extend(parsed.alerts.iter().map(|alert| names.get(alert.rule)));
        for (product, _) in parsed.ignored.keys() {
            sums.ignored += 1;
            *sums.products.entry(names.get(*product)).or_default() += 1;
        }
        for reject in &parsed.rejects {
            match reject.reason.as_str() {
                reason
                    if reason.starts_with("no usable time: its field is absent")
                        // Some samples had it taken out.
                        || reason.starts_with("no usable time: \"redacted\"") =>
                {
                    sums.timeless.push(sample.clone());
                }
                reason if reason.starts_with("no mapping takes") => sums.unknown.push(sample.clone()),
                reason => sums.other.push(format!("{reason}: {sample}")),
            }
        }
    }
    sums
}

/// A log type of which a mapping reads.
struct Kind {
    name: &'static str,
    /// A sample that has one field of each of these is whole, and is read. Others are cut to what a rule asks for.
    whole: &'static [&'static [&'static str]],
    /// The products that the mapping names, or those that its records name.
    products: &'static [&'static str],
    /// Samples: all, those that no mapping knows, alerts.
    counts: [usize; 3],
    /// How many are alerts by the public rules, or refused for want of a time; by how many rules.
    public: [usize; 3],
}

const KINDS: [Kind; 14] = [
    Kind {
        name: "AWS.CloudTrail",
        whole: &[&["/eventSource"], &["/eventName"], &["/eventVersion", "/awsRegion"]],
        products: &["aws"],
        counts: [292, 18, 5],
        public: [161, 2, 21],
    },
    Kind {
        name: "AWS.GuardDuty",
        whole: &[],
        products: &["aws guardduty"],
        counts: [6, 0, 6],
        public: [6, 0, 1],
    },
    Kind {
        name: "AWS.SecurityFindingFormat",
        whole: &[],
        products: &["DecoyDetector"],
        counts: [6, 0, 6],
        public: [6, 0, 3],
    },
    Kind {
        name: "Amazon.EKS.Audit",
        whole: &[&["/verb"], &["/objectRef"]],
        products: &["kubernetes"],
        counts: [91, 3, 0],
        public: [3, 21, 1],
    },
    Kind { name: "Azure.Audit", whole: &[], products: &["azure"], counts: [33, 0, 0], public: [2, 0, 2] },
    Kind {
        name: "Azure.MonitorActivity",
        whole: &[&["/operationName"], &["/resourceId", "/properties/log"]],
        products: &["azure", "kubernetes"],
        counts: [145, 1, 0],
        public: [27, 3, 8],
    },
    Kind {
        name: "Crowdstrike.EventStreams",
        whole: &[],
        products: &["crowdstrike"],
        counts: [9, 0, 0],
        public: [0, 0, 0],
    },
    Kind {
        name: "Crowdstrike.FDREvent",
        whole: &[&["/cid"]],
        products: &["crowdstrike"],
        counts: [50, 2, 8],
        public: [24, 0, 14],
    },
    Kind {
        name: "GCP.AuditLog",
        whole: &[&["/protoPayload/methodName"]],
        products: &["gcp"],
        counts: [124, 14, 1],
        public: [3, 0, 1],
    },
    Kind {
        name: "GitHub.Audit",
        whole: &[&["/action"], &["/actor", "/org"]],
        products: &["github"],
        counts: [70, 1, 2],
        public: [15, 3, 6],
    },
    Kind {
        name: "Microsoft365.Audit.AzureActiveDirectory",
        whole: &[],
        products: &["m365"],
        counts: [4, 0, 0],
        public: [0, 0, 0],
    },
    Kind {
        name: "MicrosoftDefenderXDR.AdvancedHunting",
        whole: &[],
        products: &["Microsoft Sentinel"],
        counts: [2, 0, 2],
        public: [2, 0, 1],
    },
    Kind {
        name: "MicrosoftGraph.SecurityAlertV2",
        whole: &[],
        products: &["microsoftDefenderForCloud", "microsoftDefenderForIdentity"],
        counts: [4, 0, 4],
        public: [4, 0, 3],
    },
    Kind {
        name: "Okta.SystemLog",
        whole: &[&["/actor"], &["/eventType", "/eventtype"]],
        products: &["okta"],
        counts: [68, 3, 0],
        public: [16, 7, 9],
    },
];

impl Kind {
    fn is_whole(&self, sample: &Value) -> bool {
        let has = |field: &&str| sample.pointer(field).is_some_and(|value| !value.is_null());
        self.whole.iter().all(|group| group.iter().any(has))
    }
}

#[test]
fn samples_are_read_by_the_mappings_meant_for_them() {
    let Some(samples) = samples() else { return };
    let parts = Parts::read(&root().join("dataflows/pipeline.yml"));
    assert_eq!(parts.faults, []);
    for kind in &KINDS {
        let of = &samples[kind.name];
        let sums = read(&parts, of);
        eprintln!(
            "{}: {} samples: {} alerts, {} of no concern, {} without a time, {} cut beyond recognition",
            kind.name,
            of.len(),
            sums.alerts,
            sums.ignored,
            sums.timeless.len(),
            sums.unknown.len()
        );
        assert_eq!([of.len(), sums.unknown.len(), sums.alerts], kind.counts, "{}", kind.name);
        let products: Vec<&str> = sums.products.keys().map(String::as_str).collect();
        assert_eq!(products, kind.products, "{}", kind.name);
        let whole: Vec<&Value> = sums.unknown.iter().filter(|sample| kind.is_whole(sample)).collect();
        assert!(whole.is_empty(), "{} is not read: {whole:#?}", kind.name);
        // An event without a time is of no concern until a rule matches it.
        let has_time =
            |sample: &&Value| TIMES.iter().any(|time| sample.pointer(time).is_some_and(|t| *t != "redacted"));
        let timed: Vec<&Value> = sums.timeless.iter().filter(has_time).collect();
        assert!(timed.is_empty(), "{} has a time that is not read: {timed:#?}", kind.name);
        assert_eq!(sums.other, Vec::<String>::new(), "{}", kind.name);
    }
}

/// Where vendors put the time.
const TIMES: [&str; 8] = [
    "/eventTime",
    "/published",
    "/timestamp",
    "/time",
    "/created_at",
    "/@timestamp",
    "/requestReceivedTimestamp",
    "/stageTimestamp",
];

/// The shipped plan with the public rules in place of its own.
fn public() -> Option<(tempfile::TempDir, Parts)> {
    let rules = real("sigma/rules.tar.gz")?;
    let folder = tempfile::tempdir().expect("a folder");
    let flow = asking_plan(folder.path());
    fs::remove_dir_all(folder.path().join("rules")).expect("own rules are there");
    unpack::tar_gz(&rules, &folder.path().join("rules"));
    let parts = Parts::read(Path::new(&flow));
    Some((folder, parts))
}

#[test]
fn public_rules_fire_on_samples() {
    let (Some(samples), Some((_folder, parts))) = (samples(), public()) else { return };
    let (mut found, mut wanted) = (Vec::new(), Vec::new());
    for kind in &KINDS {
        let sums = read(&parts, &samples[kind.name]);
        eprintln!("{}: {} alerts of {:?}", kind.name, sums.alerts, sums.rules);
        found.push((kind.name, [sums.alerts, sums.timeless.len(), sums.rules.len()]));
        wanted.push((kind.name, kind.public));
        assert_eq!(sums.other, Vec::<String>::new(), "{}", kind.name);
    }
    assert_eq!(found, wanted);
}
