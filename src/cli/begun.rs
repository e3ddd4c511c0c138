//! Begun: what an archive was begun with, beside what it is to go on with, for people who must make them the same.

use std::collections::BTreeSet;

use serde_json::Value;

/// What is otherwise, in words; nothing where they are the same. What one of them does not tell (an older version did not) is not
/// held against the other.
pub(super) fn differences(before: &str, now: &Value) -> Vec<String> {
    let Ok(before) = serde_json::from_str::<Value>(before) else {
        return vec!["its log does not tell how".to_owned()];
    };
    let keys = |value: &Value| -> Vec<String> {
        value.as_object().map(|object| object.keys().cloned().collect()).unwrap_or_default()
    };
    let all: BTreeSet<String> = keys(&before).into_iter().chain(keys(now)).collect();
    all.iter().flat_map(|key| difference(key, &before[key], &now[key])).collect()
}

fn difference(key: &str, before: &Value, now: &Value) -> Vec<String> {
    if before == now {
        return Vec::new();
    }
    let name = match key {
        "inputs" => return inputs(list(before), list(now)),
        "command" => "the command".to_owned(),
        "plan" => "the plan".to_owned(),
        "sources" => "the list of sources".to_owned(),
        "model" => "the model".to_owned(),
        option => format!("--{}", option.replace('_', "-")),
    };
    vec![format!("{name} was {} and is {}", shown(before), shown(now))]
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn shown(value: &Value) -> String {
    match value {
        Value::Null | Value::Bool(false) => "not given".to_owned(),
        Value::Bool(true) => "given".to_owned(),
        Value::String(text) => text.clone(),
        Value::Array(items) => items.iter().map(shown).collect::<Vec<_>>().join(", "),
        Value::Number(_) | Value::Object(_) => value.to_string(),
    }
}

/// Files as name, size and fingerprint; an archive as what its log says of it.
fn inputs(before: &[Value], now: &[Value]) -> Vec<String> {
    let name = |input: &Value| input[0].as_str().map(str::to_owned);
    let find = |inputs: &[Value], wanted: &Value| inputs.iter().find(|it| name(it) == name(wanted)).cloned();
    let (mut differ, mut order) = (Vec::new(), Vec::new());
    for was in before {
        let Some(told) = name(was) else {
            differ.extend(
                (!now.contains(was))
                    .then(|| "the archive that is replayed is another, or has gone on".to_owned()),
            );
            continue;
        };
        let Some(is) = find(now, was) else {
            differ.push(format!("the input {told} was there and is not"));
            continue;
        };
        if was[1] != is[1] {
            differ.push(format!("the input {told} had {} bytes and has {}", was[1], is[1]));
        } else if was[2] != is[2] && !was[2].is_null() && !is[2].is_null() {
            differ.push(format!("the input {told} has changed, though its size has not"));
        }
        order.push(told);
    }
    let new: Vec<String> = now.iter().filter(|is| find(before, is).is_none()).filter_map(name).collect();
    differ.extend(new.iter().map(|new| format!("the input {new} was not there and is")));
    let now: Vec<String> = now.iter().filter_map(name).collect();
    if differ.is_empty() && order != now {
        differ.push(format!("the inputs were {} and are {}", order.join(", "), now.join(", ")));
    }
    differ
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_differs_is_told_in_words() {
        let was = json!({
            "plan": "aaa", "batch": 100, "arrival": false, "model": null, "sources": ["a (file)"],
            "inputs": [["a.jsonl", 10, "f1"], ["b.jsonl", 20, "f2"]],
        });
        let with = |key: &str, value: Value| {
            let mut now = was.clone();
            now[key] = value;
            differences(&was.to_string(), &now).join("; ")
        };
        assert_eq!(with("plan", json!("aaa")), "");
        assert_eq!(with("plan", json!("bbb")), "the plan was aaa and is bbb");
        assert_eq!(with("batch", json!(200)), "--batch was 100 and is 200");
        assert_eq!(with("arrival", json!(true)), "--arrival was not given and is given");
        assert_eq!(with("model", json!("v2")), "the model was not given and is v2");
        let sources = with("sources", json!(["a (file)", "b (http)"]));
        assert_eq!(sources, "the list of sources was a (file) and is a (file), b (http)");
        let a = json!(["a.jsonl", 10, "f1"]);
        for (b, told) in [
            (json!(["b.jsonl", 20, "f2"]), ""),
            (json!(["b.jsonl", 20, "f3"]), "the input b.jsonl has changed, though its size has not"),
            (json!(["b.jsonl", 21, "f3"]), "the input b.jsonl had 20 bytes and has 21"),
            (json!(["b.jsonl", 20]), ""),
            (json!(["b.jsonl", 20, null]), ""),
        ] {
            assert_eq!(with("inputs", json!([a, b])), told);
        }
        let other = with("inputs", json!([a, ["c.jsonl", 20, "f2"]]));
        assert_eq!(other, "the input b.jsonl was there and is not; the input c.jsonl was not there and is");
        let turned = with("inputs", json!([["b.jsonl", 20, "f2"], a]));
        assert_eq!(turned, "the inputs were a.jsonl, b.jsonl and are b.jsonl, a.jsonl");
    }
}
