//! Secrets: named in the plan, read from the environment, never printed.

use std::fmt;

/// A secret that shows itself only to who asks for it by name.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Reads the environment's variable.
    ///
    /// # Errors
    /// Where it is not set, or not text, or empty; the message holds its name only.
    pub fn from_env(name: &str) -> Result<Secret, String> {
        match std::env::var(name) {
            Ok(text) if !text.is_empty() => Ok(Secret(text)),
            Ok(_) | Err(_) => Err(format!("environment variable {name} is not set")),
        }
    }

    /// The secret itself.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl From<String> for Secret {
    fn from(text: String) -> Self {
        Secret(text)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_does_not_print() {
        assert_eq!(format!("{:?}", Secret::from("hunter2".to_owned())), "Secret(…)");
        assert!(Secret::from_env("QUELL_NO_SUCH_VARIABLE").is_err());
    }
}
