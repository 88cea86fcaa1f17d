//! Holds the documents to what is really there.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use std::fs;
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// All files below a directory of ours with one of these endings.
fn files(directory: &Path, ending: &str, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_dir() {
            if name != "target" && !name.starts_with('.') {
                files(&path, ending, found);
            }
        } else if name.ends_with(ending) {
            found.push(path);
        }
    }
}

/// The targets of Markdown links to files.
fn links(text: &str) -> Vec<&str> {
    let targets = text.split("](").skip(1);
    let targets = targets.filter_map(|rest| rest.split(')').next());
    targets.filter(|target| !target.contains("://")).collect()
}

#[test]
fn every_link_leads_to_a_file() {
    let mut documents = Vec::new();
    files(&root(), ".md", &mut documents);
    assert!(documents.len() > 10, "{documents:?}");
    for document in documents {
        let text = fs::read_to_string(&document).unwrap();
        for link in links(&text) {
            let file = link.split('#').next().unwrap_or_default();
            let target = document.parent().unwrap().join(file);
            assert!(target.exists(), "{}: {link}", document.display());
        }
    }
}

#[test]
fn every_test_that_the_requirements_name_exists() {
    let table = fs::read_to_string(root().join("docs/requirements.md")).unwrap();
    let quoted = table.split('`').skip(1).step_by(2);
    let names = quoted.filter(|word| word.matches('_').count() >= 3 && !word.contains(['/', ':']));
    let mut sources = Vec::new();
    files(&root().join("crates"), ".rs", &mut sources);
    let sources: String = sources
        .iter()
        .map(|path| fs::read_to_string(path).unwrap())
        .collect();
    let mut count = 0;
    for name in names {
        assert!(sources.contains(&format!("fn {name}(")), "no test `{name}`");
        count += 1;
    }
    assert!(count > 20, "only {count} tests are named");
}

#[test]
fn links_are_found() {
    let text = "see [a](docs/a.md), [b](https://example.org/b) and [c](c.md#d)";
    assert_eq!(links(text), ["docs/a.md", "c.md#d"]);
}
