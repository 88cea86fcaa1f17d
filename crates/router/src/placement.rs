//! Which data nodes get the replicas of a new table: drawn at random, once, and balanced.
//!
//! Within a shard all nodes differ, and its replicas are spread over the zones as evenly as these allow: no zone gets a second
//! one while another has none and a node left. Among the nodes that this leaves, those with the fewest replicas of the
//! table so far come first, ties in random order.
//!
//! Where all nodes are equal (none has a zone, or each zone has as many nodes), each of them gets its share of the table's
//! replicas, that is `shards × replicas / nodes`, rounded up or down:
//!
//! | nodes | shards × replicas | each node gets |
//! |---|---|---|
//! | 3 | 12 × 3 | 12 |
//! | 4 | 3 × 3 | 2 or 3 |
//! | 7 | 1 × 5 | 0 or 1 |
//! | 2 in each of 3 zones | 10 × 3 | 5, and each shard has one in each zone |
//! | 4 in `a`, 1 in `b`, 1 in `c` | 8 × 3 | 2 in `a`, 8 in `b`, 8 in `c`: a lost zone costs no shard its majority |
//!
//! The first node of a shard is its *home*, where its leader belongs (decision 29): of its nodes one that is home to the fewest
//! shards of the table so far, ties in random order. Where all nodes are equal, each is home to its share of the shards,
//! rounded up or down, or to one more or less.
//!
//! # Caveats
//!
//! Only this table counts. That nodes are level over all tables follows from the randomness, roughly. Zones of different
//! sizes load their nodes differently (decision 17).

use std::collections::BTreeMap;

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
    let mut homes = counts.clone();
    let ranges = HashRange::divide(shards).into_iter();
    let shards = ranges.map(|range| {
        let mut nodes = choose(&counts, &zones, replicas as usize, random);
        for node in &nodes {
            *counts.entry(*node).or_default() += 1;
        }
        nodes.shuffle(random);
        home_first(&mut nodes, &mut homes);
        Shard { range, nodes }
    });
    Ok(shards.collect())
}

/// The nodes of the next shard, one after the other: first from a zone that the shard uses least, of these from the one whose
/// nodes carry least on average, of its nodes the one that carries least.
fn choose(
    counts: &BTreeMap<NodeId, u32>,
    zones: &BTreeMap<NodeId, Option<&str>>,
    replicas: usize,
    random: &mut impl Rng,
) -> Vec<NodeId> {
    let same_zone = |a: &NodeId, b: &NodeId| {
        let zone = |node| zones.get(node).copied().flatten();
        a == b || (zone(a).is_some() && zone(a) == zone(b))
    };
    let mut in_zones: BTreeMap<&str, (u64, u64)> = BTreeMap::new();
    for (node, &count) in counts {
        if let Some(zone) = zones.get(node).copied().flatten() {
            let (nodes, total) = in_zones.entry(zone).or_default();
            (*nodes, *total) = (*nodes + 1, *total + u64::from(count));
        }
    }
    // Ties are drawn once for each shard, so that they are random and yet the same for every comparison.
    let loads: BTreeMap<NodeId, (u64, u64)> = counts
        .iter()
        .map(|(&node, &count)| {
            let zone = zones.get(&node).copied().flatten();
            let of_zone = zone.and_then(|zone| in_zones.get(zone)).copied();
            let (nodes, total) = of_zone.unwrap_or((1, u64::from(count)));
            // A fixed-point number, so that zones of different sizes compare.
            (node, ((total << 32) / nodes.max(1), random.next_u64()))
        })
        .collect();
    let mut chosen: Vec<NodeId> = Vec::with_capacity(replicas);
    while chosen.len() < replicas {
        let left = counts.iter().filter(|(node, _)| !chosen.contains(node));
        let next = left.min_by_key(|(node, count)| {
            let used = chosen.iter().filter(|other| same_zone(node, other)).count();
            let (load, tie) = loads.get(node).copied().unwrap_or_default();
            (used, load, **count, tie)
        });
        let Some((&node, _)) = next else { break };
        chosen.push(node);
    }
    chosen
}

/// Puts the node first that is home to the fewest shards, of several the one that stands first, and counts the shard.
fn home_first(nodes: &mut [NodeId], homes: &mut BTreeMap<NodeId, u32>) {
    let shards = |node: &NodeId| homes.get(node).copied().unwrap_or_default();
    let fewest = (0..nodes.len()).min_by_key(|&place| nodes.get(place).map(shards));
    let Some(place) = fewest else { return };
    nodes.swap(0, place);
    if let Some(&home) = nodes.first() {
        *homes.entry(home).or_default() += 1;
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

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

    /// How many shards each node is home to.
    fn homes(nodes: &[Candidate], shards: &[Shard]) -> Vec<usize> {
        let home_to = |candidate: &Candidate| {
            let at_home = |shard: &&Shard| shard.nodes[0] == candidate.node;
            shards.iter().filter(at_home).count()
        };
        nodes.iter().map(home_to).collect()
    }

    /// How many replicas of a shard stand in each zone that it uses.
    fn per_zone(nodes: &[Candidate], shard: &Shard) -> BTreeMap<Option<String>, usize> {
        let mut found = BTreeMap::new();
        for candidate in nodes {
            if shard.nodes.contains(&candidate.node) {
                *found.entry(candidate.zone.clone()).or_default() += 1;
            }
        }
        found
    }

    fn is_a_share(nodes: &[Candidate], shards: u32, replicas: u32, placed: &[Shard]) -> bool {
        let share = (shards * replicas) as usize / nodes.len();
        counts(nodes, placed)
            .iter()
            .all(|&count| count == share || count == share + 1)
    }

    /// Shards on so many nodes without zones, with five replicas if that is wanted and can be: the nodes, the number of replicas, the shards.
    fn placed_anywhere(
        count: u64,
        shards: u32,
        five: bool,
        seed: u64,
    ) -> (Vec<Candidate>, u32, Vec<Shard>) {
        let replicas = if five && count >= 5 { 5 } else { 3 };
        let nodes = nodes(count, 0);
        let random = &mut StdRng::seed_from_u64(seed);
        let placed = place(&nodes, shards, replicas, random).unwrap();
        (nodes, replicas, placed)
    }

    proptest! {
        #[test]
        fn replicas_differ_and_no_node_is_more_than_one_above_its_share(
            count in 3u64..20,
            shards in 1u32..80,
            five: bool,
            seed: u64,
        ) {
            let (nodes, replicas, placed) = placed_anywhere(count, shards, five, seed);
            prop_assert_eq!(placed.len(), shards as usize);
            for shard in &placed {
                let different: BTreeSet<_> = shard.nodes.iter().collect();
                prop_assert_eq!(different.len(), replicas as usize);
            }
            prop_assert!(is_a_share(&nodes, shards, replicas, &placed));
        }

        #[test]
        fn every_node_is_home_to_its_share_of_the_shards_or_nearly_so(
            count in 3u64..20,
            shards in 1u32..80,
            five: bool,
            seed: u64,
        ) {
            let (nodes, _, placed) = placed_anywhere(count, shards, five, seed);
            let homes = homes(&nodes, &placed);
            let share = shards as usize / nodes.len();
            let near = |&count: &usize| count + 1 >= share && count <= share + 2;
            prop_assert!(homes.iter().all(near), "{:?}", homes);
        }

        #[test]
        fn zones_of_equal_size_are_used_evenly_and_so_are_their_nodes(
            zones in 2u64..7,
            per_zone_nodes in 1u64..4,
            shards in 1u32..60,
            five: bool,
            seed: u64,
        ) {
            let replicas = if five { 5 } else { 3 };
            let nodes = nodes(zones * per_zone_nodes, zones);
            prop_assume!(nodes.len() >= replicas as usize);
            let placed = place(&nodes, shards, replicas, &mut StdRng::seed_from_u64(seed)).unwrap();
            for shard in &placed {
                let used = per_zone(&nodes, shard);
                prop_assert_eq!(used.len(), (replicas as usize).min(zones as usize));
                let most = (replicas as usize).div_ceil(zones as usize);
                prop_assert!(used.values().all(|&count| count <= most), "{:?}", used);
            }
            prop_assert!(
                is_a_share(&nodes, shards, replicas, &placed),
                "{:?}",
                counts(&nodes, &placed)
            );
        }

        #[test]
        fn a_shard_spans_as_many_zones_as_there_are_whatever_their_sizes(
            labels in proptest::collection::vec(0u8..5, 5..14),
            shards in 1u32..40,
            five: bool,
            seed: u64,
        ) {
            let replicas = if five { 5 } else { 3 };
            let nodes: Vec<Candidate> = (1..)
                .zip(&labels)
                .map(|(id, label)| Candidate { node: NodeId(id), zone: Some(label.to_string()) })
                .collect();
            let zones: BTreeSet<_> = labels.iter().collect();
            let placed = place(&nodes, shards, replicas, &mut StdRng::seed_from_u64(seed)).unwrap();
            for shard in &placed {
                let used = per_zone(&nodes, shard);
                prop_assert_eq!(used.len(), (replicas as usize).min(zones.len()));
            }
        }
    }

    #[test]
    fn of_12_shards_each_of_3_nodes_is_home_to_4_and_each_of_5_to_2_or_3() {
        for seed in 0..200 {
            let random = &mut StdRng::seed_from_u64(seed);
            for (count, expected) in [(3, 4..=4), (5, 2..=3)] {
                let nodes = nodes(count, 0);
                let homes = homes(&nodes, &place(&nodes, 12, 3, random).unwrap());
                assert!(homes.iter().all(|n| expected.contains(n)), "{homes:?}");
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
