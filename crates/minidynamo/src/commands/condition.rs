//! Conditions as options.

use std::collections::BTreeMap;

use client::{Condition, TransactItem};

use crate::cli::Failure;

/// Of a single put: at most one.
#[derive(Debug, clap::Args)]
#[group(multiple = false)]
pub struct PutCondition {
    /// Only if there is no item with this key
    #[arg(long)]
    pub if_absent: bool,
    /// Only if there is an item with this key
    #[arg(long)]
    pub if_present: bool,
    /// Only if there is an item and this is its version
    #[arg(long, value_name = "N")]
    pub if_version: Option<u64>,
}

impl PutCondition {
    /// The one that was given.
    pub fn condition(&self) -> Condition {
        match (self.if_absent, self.if_present, self.if_version) {
            (true, ..) => Condition::NotExists,
            (_, true, _) => Condition::Exists,
            (.., Some(version)) => Condition::VersionIs(version),
            (false, false, None) => Condition::Always,
        }
    }
}

/// Of the items of a transaction, which are named by their position, the first being 1. At most one for each.
#[derive(Debug, Default, clap::Args)]
pub struct ItemConditions {
    /// Only if there is no item with the key of item I (1 for the first); repeatable
    #[arg(long, value_name = "I")]
    pub if_absent: Vec<usize>,
    /// Only if there is an item with the key of item I; repeatable
    #[arg(long, value_name = "I")]
    pub if_present: Vec<usize>,
    /// Only if there is an item with the key of item I and N is its version; repeatable
    #[arg(long, value_name = "I=N", value_parser = item_and_version)]
    pub if_version: Vec<(usize, u64)>,
}

impl ItemConditions {
    /// Sets each condition on the item that it names.
    pub fn apply(&self, items: &mut [TransactItem]) -> Result<(), Failure> {
        for (position, condition) in self.by_position()? {
            let count = items.len();
            let item = position.checked_sub(1).and_then(|i| items.get_mut(i));
            let item = item.ok_or_else(|| {
                Failure::usage(format!(
                    "a condition is for item {position}, but the items are 1 to {count}"
                ))
            })?;
            item.condition = condition;
        }
        Ok(())
    }

    fn by_position(&self) -> Result<BTreeMap<usize, Condition>, Failure> {
        let absent = self.if_absent.iter().map(|i| (*i, Condition::NotExists));
        let present = self.if_present.iter().map(|i| (*i, Condition::Exists));
        let version = self.if_version.iter();
        let version = version.map(|(i, version)| (*i, Condition::VersionIs(*version)));
        let mut found = BTreeMap::new();
        for (position, condition) in absent.chain(present).chain(version) {
            if found.insert(position, condition).is_some() {
                return Err(Failure::usage(format!(
                    "item {position} has two conditions: give it at most one"
                )));
            }
        }
        Ok(found)
    }
}

fn item_and_version(text: &str) -> Result<(usize, u64), String> {
    let error = || format!("`{text}` is not an item and its version, like 1=7");
    let (item, version) = text.split_once('=').ok_or_else(error)?;
    let item = item.parse().map_err(|_| error())?;
    Ok((item, version.parse().map_err(|_| error())?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn items() -> Vec<TransactItem> {
        (0..4)
            .map(|n| TransactItem::new("t", format!("{n}"), "v"))
            .collect()
    }

    #[test]
    fn each_condition_goes_to_the_item_that_it_names() {
        let given = ItemConditions {
            if_absent: vec![2],
            if_present: vec![4],
            if_version: vec![(1, 7)],
        };
        let mut items = items();
        given.apply(&mut items).unwrap();
        let conditions: Vec<_> = items.iter().map(|item| item.condition).collect();
        let expected = [
            Condition::VersionIs(7),
            Condition::NotExists,
            Condition::Always,
            Condition::Exists,
        ];
        assert_eq!(conditions, expected);
    }

    #[test]
    fn a_condition_for_no_item_and_a_second_one_are_mistakes() {
        let mistake = |given: ItemConditions, said: &str| {
            let failure = given.apply(&mut items()).unwrap_err();
            assert_eq!(failure.exit, 2);
            assert!(failure.message.contains(said), "{}", failure.message);
        };
        for position in [0, 5] {
            let given = ItemConditions {
                if_absent: vec![position],
                ..ItemConditions::default()
            };
            mistake(given, "the items are 1 to 4");
        }
        let given = ItemConditions {
            if_absent: vec![2],
            if_version: vec![(2, 7)],
            ..ItemConditions::default()
        };
        mistake(given, "item 2 has two conditions");
    }

    #[test]
    fn an_item_and_its_version_are_read() {
        assert_eq!(item_and_version("2=7"), Ok((2, 7)));
        for text in ["", "2", "=7", "2=", "a=7", "2=-1", "2=7=8"] {
            assert!(item_and_version(text).is_err(), "{text}");
        }
    }
}
