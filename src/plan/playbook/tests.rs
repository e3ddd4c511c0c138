//! Tests: what is shipped loads, what is wrong is told with its line, what is not supported is refused.

use std::path::Path;

use super::*;

fn shipped(name: &str) -> String {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("dataflows/playbooks").join(name);
    std::fs::read_to_string(file).unwrap()
}

fn faults(text: &str) -> Vec<String> {
    let found = read(Path::new("p.json"), text).expect_err("it has faults");
    found.iter().map(ToString::to_string).collect()
}

#[test]
fn shipped_playbooks_load() {
    let playbooks = load(&Path::new(env!("CARGO_MANIFEST_DIR")).join("dataflows/playbooks")).unwrap();
    assert_eq!(playbooks.len(), 9);
    assert!(playbooks.is_sorted_by(|a, b| a.id < b.id));
    let lockdown = playbooks.iter().find(|it| it.name == "ransomware-lockdown").unwrap();
    assert_eq!(lockdown.verbs(), [Verb::Contain, Verb::Deny, Verb::Set, Verb::Notify, Verb::Copy]);
    assert_eq!(lockdown.target_kinds(), [EntityKind::Host, EntityKind::User, EntityKind::Hash]);
    for case in ["phishing", "lateral-movement", "credential-stuffing", "cloud-misconfiguration"] {
        assert_eq!(playbooks.iter().filter(|it| it.applies.use_case == case).count(), 2, "{case}");
    }
}

#[test]
fn the_hash_means_the_content() {
    let text = shipped("phishing-purge.json");
    let value: serde_json::Value = serde_json::from_str(&text).unwrap();
    let hash = |text: &str| read(Path::new("p.json"), text).unwrap().hash;
    assert_eq!(hash(&text), hash(&value.to_string()));
    assert_ne!(
        hash(&text),
        hash(&text.replace("\"impact\": 25,\n  \"labels\"", "\"impact\": 26,\n  \"labels\""))
    );
}

#[test]
fn all_faults_of_a_file_are_told_with_their_lines() {
    let text = shipped("credential-stuffing-block.json")
        .replace("\"verb\": \"deny\"", "\"verb\": \"smite\"")
        .replace("\"spec_version\": \"cacao-2.0\"", "\"spec_version\": \"cacao-1.1\"")
        .replace("\"use_case\"", "\"usecase\"")
        .replace("\"priority\"", "\"prioritee\"");
    let found = faults(&text);
    for wanted in ["`smite`", "spec_version is \"cacao-1.1\"", "`usecase`", "\"prioritee\" is not supported"]
    {
        let fault = found
            .iter()
            .find(|fault| fault.contains(wanted))
            .unwrap_or_else(|| panic!("{wanted}: {found:#?}"));
        let line = fault.split(':').nth(1).and_then(|line| line.parse::<usize>().ok());
        assert!(line.is_some_and(|line| line > 1), "{fault}");
    }
    let line = |fault: &str| fault.split(':').nth(1).unwrap().parse::<usize>().unwrap();
    let at = text.lines().position(|line| line.contains("prioritee")).unwrap() + 1;
    assert_eq!(line(found.iter().find(|fault| fault.contains("prioritee")).unwrap()), at);
}

/// A small workflow: `(label, type, rest of the body)`; labels become ids.
fn workflow(steps: &[(&str, &str, &str)]) -> String {
    let mut value: serde_json::Value = serde_json::from_str(&shipped("investigate-and-notify.json")).unwrap();
    let action =
        value["workflow"].as_object().unwrap().values().find(|it| it["commands"][0]["type"] == "manual");
    let action = action.unwrap().clone();
    let id = |label: &str, kind: &str| format!("{kind}--00000000-0000-4000-8000-00000000000{label}");
    let ids: Vec<(String, String)> =
        steps.iter().map(|(label, kind, _)| (format!("@{label}"), id(label, kind))).collect();
    let mut map = serde_json::Map::new();
    for (label, kind, rest) in steps {
        let mut body = if *kind == "action" { action.clone() } else { serde_json::json!({}) };
        body.as_object_mut().unwrap().remove("on_completion");
        body["type"] = (*kind).into();
        let mut rest = (*rest).to_owned();
        for (from, to) in &ids {
            rest = rest.replace(from, to);
        }
        let more: serde_json::Map<String, serde_json::Value> = serde_json::from_str(&rest).unwrap();
        body.as_object_mut().unwrap().extend(more);
        map.insert(id(label, kind), body);
    }
    value["workflow_start"] = ids[0].1.clone().into();
    value["workflow"] = map.into();
    serde_json::to_string_pretty(&value).unwrap()
}

#[test]
fn broken_workflows_are_refused() {
    let to = |label: &str| format!(r#"{{"on_completion": "@{label}"}}"#);
    let sound = workflow(&[("1", "start", &to("2")), ("2", "action", &to("3")), ("3", "end", "{}")]);
    read(Path::new("p.json"), &sound).unwrap();
    let both = r#"{"on_success": "@3", "on_completion": "@3"}"#;
    let parallel = r#"{"next_steps": ["@2", "@4"], "on_completion": "@3"}"#;
    for (steps, wanted) in [
        (
            vec![("1", "start", to("2")), ("2", "action", to("2")), ("3", "end", "{}".into())],
            "comes after itself",
        ),
        (
            vec![("1", "start", to("3")), ("2", "action", to("3")), ("3", "end", "{}".into())],
            "cannot be reached",
        ),
        (
            vec![("1", "start", to("2")), ("2", "action", to("9")), ("3", "end", "{}".into())],
            "which is no step",
        ),
        (
            vec![("1", "start", to("2")), ("2", "action", "{}".into()), ("3", "end", "{}".into())],
            "goes nowhere",
        ),
        (
            vec![("1", "start", to("2")), ("2", "action", both.into()), ("3", "end", "{}".into())],
            "beside others",
        ),
        (vec![("1", "start", to("2")), ("2", "action", to("3")), ("3", "end", to("2"))], "goes on"),
        (vec![("1", "start", to("3")), ("3", "end", "{}".into())], "no action"),
        (
            vec![("1", "start", to("2")), ("2", "while-condition", to("3")), ("3", "end", "{}".into())],
            "not supported",
        ),
        (
            vec![
                ("1", "start", to("5")),
                ("5", "parallel", parallel.into()),
                ("2", "action", to("3")),
                ("4", "action", to("3")),
                ("3", "end", "{}".into()),
            ],
            "runs into another",
        ),
    ] {
        let steps: Vec<_> = steps.iter().map(|(label, kind, rest)| (*label, *kind, rest.as_str())).collect();
        let found = faults(&workflow(&steps));
        assert!(found.iter().any(|fault| fault.contains(wanted)), "{wanted}: {found:#?}");
    }
}

#[test]
fn not_json_is_told_with_its_line() {
    assert!(faults("{\n\"a\": }")[0].starts_with("p.json:2: is not JSON"));
    assert!(faults("[]")[0].contains("not a JSON object"));
}

#[test]
fn playbooks_of_others_are_refused_for_what_is_not_supported_and_never_panic() {
    let Some(dir) = std::env::var_os("QUELL_CACAO_DIR") else {
        eprintln!(
            "skipped: set QUELL_CACAO_DIR to a folder of public CACAO playbooks (oasis, oca-iob, soarca, ...)"
        );
        return;
    };
    let dir = Path::new(&dir);
    let mut seen = 0;
    for folder in ["oca-iob", "oasis", "soarca", "other", "misp"] {
        for entry in std::fs::read_dir(dir.join(folder)).unwrap().map(Result::unwrap) {
            if entry.path().extension().is_none_or(|extension| extension != "json") {
                continue;
            }
            seen += 1;
            let text = std::fs::read_to_string(entry.path()).unwrap();
            let found = read(&entry.path(), &text).expect_err("none has our extension");
            for kind in ["if-condition", "switch-condition", "while-condition", "playbook-action"] {
                if text.contains(&format!("\"type\": \"{kind}\"")) && text.contains("cacao-2.0") {
                    let wanted = format!("step type {kind:?} is not supported");
                    assert!(
                        found.iter().any(|fault| fault.what.contains(&wanted)),
                        "{}",
                        entry.path().display()
                    );
                }
            }
        }
    }
    assert!(seen > 20, "{seen}");
}
