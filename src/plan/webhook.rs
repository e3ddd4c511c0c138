//! The address of a webhook: which may be called, and how it is told to people.

use url::Url;

use super::address;

/// Why an address is not called. It tells no credentials.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("webhook {url:?}: {what}")]
pub struct Refused {
    /// Which, as it may be told.
    pub url: String,
    /// Why.
    pub what: String,
    /// What to do.
    pub cure: &'static str,
}

/// An http or https address without credentials, and, where it names an address, one that may be called.
///
/// # Errors
/// Any other.
pub fn checked(text: &str, allow_link_local: bool) -> Result<Url, Refused> {
    const ADDRESS: &str = "write an address, as https://soar.example.org/orders";
    let refuse = |what: &str, cure| Refused { url: shown(text), what: what.to_owned(), cure };
    let url = Url::parse(text).map_err(|error| refuse(&error.to_string(), ADDRESS))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(refuse("only http and https are called", ADDRESS));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(refuse(
            "credentials don't belong into an address",
            "take them out, and name in `token_env` the environment variable that holds the token, or `Basic ` and more",
        ));
    }
    let host = url.host_str().ok_or_else(|| refuse("it names no host", ADDRESS))?;
    if !allow_link_local && address::parse(host).is_some_and(address::is_metadata) {
        return Err(refuse(
            "link-local, unspecified, multicast and metadata addresses are not called",
            "name the machine that is meant",
        ));
    }
    Ok(url)
}

/// An address as it may be told: without user and password, and without its query, in which tokens are sent.
#[must_use]
pub fn shown(text: &str) -> String {
    let parsed = Url::parse(text).ok().filter(Url::has_host);
    let without = parsed.and_then(|mut url| {
        url.set_username("").ok()?;
        url.set_password(None).ok()?;
        url.set_query(None);
        url.set_fragment(None);
        Some(url.to_string())
    });
    // What cannot be taken apart may hold a password all the same: what goes before an @ is left out.
    without.unwrap_or_else(|| match text.rsplit_once('@') {
        Some((_, rest)) => format!("…@{rest}"),
        None => text.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_password_is_told() {
        for (text, told) in [
            ("https://soar.example.org/orders", "https://soar.example.org/orders"),
            ("http://user:hunter2@example.org:8080/x?key=hunter2#hunter2", "http://example.org:8080/x"),
            ("ftp://user:hunter2@example.org/x", "ftp://example.org/x"),
            ("user:hunter2@example.org", "…@example.org"),
            ("//user:hunter2@example.org", "…@example.org"),
            ("http://user:hunter2@", "…@"),
            ("file:///etc/passwd", "file:///etc/passwd"),
            ("notaurl", "notaurl"),
        ] {
            assert_eq!(shown(text), told, "{text}");
            if let Err(refused) = checked(text, false) {
                assert!(!format!("{refused:?}").contains("hunter2"), "{refused:?}");
            }
        }
    }
}
