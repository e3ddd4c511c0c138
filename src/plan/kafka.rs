//! A Kafka cluster as plan files name it: its brokers, and how to be let in. Secrets are named, and read when they are used.
//!
//! Whoever stands in a plan with other fields beside these takes `brokers` and `security` as two of them, so that what is
//! unknown is refused, and makes a [`Cluster`] of the two.

use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Fault;
use super::place::Place;

/// Where a cluster is, and how to be let in.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Cluster {
    /// Some of its brokers, as `kafka-1:9092,kafka-2:9092`: the others are learnt from them.
    pub brokers: String,
    /// How to be let in.
    #[serde(default)]
    pub security: Security,
}

/// How to be let in by a cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Security {
    /// What is spoken.
    pub protocol: Protocol,
    /// Whose signature brokers' certificates need, a PEM file; the system's authorities where absent.
    pub ca: Option<PathBuf>,
    /// Our own certificate, a PEM file, where brokers ask for one.
    pub certificate: Option<PathBuf>,
    /// Its private key, a PEM file.
    pub key: Option<PathBuf>,
    /// How a user is shown to be who they are.
    pub mechanism: Option<Mechanism>,
    /// The user.
    pub user: Option<String>,
    /// The environment variable that holds the user's password.
    pub password_env: Option<String>,
}

/// What is spoken with brokers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Protocol {
    /// Anybody may read it, and nobody is asked who they are.
    #[default]
    Plaintext,
    /// TLS.
    Ssl,
    /// Users are asked who they are; anybody may read it.
    SaslPlaintext,
    /// TLS, and users are asked who they are.
    SaslSsl,
}

/// How a user is shown to be who they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Mechanism {
    /// The password is sent as it is.
    Plain,
    /// RFC 7677: the password is not sent.
    #[serde(rename = "scram-sha-256")]
    ScramSha256,
    /// The same with SHA-512.
    #[serde(rename = "scram-sha-512")]
    ScramSha512,
}

impl Protocol {
    fn name(self) -> &'static str {
        match self {
            Protocol::Plaintext => "plaintext",
            Protocol::Ssl => "ssl",
            Protocol::SaslPlaintext => "sasl_plaintext",
            Protocol::SaslSsl => "sasl_ssl",
        }
    }

    fn is_tls(self) -> bool {
        matches!(self, Protocol::Ssl | Protocol::SaslSsl)
    }

    fn is_sasl(self) -> bool {
        matches!(self, Protocol::SaslPlaintext | Protocol::SaslSsl)
    }
}

impl Mechanism {
    fn name(self) -> &'static str {
        match self {
            Mechanism::Plain => "PLAIN",
            Mechanism::ScramSha256 => "SCRAM-SHA-256",
            Mechanism::ScramSha512 => "SCRAM-SHA-512",
        }
    }
}

impl Cluster {
    /// What librdkafka is told to reach it, by its own names; paths are relative to `folder`. The password is among them:
    /// they are for a client, never for a message.
    ///
    /// # Errors
    /// Where the password's variable is not set; says its name.
    pub fn settings(&self, folder: &Path) -> Result<Vec<(&'static str, String)>, String> {
        let Security { protocol, ca, certificate, key, mechanism, user, password_env } = &self.security;
        let mut settings = vec![
            ("bootstrap.servers", self.brokers.clone()),
            ("security.protocol", protocol.name().to_owned()),
            ("client.id", "quell".to_owned()),
            // A broker that is back is found within a second; the library alone would pause for ten.
            ("reconnect.backoff.max.ms", "1000".to_owned()),
        ];
        let files =
            [("ssl.ca.location", ca), ("ssl.certificate.location", certificate), ("ssl.key.location", key)];
        let path = |file: &PathBuf| folder.join(file).display().to_string();
        settings.extend(files.into_iter().filter_map(|(name, file)| Some((name, path(file.as_ref()?)))));
        settings.extend(mechanism.map(|mechanism| ("sasl.mechanism", mechanism.name().to_owned())));
        settings.extend(user.clone().map(|user| ("sasl.username", user)));
        if let Some(name) = password_env {
            let password = std::env::var(name).ok().filter(|password| !password.is_empty());
            let password = password.ok_or_else(|| format!("environment variable {name} is not set"))?;
            settings.push(("sasl.password", password));
        }
        Ok(settings)
    }

    /// What is wrong with it, where `place` of the plan file, of that `name`, says it; its files are looked for from `folder`.
    #[must_use]
    pub fn faults(&self, place: &Place<'_>, folder: &Path, name: &str) -> Vec<Fault> {
        let Security { protocol, ca, certificate, key, mechanism, user, password_env } = &self.security;
        let mut faults = Vec::new();
        let mut fault = |place: &Place<'_>, what: String, cure: &str| {
            faults.push(place.fault(format!("{name}: {what}"), cure));
        };
        if self.brokers.split(',').any(|broker| broker.trim().is_empty()) {
            let cure = "write host:port, several with commas between";
            fault(&place.within("brokers"), format!("`brokers` is {:?}", self.brokers), cure);
        }
        let place = place.within("security");
        let files = [("ca", ca), ("certificate", certificate), ("key", key)];
        for (key, file) in files.into_iter().filter_map(|(key, file)| Some((key, file.as_ref()?))) {
            let place = place.within(key);
            if !protocol.is_tls() {
                let cure = "write `protocol: ssl` or `protocol: sasl_ssl`";
                fault(&place, format!("`{key}` needs TLS"), cure);
            } else if !folder.join(file).is_file() {
                let cure = "correct its path (it is relative to this file) or take it out";
                fault(&place, format!("the file {} is not there", file.display()), cure);
            }
        }
        if certificate.is_some() != key.is_some() {
            fault(&place, "a certificate and its key go together".to_owned(), "name both, or none");
        }
        let named = [mechanism.is_some(), user.is_some(), password_env.is_some()];
        if protocol.is_sasl() && named.contains(&false) {
            fault(&place, "SASL lacks something".to_owned(), "name `mechanism`, `user` and `password_env`");
        } else if !protocol.is_sasl() && named.contains(&true) {
            let cure = "write `protocol: sasl_ssl` or `protocol: sasl_plaintext`";
            fault(&place, "a user needs SASL".to_owned(), cure);
        }
        faults
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::place::Lines;

    fn cluster(text: &str) -> Cluster {
        crate::plan::yaml::parse(Path::new("pipeline.yml"), text, "").unwrap()
    }

    #[test]
    fn a_cluster_is_told_to_the_library_in_its_words() {
        let told = cluster("brokers: a:9092,b:9092").settings(Path::new("x")).unwrap();
        assert_eq!(told[0], ("bootstrap.servers", "a:9092,b:9092".to_owned()));
        assert_eq!(told[1], ("security.protocol", "plaintext".to_owned()));
        // A variable that is set in every process stands for the password.
        let text = "{brokers: 'a:9092', security: {protocol: sasl_ssl, ca: ca.pem, mechanism: scram-sha-512, user: ada, password_env: PATH}}";
        let told = cluster(text).settings(Path::new("x")).unwrap();
        for (name, value) in [
            ("security.protocol", "sasl_ssl"),
            ("ssl.ca.location", "x/ca.pem"),
            ("sasl.mechanism", "SCRAM-SHA-512"),
            ("sasl.username", "ada"),
        ] {
            assert!(told.contains(&(name, value.to_owned())), "{name}");
        }
        assert!(told.iter().any(|(name, _)| *name == "sasl.password"));
    }

    #[test]
    fn a_password_that_is_not_there_is_told_by_its_variable() {
        let text = "{brokers: 'a:9092', security: {protocol: sasl_plaintext, mechanism: plain, user: ada, password_env: QUELL_NO_SUCH}}";
        let error = cluster(text).settings(Path::new("x")).unwrap_err();
        assert_eq!(error, "environment variable QUELL_NO_SUCH is not set");
    }

    #[test]
    fn what_does_not_go_together_is_a_fault() {
        for (text, faults) in [
            ("brokers: a:9092", 0),
            ("brokers: 'a:9092,'", 1),
            ("{brokers: 'a:1', security: {ca: ca.pem}}", 1),
            ("{brokers: 'a:1', security: {protocol: ssl, ca: no-such.pem}}", 1),
            ("{brokers: 'a:1', security: {protocol: ssl, key: no-such.pem}}", 2),
            ("{brokers: 'a:1', security: {protocol: sasl_ssl, user: ada}}", 1),
            ("{brokers: 'a:1', security: {user: ada}}", 1),
        ] {
            let lines = Lines::of(text);
            let place = Place::top(Path::new("pipeline.yml"), &lines);
            let found = cluster(text).faults(&place, Path::new("no-such"), "sinks");
            assert_eq!(found.len(), faults, "{text}: {found:?}");
            assert!(found.iter().all(|fault| fault.line == Some(1)), "{text}: {found:?}");
        }
    }
}
