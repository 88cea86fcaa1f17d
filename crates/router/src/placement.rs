//! Which data nodes get the replicas of a new table: drawn at random, once, and balanced.
//!
//! Each node gets its share of the table's replicas, that is `shards × replicas / nodes`, rounded up or down,
//! never more than one above another's share. Within a shard all nodes differ, and zones differ as far as
//! there are enough of them.
//!
//! | nodes | shards × replicas | each node gets |
//! |---|---|---|
//! | 3 | 12 × 3 | 12 |
//! | 4 | 3 × 3 | 2 or 3 |
//! | 7 | 1 × 5 | 0 or 1 |
//!
//! How it stays balanced: a shard takes those nodes that have the fewest replicas of the table so far, ties
//! in random order. After each shard all counts then differ by one at most. Zones only decide among nodes
//! with equal counts, or where taking the next higher count leaves the counts within one of each other.
//!
//! # Caveats
//!
//! Only this table counts. That nodes are level over all tables follows from the randomness, roughly.

use std::collections::{BTreeMap, BTreeSet};

use model::{HashRange, NodeId, Shard};
use rand::Rng;
use rand::seq::SliceRandom as _;

/// A live data node, as far as placement cares.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// The node.
    pub node: NodeId,
    /// The operator's label; nodes without one count as a zone each.
    pub zone: Option<String>,
}

/// More replicas than live nodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{replicas} replicas need {replicas} live data nodes, there are {live}")]
pub struct TooFewNodes {
    /// Replicas per shard that were asked for.
    pub replicas: u32,
    /// Live data nodes.
    pub live: usize,
}

/// Draws the placement of a table's shards.
pub fn place(
    candidates: &[Candidate],
    shards: u32,
    replicas: u32,
    random: &mut impl Rng,
) -> Result<Vec<Shard>, TooFewNodes> {
    let zones: BTreeMap<NodeId, Option<&str>> = candidates
        .iter()
        .map(|candidate| (candidate.node, candidate.zone.as_deref()))
        .collect();
    if replicas == 0 || (replicas as usize) > zones.len() {
        let live = zones.len();
        return Err(TooFewNodes { replicas, live });
    }
    let mut counts: BTreeMap<NodeId, u32> = zones.keys().map(|&node| (node, 0)).collect();
    let ranges = HashRange::divide(shards).into_iter();
    let shards = ranges.map(|range| {
        let mut nodes = choose(&counts, &zones, replicas as usize, random);
        for node in &nodes {
            *counts.entry(*node).or_default() += 1;
        }
        // The first of the list is where an election may begin: no node is to be first more often.
        nodes.shuffle(random);
        Shard { range, nodes }
    });
    Ok(shards.collect())
}

/// The nodes of the next shard.
///
/// Before it, all counts are `low` or `low + 1`. Nodes at `low` go first: if there are at least as many as
/// replicas, only they may be taken; else all of them must be, and the others fill up.
fn choose(
    counts: &BTreeMap<NodeId, u32>,
    zones: &BTreeMap<NodeId, Option<&str>>,
    replicas: usize,
    random: &mut impl Rng,
) -> Vec<NodeId> {
    let low = counts.values().min().copied().unwrap_or_default();
    let (mut first, mut second): (Vec<NodeId>, Vec<NodeId>) = counts
        .keys()
        .partition(|node| counts.get(node) == Some(&low));
    first.shuffle(random);
    second.shuffle(random);
    let mut chosen = Vec::with_capacity(replicas);
    let mut used = BTreeSet::new();
    for mut pool in [first, second] {
        while chosen.len() < replicas && !pool.is_empty() {
            // A node of a zone that the shard has not yet, else any.
            let fresh = |node: &NodeId| {
                let zone = zones.get(node).copied().flatten();
                zone.is_none_or(|zone| !used.contains(zone))
            };
            let position = pool.iter().position(fresh).unwrap_or(0);
            let node = pool.swap_remove(position);
            used.extend(zones.get(&node).copied().flatten());
            chosen.push(node);
        }
    }
    chosen
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rand::SeedableRng as _;
    use rand::rngs::StdRng;

    fn nodes(count: u64, zones: u64) -> Vec<Candidate> {
        let zone = |i: u64| (zones > 0).then(|| format!("z{}", i % zones));
        (0..count)
            .map(|i| Candidate {
                node: NodeId(i * 7 + 1),
                zone: zone(i),
            })
            .collect()
    }

    fn counts(nodes: &[Candidate], shards: &[Shard]) -> Vec<usize> {
        nodes
            .iter()
            .map(|candidate| {
                let holds = |shard: &&Shard| shard.nodes.contains(&candidate.node);
                shards.iter().filter(holds).count()
            })
            .collect()
    }

    proptest! {
        #[test]
        fn replicas_differ_and_no_node_is_more_than_one_above_its_share(
            count in 3u64..20,
            zones in 0u64..6,
            shards in 1u32..80,
            five: bool,
            seed: u64,
        ) {
            let replicas = if five && count >= 5 { 5 } else { 3 };
            let nodes = nodes(count, zones);
            let mut random = StdRng::seed_from_u64(seed);
            let placed = place(&nodes, shards, replicas, &mut random).unwrap();
            prop_assert_eq!(placed.len(), shards as usize);
            for shard in &placed {
                let different: BTreeSet<_> = shard.nodes.iter().collect();
                prop_assert_eq!(different.len(), replicas as usize);
            }
            let share = (shards * replicas) as usize / nodes.len();
            for count in counts(&nodes, &placed) {
                prop_assert!(count == share || count == share + 1, "{} of a share of {}", count, share);
            }
        }

        #[test]
        fn a_shard_spans_three_zones_where_each_zone_has_as_many_nodes(
            per_zone in 1u64..4,
            shards in 1u32..40,
            seed: u64,
        ) {
            let nodes = nodes(3 * per_zone, 3);
            let placed = place(&nodes, shards, 3, &mut StdRng::seed_from_u64(seed)).unwrap();
            for shard in placed {
                let zones: BTreeSet<_> = nodes
                    .iter()
                    .filter(|candidate| shard.nodes.contains(&candidate.node))
                    .map(|candidate| candidate.zone.clone())
                    .collect();
                prop_assert_eq!(zones.len(), 3);
            }
        }
    }

    #[test]
    fn too_few_nodes_are_an_error_that_counts_them() {
        let error = place(&nodes(2, 0), 1, 3, &mut StdRng::seed_from_u64(1)).unwrap_err();
        assert_eq!(
            error,
            TooFewNodes {
                replicas: 3,
                live: 2
            }
        );
        assert_eq!(
            error.to_string(),
            "3 replicas need 3 live data nodes, there are 2"
        );
    }

    #[test]
    fn the_same_seed_draws_the_same_placement_and_another_seed_another() {
        let draw = |seed| place(&nodes(9, 0), 20, 3, &mut StdRng::seed_from_u64(seed)).unwrap();
        assert_eq!(draw(1), draw(1));
        assert_ne!(draw(1), draw(2));
    }
}
