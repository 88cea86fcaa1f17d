//! Addresses of routers: `http://host:port` or `host:port`.

use std::fmt;
use std::str::FromStr;

use hyper::Uri;

use crate::Error;

/// Where a router listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Address {
    /// Scheme and authority, for the requests.
    pub(crate) origin: Uri,
    /// `host:port`, for the socket; an IPv6 host stands in brackets.
    pub(crate) authority: String,
}

impl FromStr for Address {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let invalid = |why: &str| Error::InvalidAddress {
            address: text.to_owned(),
            why: why.to_owned(),
        };
        let rest = match text.split_once("://") {
            None => text,
            Some(("http", rest)) => rest,
            Some(("https", _)) => return Err(invalid("TLS is not supported yet, use http://")),
            Some(_) => return Err(invalid("only http:// is supported")),
        };
        let authority = rest.strip_suffix('/').unwrap_or(rest);
        let origin: Uri = format!("http://{authority}/")
            .parse()
            .map_err(|_| invalid("expected host:port"))?;
        if origin.path() != "/" || origin.query().is_some() || authority.contains('@') {
            return Err(invalid("expected host:port and nothing behind it"));
        }
        match (origin.host(), origin.port_u16()) {
            (Some(host), Some(port)) if !host.is_empty() && port != 0 => Ok(Self {
                authority: authority.to_owned(),
                origin,
            }),
            _ => Err(invalid("expected host:port")),
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "http://{}", self.authority)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_with_and_without_scheme() {
        for text in [
            "127.0.0.1:7400",
            "http://127.0.0.1:7400",
            "http://127.0.0.1:7400/",
        ] {
            let address: Address = text.parse().unwrap();
            assert_eq!(address.to_string(), "http://127.0.0.1:7400");
        }
        let address: Address = "[::1]:7400".parse().unwrap();
        assert_eq!(address.authority, "[::1]:7400");
    }

    #[test]
    fn what_is_no_address_is_refused_with_the_reason() {
        for (text, why) in [
            ("", "expected host:port"),
            ("localhost", "expected host:port"),
            ("localhost:0", "expected host:port"),
            ("localhost:99999", "expected host:port"),
            ("https://localhost:7400", "TLS is not supported yet"),
            ("ftp://localhost:7400", "only http://"),
            ("localhost:7400/x", "nothing behind it"),
            ("a b:7400", "expected host:port"),
        ] {
            let error = text.parse::<Address>().unwrap_err().to_string();
            assert!(error.contains(why), "{text}: {error}");
        }
    }
}
