//! The catalogue and the product's code name the same mutants, whichever features are on.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use mutants::Mutant;

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// What stands between the brackets of `mutant!(…)` in the code (not in comments) of every crate's `src`, but this one's.
fn named_in_code() -> BTreeSet<String> {
    let own = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = Vec::new();
    for entry in std::fs::read_dir(own.parent().unwrap()).unwrap() {
        let folder = entry.unwrap().path().join("src");
        if folder.is_dir() && !folder.starts_with(own) {
            sources(&folder, &mut files);
        }
    }
    let mut named = BTreeSet::new();
    for file in files {
        let text = std::fs::read_to_string(file).unwrap();
        let code = text
            .lines()
            .filter(|line| !line.trim_start().starts_with("//"));
        for line in code {
            for site in line.split("mutant!(").skip(1) {
                named.insert(site.split(')').next().unwrap().to_owned());
            }
        }
    }
    named
}

#[test]
fn every_mutant_has_a_site_and_every_site_a_mutant() {
    let catalogue = Mutant::ALL.iter().map(|mutant| format!("{mutant:?}"));
    assert_eq!(catalogue.collect::<BTreeSet<_>>(), named_in_code());
}
