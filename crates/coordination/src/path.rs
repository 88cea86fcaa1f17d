//! Rules of paths, the same for every store.
//!
//! A path is absolute, has no empty, `.` or `..` components, no slash at its end (but `/` itself is the
//! root) and none of the characters that ZooKeeper refuses.

use crate::Error;

/// The root of the tree.
pub const ROOT: &str = "/";

/// Checks a path against the rules.
pub fn validate(path: &str) -> Result<(), Error> {
    match fault(path) {
        None => Ok(()),
        Some(reason) => Err(Error::InvalidPath {
            path: path.to_owned(),
            reason,
        }),
    }
}

/// Checks the path of a znode that is to be created or deleted: any but the root.
pub fn validate_below_root(path: &str) -> Result<(), Error> {
    validate(path)?;
    if path == ROOT {
        return Err(Error::InvalidPath {
            path: path.to_owned(),
            reason: "the root is always there",
        });
    }
    Ok(())
}

fn fault(path: &str) -> Option<&'static str> {
    let Some(rest) = path.strip_prefix('/') else {
        return Some("it does not begin with a slash");
    };
    if rest.is_empty() {
        return None;
    }
    for component in rest.split('/') {
        match component {
            "" => return Some("it has an empty component or a slash at its end"),
            "." | ".." => return Some("it has a relative component"),
            _ => {}
        }
    }
    path.chars()
        .any(refused)
        .then_some("it has a control character or one that is not a character")
}

/// The characters that ZooKeeper refuses in paths.
fn refused(c: char) -> bool {
    matches!(u32::from(c), 0..=0x1f | 0x7f..=0x9f | 0xd800..=0xf8ff | 0xfff0..=0xffff)
}

/// The path of the parent, and the last component. The root has none.
pub fn split(path: &str) -> Option<(&str, &str)> {
    let (parent, name) = path.rsplit_once('/')?;
    match (parent, name) {
        (_, "") => None,
        ("", name) => Some((ROOT, name)),
        both => Some(both),
    }
}

/// The path of a child.
pub fn join(parent: &str, name: &str) -> String {
    if parent == ROOT {
        format!("/{name}")
    } else {
        format!("{parent}/{name}")
    }
}

/// Whether `path` is `root` or lies below it.
pub fn is_within(path: &str, root: &str) -> bool {
    root == ROOT
        || path
            .strip_prefix(root)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_absolute_paths_without_empty_or_relative_parts_are_accepted() {
        for good in ["/", "/a", "/a/b", "/a/...", "/names/a.b-c_9", "/ä"] {
            assert!(validate(good).is_ok(), "{good}");
        }
        for bad in [
            "", "a", "a/b", "//", "/a/", "/a//b", "/.", "/a/..", "/\0", "/a\n",
        ] {
            assert!(validate(bad).is_err(), "{bad:?}");
        }
        assert!(validate_below_root("/").is_err());
    }

    #[test]
    fn split_and_join_are_inverse() {
        assert_eq!(split("/"), None);
        for path in ["/a", "/a/b", "/a/b/c"] {
            let (parent, name) = split(path).unwrap();
            assert_eq!(join(parent, name), path);
        }
    }

    #[test]
    fn a_sibling_with_the_same_beginning_is_not_within() {
        assert!(is_within("/a", "/"));
        assert!(is_within("/a", "/a"));
        assert!(is_within("/a/b", "/a"));
        assert!(!is_within("/ab", "/a"));
        assert!(!is_within("/", "/a"));
    }
}
