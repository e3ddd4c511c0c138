//! Sigma rules that others wrote, on events that others recorded: every rule loads, every regression case matches as
//! often as it says, and recorded attacks become incidents. Skipped, saying so, where the data are not there.

#[path = "../common/mod.rs"]
mod common;
mod unpack;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use common::{asking_plan, conserved, count, digest, real, replay, source, summary};
use quell::archive::Reader;
use quell::ingest::{Framed, Framer, Limits, Origin};
use quell::normalize::{Normalizer, Parsed};
use quell::plan::catalog::Parts;
use quell::record::{AlertId, IncidentId, Names};
use tempfile::TempDir;

/// Cases whose `info.yml` counts one match although the rule, read by a person, holds for each of their events.
const MISCOUNTED: [(&str, usize); 2] =
    [("45e112d0-7759-4c2a-aa36-9f8fb79d3393", 3), ("c7dcacd0-cc59-4004-b0a4-1d6cdebe6f3e", 2)];

/// What some of the recorded attacks must be seen to be.
const TECHNIQUES: [(&str, &str); 18] = [
    ("cmd_psexec_lsa_secrets_dump", "T1003.004"),
    ("cmd_seatbelt_group_user", "T1087"),
    ("cmd_service_mod_fax", "T1543.003"),
    ("cmd_sharpview_pcre_net", "T1069.002"),
    ("covenant_psremoting_command", "T1021.006"),
    ("covenant_sc_query_dcerpc_smb_svcctl", "T1007"),
    ("covenant_wmi_wbemcomn_dll_hijack", "T1047"),
    ("empire_dcsync_dcerpc_drsuapi_DsGetNCChanges", "T1003.006"),
    ("empire_launcher_vbs", "T1059.005"),
    ("empire_mimikatz_backupkeys_dcerpc_smb_lsarpc", "T1003.004"),
    ("empire_persistence_registry_modification_run_keys_elevated_user", "T1547.001"),
    ("empire_psexec_dcerpc_tcp_svcctl", "T1569.002"),
    ("empire_schtasks_creation_standard_user", "T1053.005"),
    ("empire_shell_samr_EnumDomainUsers", "T1087.002"),
    ("empire_uac_shellapi_fodhelper", "T1548.002"),
    ("empire_wmi_dcerpc_wmi_IWbemServices_ExecMethod", "T1047"),
    ("reg_cmd_process_commandline_logging_disabled", "T1112"),
    ("schtask_modification", "T1053.005"),
];

/// The shipped plan, which asks before it acts, with the public rules in place of its own.
fn plan() -> Option<&'static Path> {
    static PLAN: OnceLock<Option<TempDir>> = OnceLock::new();
    let plan = PLAN.get_or_init(|| {
        let rules = real("sigma/rules.tar.gz")?;
        let folder = tempfile::tempdir().expect("a folder");
        asking_plan(folder.path());
        fs::remove_dir_all(folder.path().join("rules")).expect("own rules are there");
        unpack::tar_gz(&rules, &folder.path().join("rules"));
        Some(folder)
    });
    plan.as_ref().map(TempDir::path)
}

fn parts() -> Option<Parts> {
    Some(Parts::read(&plan()?.join("pipeline.yml")))
}

/// The rules of the alerts that records become, in order; with what was ignored and rejected.
fn detect(parts: &Parts, text: &str) -> (Vec<String>, u64, Vec<String>) {
    let names = Arc::new(Names::default());
    let settings = source("events", &names);
    let origin = Origin { source: settings.name, tenant: settings.tenant };
    let mut normalizer = Normalizer::new(&parts.mappings, settings, Arc::clone(&names));
    let mut framed = Vec::new();
    let mut framer = Framer::new(origin, Limits::default());
    framer.feed(text.as_bytes(), &mut framed);
    framer.finish(&mut framed);
    let (mut parsed, mut rules, mut ignored, mut rejects) = (Parsed::default(), Vec::new(), 0, Vec::new());
    for framed in framed {
        match framed {
            Framed::Chunk(chunk) => {
                normalizer.parse(&chunk, &mut parsed);
                let further = parsed.alerts.iter().filter(|alert| alert.further).count();
                let records = parsed.alerts.len() - further + parsed.rejects.len();
                assert_eq!(
                    parsed.records,
                    records as u64 + parsed.ignored_count(),
                    "every record is something"
                );
                rules.extend(parsed.alerts.iter().map(|alert| names.get(alert.rule)));
                ignored += parsed.ignored_count();
                rejects.extend(parsed.rejects.iter().map(|reject| reject.reason.clone()));
            }
            Framed::Reject(reject) => rejects.push(reject.reason),
        }
    }
    (rules, ignored, rejects)
}

#[test]
fn public_rules_load_or_are_refused_with_a_reason() {
    let Some(parts) = parts() else { return };
    let mut by_reason: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for fault in &parts.faults {
        let place = fault.file.strip_prefix(plan().expect("it was made")).unwrap_or(&fault.file);
        by_reason.entry(&fault.what).or_default().push(format!("{}:{:?}", place.display(), fault.line));
    }
    let routers = parts.mappings.iter().filter_map(|mapping| mapping.detection.as_ref()?.router.as_ref());
    let reached: BTreeSet<usize> = routers.flat_map(|router| router.reached()).collect();
    let loaded = parts.rules.all().len();
    eprintln!("{loaded} rules loaded, {} of log sources that a mapping gives", reached.len());
    for (reason, places) in &by_reason {
        eprintln!("refused: {reason}: {}", places.join(", "));
    }
    assert_eq!(loaded + parts.faults.len(), 3_754, "each rule is loaded or refused");
    assert_eq!(parts.faults.len(), 0, "none was refused before");
}

/// A regression case: its rule, how often it must match, its events.
fn case(info: &Path) -> (String, usize, String) {
    let text = fs::read_to_string(info).expect("it can be read");
    let after = |key: &str| {
        text.split_once(key).map(|(_, rest)| rest.lines().next().unwrap_or_default().trim().to_owned())
    };
    let metadata = text.split_once("rule_metadata:").expect("it names its rule").1;
    let rule = metadata
        .split_once("id:")
        .expect("it has an id")
        .1
        .lines()
        .next()
        .unwrap_or_default()
        .trim()
        .to_owned();
    let count = after("match_count:").map_or(1, |count| count.parse().expect("a number"));
    let files = fs::read_dir(info.parent().expect("it lies in a folder")).expect("it can be listed");
    let mut files: Vec<PathBuf> = files.map(|entry| entry.expect("it can be listed").path()).collect();
    files.retain(|file| file.extension().is_some_and(|ext| ext == "json"));
    let events = files.iter().map(|file| fs::read_to_string(file).expect("UTF-8")).collect();
    (rule, count, events)
}

fn infos(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("it can be listed") {
        let path = entry.expect("it can be listed").path();
        if path.is_dir() {
            infos(&path, found);
        } else if path.ends_with("info.yml") {
            found.push(path);
        }
    }
}

#[test]
fn regression_cases_match_as_often_as_they_say() {
    let (Some(parts), Some(packed)) = (parts(), real("sigma/regression.tar.gz")) else { return };
    let folder = tempfile::tempdir().expect("a folder");
    unpack::tar_gz(&packed, folder.path());
    let mut cases = Vec::new();
    infos(folder.path(), &mut cases);
    let mut wrong = Vec::new();
    for info in &cases {
        let (rule, expected, events) = case(info);
        // Each event by itself on a line, as a file of events has them.
        let events = serde_json::Deserializer::from_str(&events).into_iter::<serde_json::Value>();
        let lines: Vec<String> = events.map(|event| event.expect("JSON").to_string()).collect();
        let (rules, _, rejects) = detect(&parts, &lines.join("\n"));
        let miscounted = MISCOUNTED.iter().find(|(of, _)| *of == rule);
        let expected = miscounted.map_or(expected, |(_, count)| *count);
        let found = rules.iter().filter(|found| **found == rule).count();
        if found != expected || !rejects.is_empty() {
            let place = info.strip_prefix(folder.path()).unwrap_or(info).display();
            wrong.push(format!(
                "{place}: {rule} matches {found} times, not {expected}; {rejects:?}; {rules:?}"
            ));
        }
    }
    eprintln!("{} of {} cases match as they say", cases.len() - wrong.len(), cases.len());
    assert!(cases.len() >= 117 && wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The recordings among `only`, or all, unpacked into `folder`.
fn recordings(folder: &Path, only: &[&str]) -> Option<Vec<PathBuf>> {
    let packed = real("otrf-windows")?;
    let mut files = Vec::new();
    for entry in fs::read_dir(packed).expect("it can be listed") {
        let path = entry.expect("it can be listed").path();
        let name = path.file_stem().expect("a name").to_string_lossy().into_owned();
        if only.is_empty() || only.contains(&name.as_str()) {
            let file = folder.join(format!("{name}.json"));
            fs::write(&file, unpack::zip(&path)).expect("room");
            files.push(file);
        }
    }
    files.sort();
    Some(files)
}

/// Per source, how many alerts it gave and the ATT&CK ids of their incidents.
fn seen(archive: &Path) -> BTreeMap<String, (usize, BTreeSet<String>)> {
    let names = Arc::new(Names::default());
    let reader = Reader::open(archive, Arc::clone(&names)).expect("an archive");
    let mut of = BTreeMap::<AlertId, BTreeMap<IncidentId, i64>>::new();
    for member in reader.members(None).expect("members").map(|line| line.expect("a member")) {
        *of.entry(member.alert_id).or_default().entry(member.incident_id).or_default() += member.diff;
    }
    let mut last = BTreeMap::<IncidentId, (u64, Vec<String>)>::new();
    for row in reader.incidents(None).expect("incidents").map(|line| line.expect("an incident")) {
        let word = (u64::from(row.version), row.attacks.iter().map(|attack| names.get(*attack)).collect());
        let known = last.entry(row.incident_id).or_default();
        *known = word.max(std::mem::take(known));
    }
    let mut seen = BTreeMap::<String, (usize, BTreeSet<String>)>::new();
    for alert in reader.alerts(None).expect("alerts").map(|line| line.expect("an alert")) {
        let (alerts, attacks) = seen.entry(names.get(alert.source)).or_default();
        *alerts += 1;
        let incidents = of[&alert.alert_id].iter().filter(|(_, diff)| **diff > 0);
        for (_, said) in incidents.filter_map(|(incident, _)| last.get(incident)) {
            attacks.extend(said.iter().cloned());
        }
    }
    seen
}

#[test]
fn recorded_attacks_become_incidents_that_name_their_techniques() {
    let folder = tempfile::tempdir().expect("a folder");
    let (Some(plan), Some(files)) = (plan(), recordings(folder.path(), &[])) else { return };
    let inputs: Vec<&Path> = files.iter().map(PathBuf::as_path).collect();
    let archive = folder.path().join("archive");
    let told = summary(&mut replay(&plan.join("pipeline.yml"), &inputs, &archive, &["--workers", "2"]));
    conserved(&told);
    let seen = seen(&archive);
    for (source, (alerts, attacks)) in &seen {
        eprintln!("{alerts} alerts of {source}: {}", attacks.iter().cloned().collect::<Vec<_>>().join(" "));
    }
    eprintln!("{told}");
    assert_eq!(count(&told, "rejects"), 0, "every recorded event is read");
    // One, of a database read over the network, shows only connections of Windows' own filter, which no rule is about.
    assert!(seen.len() + 1 >= files.len(), "recordings with alerts: {:?}", seen.keys());
    for (recording, technique) in TECHNIQUES {
        let attacks = &seen[&format!("{recording}.json")].1;
        assert!(attacks.contains(technique), "{recording} lacks {technique}: {attacks:?}");
    }
}

#[test]
fn recorded_attacks_give_the_same_for_any_workers_and_batches() {
    let only = [
        "cmd_psexec_lsa_secrets_dump",
        "empire_launcher_vbs",
        "empire_shell_samr_EnumDomainUsers",
        "schtask_modification",
    ];
    let folder = tempfile::tempdir().expect("a folder");
    let (Some(plan), Some(files)) = (plan(), recordings(folder.path(), &only)) else { return };
    let inputs: Vec<&Path> = files.iter().map(PathBuf::as_path).collect();
    let run = |name: &str, inputs: &[&Path], more: &[&str]| {
        let archive = folder.path().join(name);
        conserved(&summary(&mut replay(&plan.join("pipeline.yml"), inputs, &archive, more)));
        digest(&archive)
    };
    let one = run("one", &inputs, &[]);
    assert_eq!(run("two", &inputs, &["--workers", "2", "--batch", "17"]), one);
    assert_eq!(run("again", &[&folder.path().join("one")], &["--batch", "100"]), one);
}

#[test]
fn public_cloudtrail_samples_are_events() {
    let (Some(parts), Some(packed)) = (parts(), real("panther/rule_tests.ndjson.gz")) else { return };
    let mut text = String::new();
    let mut samples = flate2::read::GzDecoder::new(fs::File::open(packed).expect("it can be opened"));
    std::io::Read::read_to_string(&mut samples, &mut text).expect("gzip");
    let samples = text.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).expect("JSON"));
    let logs = samples.map(|mut sample| sample["log"].take());
    let known = |log: &serde_json::Value| log["eventName"].is_string() && log["eventSource"].is_string();
    let events: Vec<String> = logs.filter(known).map(|log| log.to_string()).collect();
    let (rules, ignored, rejects) = detect(&parts, &events.join("\n"));
    eprintln!("{} samples: {} alerts, {ignored} ignored, {rejects:?}", events.len(), rules.len());
    assert!(events.len() > 200 && rules.len() > 100);
    // Samples are cut by hand: some have no time, or `redacted` for one.
    let untimed = rejects.iter().filter(|reason| reason.starts_with("no usable time")).count();
    assert!(rejects.len() == untimed && untimed < 5, "{rejects:?}");
}
