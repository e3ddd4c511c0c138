//! OCSF: an event as one line of JSON, a Detection Finding (`class_uid` 2004) of OCSF 1.8.
//!
//! `device` and `cloud` come from the profiles of that name; users, endpoints, files, mail and addresses stand in `evidences`, as the class has
//! it. Every value is made here from letters, digits and `.:-_@/`, so nothing needs escaping.

use super::detections::{Product, RULES, Rule, tactic_name};
use super::dice::{key, mix};
use super::event::Event;
use super::site::Site;
use crate::record::{Millis, Severity};

const DIGITS: &[u8; 16] = b"0123456789abcdef";

const WORDS: [&str; 32] = [
    "amber", "atlas", "birch", "cedar", "cloud", "coral", "delta", "ember", "falcon", "fern", "granite",
    "harbor", "indigo", "iris", "juniper", "lagoon", "linden", "lotus", "maple", "meadow", "nova", "onyx",
    "opal", "pine", "quartz", "raven", "sierra", "summit", "tundra", "valley", "willow", "zephyr",
];
const FILES: [&str; 8] = [
    "setup.exe",
    "update.exe",
    "invoice.docm",
    "report.xlsm",
    "agent.dll",
    "helper.exe",
    "run.ps1",
    "viewer.exe",
];
const RESOURCE_TYPES: [(&str, &str); 4] =
    [("bucket", "Storage Bucket"), ("sg", "Security Group"), ("role", "Role"), ("i", "Instance")];

/// Writes alerts; keeps each rule's unchanging part ready.
pub(super) struct Writer {
    rules: Vec<String>,
}

impl Writer {
    /// A writer of the rules in the table.
    pub(super) fn new() -> Writer {
        Writer { rules: RULES.iter().map(fixed_part).collect() }
    }

    /// Appends the alert of `event`, named `uid` and come in at `arrival`, and a line feed.
    pub(super) fn write(&self, line: &mut String, event: &Event, site: &Site, uid: Uid, arrival: Millis) {
        let rule = event.rule.rule();
        let severity = Severity::of_id(rule.severity);
        line.push_str(r#"{"time":"#);
        number(line, event.time.unsigned_abs());
        line.push_str(r#","severity_id":"#);
        number(line, u64::from(severity.id()));
        line.push_str(r#","metadata":{"version":"1.8.0","#);
        line.push_str(profiles(rule.product));
        line.push_str(r#""logged_time":"#);
        number(line, arrival.unsigned_abs());
        if let Some(tenant) = &site.tenant {
            put(line, &[r#","tenant_uid":""#, tenant, "\""]);
        }
        put(line, &[r#","product":{"vendor_name":"Quell Synthetic","name":""#, rule.product.name(), "\"}}"]);
        put(line, &[r#","finding_info":{"uid":""#, rule.product.name(), "-"]);
        hex(line, uid.0);
        line.push_str(&self.rules[event.rule as usize]);
        match rule.product {
            Product::Edr => endpoint(line, event, site),
            Product::Ids => network(line, event, site),
            Product::Idp => sign_in(line, event, site),
            Product::Email => mail(line, event, site),
            Product::Cloud => cloud(line, event, site),
            Product::Proxy => web(line, event, site),
        }
        line.push_str("}\n");
    }
}

/// A vendor's id: unique because it is a bijection of the event's ordinal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Uid(u64);

impl Uid {
    /// The id of the event with that ordinal in a run with that seed.
    pub(super) fn of(seed: u64, ordinal: u64) -> Uid {
        Uid(mix(ordinal ^ key(&[seed, 0x01d])))
    }

    /// `edr-00ff...`: what `finding_info.uid` says.
    pub(super) fn push(self, line: &mut String, product: Product) {
        put(line, &[product.name(), "-"]);
        hex(line, self.0);
    }
}

/// The profiles from which fields beside the class's own are taken.
fn profiles(product: Product) -> &'static str {
    match product {
        Product::Edr | Product::Ids | Product::Proxy => r#""profiles":["host"],"#,
        Product::Cloud => r#""profiles":["cloud"],"#,
        Product::Idp | Product::Email => "",
    }
}

fn fixed_part(rule: &Rule) -> String {
    let Rule { uid, title, tactic, technique, technique_name, .. } = rule;
    let tactic_name = tactic_name(tactic);
    format!(
        r#"","title":"{title}","analytic":{{"uid":"{uid}","name":"{title}","type_id":1}},"attacks":[{{"tactic":{{"uid":"{tactic}","name":"{tactic_name}"}},"technique":{{"uid":"{technique}","name":"{technique_name}"}}}}]}},"class_uid":2004,"category_uid":2,"activity_id":1,"type_uid":200401,"message":"{title}"#
    )
}

fn endpoint(line: &mut String, event: &Event, site: &Site) {
    put(line, &[" on ", &site.host(event.host).name, "\""]);
    device(line, event, site);
    evidence(line, |line| {
        actor(line, event, site);
        if event.src != 0 {
            address(line, "src_endpoint", event.src);
        }
        if event.file != 0 {
            file(line, event.file);
        }
    });
    line.push_str(r#","unmapped":{"process_id":"#);
    number(line, 1000 + key(&[event.time.unsigned_abs()]) % 30_000);
    line.push('}');
}

fn network(line: &mut String, event: &Event, site: &Site) {
    put(line, &[" at ", &site.host(event.host).name, "\""]);
    device(line, event, site);
    evidence(line, |line| {
        address(line, "src_endpoint", event.src);
        address(line, "dst_endpoint", event.dst);
    });
    line.push_str(r#","unmapped":{"sensor":"tap-"#);
    number(line, u64::from(event.host % 4) + 1);
    line.push_str("\"}");
}

fn sign_in(line: &mut String, event: &Event, site: &Site) {
    put(line, &[" for ", &site.user(event.user).name, "\""]);
    evidence(line, |line| {
        actor(line, event, site);
        address(line, "src_endpoint", event.src);
    });
    put(line, &[r#","unmapped":{"application":""#, WORDS[(event.user % 7) as usize], "\"}"]);
}

fn mail(line: &mut String, event: &Event, site: &Site) {
    let to = &site.user(event.user).name;
    let bits = mix(event.domain);
    put(line, &[" to ", to, "\""]);
    evidence(line, |line| {
        put(
            line,
            &[r#""user":{"name":""#, to, r#""},"email":{"from":""#, WORDS[(bits >> 40 & 31) as usize], "@"],
        );
        domain(line, event.domain);
        put(line, &[r#"","to":[""#, to, "@", &site.mail_domain, r#""],"subject":""#]);
        put(line, &[WORDS[(bits >> 20 & 31) as usize], " notice\"},"]);
        if event.file == 0 {
            url(line, event.domain);
        } else {
            file(line, event.file);
        }
    });
    line.push_str(r#","unmapped":{"gateway":"mx-1"}"#);
}

fn cloud(line: &mut String, event: &Event, site: &Site) {
    put(line, &[" by ", &site.user(event.user).name, "\""]);
    evidence(line, |line| {
        actor(line, event, site);
        address(line, "src_endpoint", event.src);
    });
    let bits = mix(event.resource ^ u64::from(site.index) << 32);
    let (stem, kind) = RESOURCE_TYPES[(bits & 3) as usize];
    put(line, &[r#","resources":[{"uid":""#, stem, "-", WORDS[(bits >> 8 & 31) as usize], "-"]);
    number(line, (bits >> 16) % 10_000);
    put(line, &[r#"","type":""#, kind, "\"}]", r#","cloud":{"provider":"Nimbus","region":"eu-"#]);
    number(line, bits % 3 + 1);
    line.push_str("\"}");
}

fn web(line: &mut String, event: &Event, site: &Site) {
    line.push_str(": ");
    domain(line, event.domain);
    line.push('"');
    device(line, event, site);
    evidence(line, |line| {
        actor(line, event, site);
        address(line, "src_endpoint", event.src);
        address(line, "dst_endpoint", event.dst);
        url(line, event.domain);
    });
    line.push_str(r#","unmapped":{"bytes_out":"#);
    number(line, key(&[event.time.unsigned_abs(), event.domain]) % 90_000);
    line.push('}');
}

fn device(line: &mut String, event: &Event, site: &Site) {
    let host = site.host(event.host);
    put(line, &[r#","device":{"hostname":""#, &host.name, r#"","ip":""#]);
    ipv4(line, host.ip);
    line.push_str(r#"","type_id":0}"#);
}

/// One evidence; what is put into it ends with a comma, the last of which is taken back.
fn evidence(line: &mut String, fields: impl FnOnce(&mut String)) {
    line.push_str(r#","evidences":[{"#);
    fields(line);
    line.pop();
    line.push_str("}]");
}

fn actor(line: &mut String, event: &Event, site: &Site) {
    put(line, &[r#""actor":{"user":{"name":""#, &site.user(event.user).name, "\"}},"]);
}

fn address(line: &mut String, name: &str, ip: u32) {
    put(line, &["\"", name, r#"":{"ip":""#]);
    ipv4(line, ip);
    line.push_str("\"},");
}

fn url(line: &mut String, made_of: u64) {
    line.push_str(r#""url":{"scheme":"https","hostname":""#);
    domain(line, made_of);
    line.push_str("\"},");
}

fn file(line: &mut String, made_of: u64) {
    let name = FILES[(mix(made_of) & 7) as usize];
    put(
        line,
        &[
            r#""file":{"name":""#,
            name,
            r#"","type_id":1,"hashes":[{"algorithm_id":3,"algorithm":"SHA-256","value":""#,
        ],
    );
    sha256(line, made_of);
    line.push_str("\"}]},");
}

/// Appends the 64 hex digits that stand for a file's SHA-256.
pub(super) fn sha256(line: &mut String, made_of: u64) {
    for part in 0..4 {
        hex(line, key(&[made_of, part]));
    }
}

/// Appends a domain's name, under the `.example` that RFC 2606 keeps for nobody.
pub(super) fn domain(line: &mut String, made_of: u64) {
    let bits = mix(made_of);
    put(line, &[WORDS[(bits & 31) as usize], "-", WORDS[(bits >> 5 & 31) as usize], "-"]);
    number(line, (bits >> 10) % 100_000);
    line.push_str(".example");
}

/// Appends an address in dotted form.
pub(super) fn ipv4(line: &mut String, ip: u32) {
    let [a, b, c, d] = ip.to_be_bytes();
    for (at, byte) in [a, b, c, d].into_iter().enumerate() {
        if at > 0 {
            line.push('.');
        }
        number(line, u64::from(byte));
    }
}

fn put(line: &mut String, parts: &[&str]) {
    for part in parts {
        line.push_str(part);
    }
}

fn number(line: &mut String, mut number: u64) {
    // Digits by hand: 309,000 alerts a second with `write!`, 519,000 without.
    let mut digits = [b'0'; 20];
    let mut at = digits.len() - 1;
    loop {
        digits[at] = DIGITS[(number % 10) as usize];
        number /= 10;
        if number == 0 {
            break;
        }
        at -= 1;
    }
    line.extend(digits[at..].iter().map(|digit| char::from(*digit)));
}

fn hex(line: &mut String, number: u64) {
    for byte in number.to_be_bytes() {
        line.push(char::from(DIGITS[usize::from(byte >> 4)]));
        line.push(char::from(DIGITS[usize::from(byte & 15)]));
    }
}
