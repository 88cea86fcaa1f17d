//! The user whom znodes of ours belong to: ZooKeeper's scheme `digest`.
//!
//! A session that was given `user:password` presents it to the server, and every znode that it makes carries
//! one entry in its access control list: all rights to that user, named by the hash of the password, and none
//! to anybody else. A process without credentials makes znodes that anyone may read and write.
//!
//! | `user:password` | the entry |
//! |---|---|
//! | none | `world:anyone`, all rights |
//! | `super:test` | `digest:super:D/InIHSb7yEEbrWz8b9l71RjZJU=`, all rights |
//!
//! # Caveats
//!
//! The server believes every password: a wrong one is simply another user, who finds the tree locked. So
//! [`ZooKeeper::connect`](super::ZooKeeper::connect) reads `/cluster` before it says that it is connected.
//!
//! The entry names its user instead of saying "whoever made it" (`auth`), which would also give all rights
//! to the certificate that the session happened to use.

use std::fmt;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use zookeeper_client as zk;

use crate::Error;

const SCHEME: &str = "digest";
/// A line of a file that is longer holds something else.
const MAX_BYTES: usize = 4096;

/// `user:password`. Never shows the password.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    text: String,
    user: usize,
}

impl Credentials {
    /// The text `user:password`, neither of them empty, with or without an end of line. The password may
    /// have further colons.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let invalid = |reason: &str| Error::InvalidOptions {
            reason: format!("credentials for ZooKeeper are one line `user:password`; {reason}"),
        };
        let line = text.strip_suffix('\n').unwrap_or(text);
        let line = line.strip_suffix('\r').unwrap_or(line);
        if line.contains(['\n', '\r']) {
            return Err(invalid("there is more than one line"));
        }
        if line.len() > MAX_BYTES {
            return Err(invalid("the line is too long"));
        }
        match line.split_once(':') {
            None => Err(invalid("the colon is missing")),
            Some(("", _)) => Err(invalid("the user is missing")),
            Some((_, "")) => Err(invalid("the password is missing")),
            Some((user, _)) => Ok(Self {
                text: line.to_owned(),
                user: user.len(),
            }),
        }
    }

    /// The same from a file, whose name stands in the error; what is in it never does.
    pub fn read(file: &Path) -> Result<Self, Error> {
        let shown = file.display();
        let invalid = |reason: String| Error::InvalidOptions { reason };
        let text = std::fs::read_to_string(file)
            .map_err(|error| invalid(format!("can't read {shown}: {error}")))?;
        Self::parse(&text).map_err(|error| match error {
            Error::InvalidOptions { reason } => invalid(format!("{shown}: {reason}")),
            other => other,
        })
    }

    /// The user.
    pub fn user(&self) -> &str {
        &self.text[..self.user]
    }

    /// Presents itself on every connection of a session.
    pub(super) fn present(&self, connector: zk::Connector) -> zk::Connector {
        connector.with_auth(SCHEME, self.text.as_bytes())
    }

    /// All rights to this user, none to others.
    pub(super) fn acl(&self) -> zk::Acl {
        let id = zk::AuthId::new(SCHEME, &self.id());
        zk::Acl::new(zk::Permission::ALL, id)
    }

    /// How ZooKeeper names the user in lists: the SHA-1 is its choice.
    fn id(&self) -> String {
        let sha1 = &aws_lc_rs::digest::SHA1_FOR_LEGACY_USE_ONLY;
        let hash = aws_lc_rs::digest::digest(sha1, self.text.as_bytes());
        format!("{}:{}", self.user(), STANDARD.encode(hash))
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials")
            .field("user", &self.user())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_id_is_the_one_that_zookeeper_computes() {
        // From ZooKeeper's documentation of its superuser.
        let credentials = Credentials::parse("super:test").unwrap();
        assert_eq!(credentials.id(), "super:D/InIHSb7yEEbrWz8b9l71RjZJU=");
        assert_eq!(credentials.user(), "super");
    }

    #[test]
    fn one_line_of_user_and_password_is_taken_and_all_else_refused() {
        for text in ["a:b", "a:b\n", "a:b\r\n"] {
            assert_eq!(Credentials::parse(text).unwrap().text, "a:b");
        }
        assert_eq!(Credentials::parse("a:b:c").unwrap().user(), "a");
        let long = format!("a:{}", "b".repeat(MAX_BYTES));
        for text in ["", "\n", "a", "a:", ":b", "a:b\nc:d", "a:b\n\n", &long] {
            let error = Credentials::parse(text).unwrap_err();
            assert!(matches!(error, Error::InvalidOptions { .. }), "{text}");
        }
    }

    #[test]
    fn nothing_shows_the_password() {
        let credentials = Credentials::parse("a:secret").unwrap();
        assert_eq!(
            format!("{credentials:?}"),
            r#"Credentials { user: "a", .. }"#
        );
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("auth");
        for content in [&b"secret"[..], b"a:secret\nb:secret", b"secret\xff"] {
            std::fs::write(&file, content).unwrap();
            let error = Credentials::read(&file).unwrap_err().to_string();
            assert!(
                error.contains("auth") && !error.contains("secret"),
                "{error}"
            );
        }
        let missing = Credentials::read(&directory.path().join("none")).unwrap_err();
        assert!(missing.to_string().contains("none"), "{missing}");
    }
}
