//! Holds the direction of dependencies between the crates (ARCHITECTURE.md, "The crates").
//!
//! Each crate may know what stands in its row and nothing else, however convenient it would be. A new crate
//! needs a row here, so that somebody decides on which floor it lives.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

/// Crate, the crates of ours that it may depend on, the crates of others that it must never see.
const RULES: &[(&str, &[&str], &[&str])] = &[
    ("model", &[], &["tokio", "tonic", "futures", "rand"]),
    (
        "storage",
        &["model", "mutants"],
        &["tokio", "tonic", "zookeeper-client"],
    ),
    (
        "raft",
        &["model", "mutants"],
        &["tokio", "tonic", "futures", "rustix", "fjall"],
    ),
    (
        "txn",
        &["model", "mutants"],
        &["tokio", "tonic", "futures", "rand"],
    ),
    (
        "history",
        &["model"],
        &["tokio", "tonic", "futures", "rand"],
    ),
    ("coordination", &["model", "mutants"], &["tonic", "fjall"]),
    ("api", &["model"], &["fjall", "zookeeper-client"]),
    ("environment", &[], &["fjall", "zookeeper-client"]),
    // Only behind the feature of its name, see `a_plain_build_has_no_mutants`.
    ("mutants", &[], &["tokio", "tonic", "futures", "rand"]),
    (
        "lanes",
        &["model", "mutants"],
        &["tonic", "fjall", "zookeeper-client"],
    ),
    (
        "links",
        &["api", "environment", "lanes", "model", "mutants"],
        &["fjall", "zookeeper-client"],
    ),
    (
        "datanode",
        &[
            "api",
            "coordination",
            "environment",
            "links",
            "model",
            "mutants",
            "raft",
            "storage",
        ],
        &["zookeeper-client"],
    ),
    (
        "router",
        &[
            "api",
            "coordination",
            "environment",
            "links",
            "model",
            "mutants",
            "txn",
        ],
        &["fjall", "zookeeper-client"],
    ),
    (
        "client",
        &["api", "environment", "lanes", "model", "mutants"],
        &["fjall", "zookeeper-client"],
    ),
    ("load", &["client", "model"], &["fjall", "zookeeper-client"]),
    (
        "minidynamo",
        &[
            "api",
            "client",
            "coordination",
            "datanode",
            "environment",
            "load",
            "model",
            "router",
        ],
        &["fjall", "zookeeper-client"],
    ),
    // Sees the product from outside only, as etcd.
    ("bench", &["client", "load"], &["fjall", "zookeeper-client"]),
    // Drives all of the product and is part of none of it.
    (
        "sim",
        &[
            "api",
            "client",
            "coordination",
            "datanode",
            "environment",
            "history",
            "links",
            "model",
            "mutants",
            "raft",
            "router",
            "storage",
            "txn",
        ],
        &["fjall", "zookeeper-client"],
    ),
];

/// Every crate's manifest.
fn manifests() -> BTreeMap<String, toml::Table> {
    let crates = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let entries = std::fs::read_dir(crates).unwrap();
    let paths = entries.map(|entry| entry.unwrap().path().join("Cargo.toml"));
    paths
        .filter(|path| path.exists())
        .map(|path| {
            let manifest: toml::Table = std::fs::read_to_string(path).unwrap().parse().unwrap();
            let name = manifest["package"]["name"].as_str().unwrap().to_owned();
            (name, manifest)
        })
        .collect()
}

/// The crates that a manifest names, by their package names, in every kind of section that is linked into
/// the product.
fn dependencies(manifest: &toml::Table) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut take = |table: &toml::Table| {
        for section in ["dependencies", "build-dependencies"] {
            let Some(entries) = table.get(section).and_then(toml::Value::as_table) else {
                continue;
            };
            found.extend(entries.iter().map(|(name, entry)| {
                let renamed = entry.get("package").and_then(toml::Value::as_str);
                renamed.unwrap_or(name).to_owned()
            }));
        }
    };
    take(manifest);
    let targets = manifest.get("target").and_then(toml::Value::as_table);
    for target in targets.into_iter().flat_map(toml::Table::values) {
        target.as_table().into_iter().for_each(&mut take);
    }
    found
}

#[test]
fn crates_depend_only_downwards() {
    let manifests = manifests();
    for (name, manifest) in &manifests {
        let rule = RULES.iter().find(|(ruled, ..)| ruled == name);
        let (_, allowed, forbidden) = rule.unwrap_or_else(|| panic!("no rule for crate `{name}`"));
        for dependency in dependencies(manifest) {
            let ours = manifests.contains_key(&dependency);
            assert!(
                !ours || allowed.contains(&dependency.as_str()),
                "`{name}` must not depend on `{dependency}`"
            );
            assert!(
                !forbidden.contains(&dependency.as_str()),
                "`{name}` must never see `{dependency}`"
            );
        }
    }
}

/// The deliberate faults for the simulation are behind a feature that nothing in the product asks for. What a
/// workspace's build unifies is another matter: `scripts/test` looks into a binary that was built alone.
#[test]
fn a_plain_build_has_no_mutants() {
    let linked = |features: &[&str]| {
        let output = Command::new(env!("CARGO"))
            .args(["tree", "--offline", "--package", "minidynamo"])
            .args(["--edges", "normal,build", "--prefix", "none"])
            .args(features)
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .output()
            .unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{stderr}");
        let stdout = String::from_utf8(output.stdout).unwrap();
        let names = stdout.lines().filter_map(|line| line.split(' ').next());
        names.map(str::to_owned).collect::<BTreeSet<_>>()
    };
    let plain = linked(&[]);
    assert!(plain.contains("raft") && !plain.contains("mutants"));
    let all = linked(&["--all-features"]);
    assert!(!all.contains("mutants"), "the binary has no such feature");
    let faulty = linked(&["--package", "datanode", "--features", "datanode/mutants"]);
    assert!(faulty.contains("mutants"), "the feature does what it says");
}

#[test]
fn every_rule_speaks_of_a_crate_that_exists() {
    let manifests = manifests();
    for (name, allowed, _) in RULES {
        for ruled in std::iter::once(name).chain(*allowed) {
            assert!(
                manifests.contains_key(*ruled),
                "there is no crate `{ruled}`"
            );
        }
    }
}

#[test]
fn a_dependency_under_another_name_or_for_one_target_is_found() {
    let manifest = "[dependencies]\nother = { package = \"router\", path = \"x\" }\n\
                    [target.'cfg(unix)'.dependencies]\nrustix = \"1\"\n\
                    [dev-dependencies]\ntempfile = \"3\"\n";
    let found = dependencies(&manifest.parse().unwrap());
    assert_eq!(found, ["router", "rustix"].map(str::to_owned).into());
}
