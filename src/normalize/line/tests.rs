//! Lines: each format as it is met, what is broken, and two round trips.

use std::fmt::Write;

use proptest::prelude::*;

use super::*;

/// The line's fields as `path=value`.
fn told(text: &str) -> String {
    match Line::read(text) {
        Ok(line) => {
            let fields = line.fields.iter().map(|(key, value)| format!("{}={value}", key.path().join(".")));
            fields.chain(line.json.map(|json| format!("json={json}"))).collect::<Vec<_>>().join("\n")
        }
        Err(refusal) => format!("refused: {refusal}"),
    }
}

#[test]
fn rfc_5424_with_structured_data() {
    insta::assert_snapshot!(
        told(r#"<165>1 2003-10-11T22:14:15.003Z mymachine.example.com evntslog 77 ID47 [exampleSDID@32473 iut="3" eventSource="App \"x\" \]\\ \n"][b@1 c="d"] an application event"#),
        @r#"
    syslog.facility=local4
    syslog.severity=notice
    syslog.timestamp=2003-10-11T22:14:15.003Z
    syslog.host=mymachine.example.com
    syslog.appname=evntslog
    syslog.procid=77
    syslog.msgid=ID47
    syslog.structuredData.exampleSDID@32473.iut=3
    syslog.structuredData.exampleSDID@32473.eventSource=App "x" ]\ \n
    syslog.structuredData.b@1.c=d
    syslog.message=an application event
    "#
    );
    insta::assert_snapshot!(told("<0>1 - - - - - -"), @"
    syslog.facility=kern
    syslog.severity=emerg
    ");
    insta::assert_snapshot!(told("<14>1 - h a - - [empty@1] \u{feff}text"), @"
    syslog.facility=user
    syslog.severity=info
    syslog.host=h
    syslog.appname=a
    syslog.message=text
    ");
}

#[test]
fn rfc_3164_as_it_is_met() {
    insta::assert_snapshot!(told("<34>Oct 11 22:14:15 mymachine su: 'su root' failed for ada on /dev/pts/8"), @"
    syslog.facility=auth
    syslog.severity=crit
    syslog.timestamp=Oct 11 22:14:15
    syslog.host=mymachine
    syslog.appname=su
    syslog.message='su root' failed for ada on /dev/pts/8
    ");
    insta::assert_snapshot!(told("Mar  4 14:14:57 web-1 sshd[4242]: Failed password for root from 203.0.113.9 port 1 ssh2"), @"
    syslog.timestamp=Mar  4 14:14:57
    syslog.host=web-1
    syslog.appname=sshd
    syslog.procid=4242
    syslog.message=Failed password for root from 203.0.113.9 port 1 ssh2
    ");
    insta::assert_snapshot!(told("2026-01-31T14:14:57.123456+01:00 web-1 kernel: [ 1.2] a: b"), @"
    syslog.timestamp=2026-01-31T14:14:57.123456+01:00
    syslog.host=web-1
    syslog.appname=kernel
    syslog.message=[ 1.2] a: b
    ");
    insta::assert_snapshot!(told("<189>*Jan 31 2026 14:14:57.123 UTC: %SYS-5-CONFIG_I: Configured from console"), @"
    syslog.facility=local7
    syslog.severity=notice
    syslog.timestamp=Jan 31 2026 14:14:57.123 UTC
    syslog.appname=%SYS-5-CONFIG_I
    syslog.message=Configured from console
    ");
    insta::assert_snapshot!(told("<13>only a message"), @"
    syslog.facility=user
    syslog.severity=notice
    syslog.message=only a message
    ");
    insta::assert_snapshot!(told("Mar  4 14:14:57 web-1 last message repeated 2 times"), @"
    syslog.timestamp=Mar  4 14:14:57
    syslog.host=web-1
    syslog.message=last message repeated 2 times
    ");
}

#[test]
fn a_message_may_be_a_record_itself() {
    insta::assert_snapshot!(told("<13>Mar  4 14:14:57 h suricata[1]: @cee: {\"a\": 1}\n"), @r#"
    syslog.facility=user
    syslog.severity=notice
    syslog.timestamp=Mar  4 14:14:57
    syslog.host=h
    syslog.appname=suricata
    syslog.procid=1
    json={"a": 1}
    "#);
    insta::assert_snapshot!(told("Mar  4 14:14:57 fw CEF:0|V|P|1|100|N|5|src=192.0.2.1"), @"
    syslog.timestamp=Mar  4 14:14:57
    syslog.host=fw
    cef.deviceVendor=V
    cef.deviceProduct=P
    cef.deviceVersion=1
    cef.signatureId=100
    cef.name=N
    cef.severity=5
    cef.extension.src=192.0.2.1
    ");
    let tree = Line::read("<13>Mar  4 14:14:57 h a: {\"a\": {\"b\": 1}}").and_then(|line| line.tree());
    let wanted = serde_json::json!({ "a": { "b": 1 }, "syslog": { "facility": "user", "severity": "notice",
        "timestamp": "Mar  4 14:14:57", "host": "h", "appname": "a" } });
    assert_eq!(tree.ok(), Some(wanted));
}

#[test]
fn cef_with_escapes_labels_and_what_should_have_been_escaped() {
    insta::assert_snapshot!(
        told(r"CEF:0|Ven\|dor|Pro\\duct|1.0|7|a name|Very-High|msg=one\=1\ntwo request=http://x/?a=b&c=d cs1Label=Policy Name cs1=Block all cn1Label=Score cn1= dvchost=fw-1"),
        @r"
    cef.deviceVendor=Ven|dor
    cef.deviceProduct=Pro\duct
    cef.deviceVersion=1.0
    cef.signatureId=7
    cef.name=a name
    cef.severity=Very-High
    cef.extension.msg=one=1
    two
    cef.extension.request=http://x/?a=b&c=d
    cef.extension.cs1Label=Policy Name
    cef.extension.cs1=Block all
    cef.extension.cn1Label=Score
    cef.extension.dvchost=fw-1
    cef.custom.Policy Name=Block all
    "
    );
}

#[test]
fn leef_of_both_versions() {
    insta::assert_snapshot!(told("LEEF:1.0|V|P|1|id|src=192.0.2.1\tusrName=Ada B"), @"
    leef.vendor=V
    leef.product=P
    leef.productVersion=1
    leef.eventId=id
    leef.attributes.src=192.0.2.1
    leef.attributes.usrName=Ada B
    ");
    let both =
        ["LEEF:2.0|V|P|1|id|^|a=1^b=2", "LEEF:2.0|V|P|1|id|x5e|a=1^b=2", "LEEF:2.0|V|P|1|id||a=1\tb=2"];
    for text in both {
        assert!(told(text).ends_with("leef.attributes.a=1\nleef.attributes.b=2"), "{text}");
    }
}

#[test]
fn what_is_no_line_says_why() {
    let refused = [
        ("just words", "not a JSON object"),
        ("[1]", "not a JSON object"),
        ("<xml/>", "not a JSON object"),
        ("<192>x", "its syslog priority is above 191"),
        ("<999>x", "its syslog priority is above 191"),
        ("<1>1 - - -", "its syslog header is cut off"),
        ("<1>1 - - - - - [a b=\"c", "its structured data is cut off"),
        ("<1>1 - - - - - [a b=\"c\"", "has no quotes"),
        ("<1>1 - - - - - x", "is something else"),
        ("<1>1 - - - - - -x", "no blank"),
        ("CEF:0|a|b", "fewer than seven"),
        ("CEF:x|a|b|c|d|e|f|", "no number"),
        ("LEEF:1.0|a", "fewer than five"),
    ];
    for (text, why) in refused {
        assert!(told(text).starts_with("refused: ") && told(text).contains(why), "{text}: {}", told(text));
    }
}

fn value_of<'l>(line: &'l Line<'_>, key: Key<'_>) -> Option<&'l str> {
    line.fields.iter().find(|(other, _)| *other == key).map(|(_, value)| value.as_ref())
}

proptest! {
    #[test]
    fn any_text_is_read_or_refused(
        begin in prop::sample::select(vec!["", "<13>", "<13>1 ", "<13>1 - - - - - [", "CEF:0|a|b|c|d|e|f|", "LEEF:2.0|a|b|c|d|",
            "Mar  4 14:14:57 ", "2026-01-31T14:14:57", "<1>Jan 1 "]),
        rest in r#"([ -~]|[\[\]|=\\" {}:]|\PC){0,60}"#,
    ) {
        let text = format!("{begin}{rest}");
        if let Ok(line) = Line::read(&text) {
            let _ = (line.tree(), line.names());
        }
    }

    #[test]
    fn cef_says_what_was_written(
        header in prop::collection::vec(r"[a-z|\\= ]{0,8}x", 6),
        values in prop::collection::vec(r"x[a-z0-9|\\= \n]{0,12}x", 1..6),
    ) {
        let escape = |text: &str, of: &[char]| text.chars().fold(String::new(), |mut escaped, char| {
            match char {
                '\n' => escaped.push_str("\\n"),
                char if char == '\\' || of.contains(&char) => escaped.extend(['\\', char]),
                char => escaped.push(char),
            }
            escaped
        });
        let bars: Vec<String> = header.iter().map(|field| escape(field, &['|'])).collect();
        let pairs = values.iter().enumerate().map(|(at, value)| format!("k{at}={}", escape(value, &['='])));
        let text = format!("CEF:0|{}|{}", bars.join("|"), pairs.collect::<Vec<_>>().join(" "));
        let line = Line::read(&text).expect("it is whole");
        for (name, wanted) in ["deviceVendor", "deviceProduct", "deviceVersion", "signatureId", "name", "severity"].iter().zip(&header) {
            prop_assert_eq!(value_of(&line, Key::Cef(name)), Some(wanted.trim()), "{}", text);
        }
        for (at, wanted) in values.iter().enumerate() {
            prop_assert_eq!(value_of(&line, Key::Extension(&format!("k{at}"))), Some(wanted.as_str()), "{}", text);
        }
        prop_assert_eq!(line.fields.len(), 6 + values.len());
    }

    #[test]
    fn structured_data_says_what_was_written(
        elements in prop::collection::vec(("[a-z@0-9]{1,8}", prop::collection::vec(r#"[a-z \]\\"=\[]{1,10}"#, 0..4)), 1..4),
        message in "[a-z\\]\" ]{0,10}x",
    ) {
        let mut text = "<13>1 - h a - - ".to_owned();
        for (at, (id, values)) in elements.iter().enumerate() {
            write!(text, "[{at}{id}").expect("memory");
            for (at, value) in values.iter().enumerate() {
                let escaped = value.replace('\\', "\\\\").replace('"', "\\\"").replace(']', "\\]");
                write!(text, " p{at}=\"{escaped}\"").expect("memory");
            }
            text += "]";
        }
        write!(text, " {message}").expect("memory");
        let line = Line::read(&text).expect("it is whole");
        for (at, (id, values)) in elements.iter().enumerate() {
            for (name, wanted) in values.iter().enumerate() {
                let (id, name) = (format!("{at}{id}"), format!("p{name}"));
                prop_assert_eq!(value_of(&line, Key::Data(&id, &name)), Some(wanted.as_str()), "{}", text);
            }
        }
        prop_assert_eq!(value_of(&line, Key::Syslog("message")), Some(message.as_str()));
    }
}
