//! Certificates for tests, made by `openssl` as an operator would make them.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use tempfile::TempDir;

use crate::zookeeper::Tls;

/// A certificate authority with a directory of its own, which is removed when it is dropped.
pub struct Authority {
    directory: TempDir,
}

impl Default for Authority {
    fn default() -> Self {
        Self::new()
    }
}

impl Authority {
    /// A new authority, whom nobody trusts yet.
    pub fn new() -> Self {
        let authority = Self {
            directory: tempfile::tempdir().unwrap(),
        };
        // Authorities are told apart by their names before anything else.
        let subject = format!("/CN=authority {:x}", rand::random::<u64>());
        let usage = "keyUsage=critical,keyCertSign";
        authority.openssl("ca", &["-subj", &subject, "-addext", usage]);
        authority
    }

    /// Its own certificate.
    pub fn certificate(&self) -> PathBuf {
        self.file("ca.pem")
    }

    /// Makes a certificate for 127.0.0.1, or makes it anew. Returns it and its key.
    pub fn issue(&self, name: &str) -> (PathBuf, PathBuf) {
        let (ca, key) = (self.file("ca.pem"), self.file("ca.key"));
        let mut options = vec!["-CA", ca.to_str().unwrap(), "-CAkey", key.to_str().unwrap()];
        let subject = format!("/CN={name}");
        options.extend(["-subj", &subject]);
        options.extend(["-addext", "subjectAltName=IP:127.0.0.1"]);
        options.extend(["-addext", "basicConstraints=critical,CA:FALSE"]);
        self.openssl(name, &options);
        (
            self.file(&format!("{name}.pem")),
            self.file(&format!("{name}.key")),
        )
    }

    /// What a client needs who trusts this authority and is trusted by those who do.
    pub fn client(&self) -> Tls {
        let (cert, key) = self.issue("client");
        Tls {
            ca: self.certificate(),
            cert,
            key,
        }
    }

    /// A certificate and its key in one file, as Java wants them.
    pub(super) fn server(&self) -> PathBuf {
        let (cert, key) = self.issue("server");
        let both = std::fs::read_to_string(key).unwrap() + &std::fs::read_to_string(cert).unwrap();
        let file = self.file("server-with-key.pem");
        std::fs::write(&file, both).unwrap();
        file
    }

    fn file(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn openssl(&self, name: &str, options: &[&str]) {
        let output = Command::new("openssl")
            .args(["req", "-x509", "-days", "2", "-noenc"])
            .args(["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"])
            .args(["-keyout", &format!("{name}.key")])
            .args(["-out", &format!("{name}.pem")])
            .args(options)
            .current_dir(self.directory.path())
            .stdin(Stdio::null())
            .output()
            .expect("`openssl` runs (apt-get install openssl)");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "openssl: {said}");
    }
}
