//! Histories that a correct store made: random operations that really run, each at one moment, against an
//! atomic map.

use std::collections::BTreeMap;

use bytes::Bytes;
use history::{
    Call, Condition, FinalState, History, Operation, Outcome, Refusal, Register, Response,
    TransactItem, Version,
};
use proptest::prelude::*;

/// What kind of operation a client does next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verb {
    Get,
    EventualGet,
    Put,
    PutIfAbsent,
    PutIfPresent,
    PutIfVersion,
    Delete,
    TransactPut,
    TransactGet,
}

/// One operation to come.
#[derive(Debug, Clone)]
pub struct Plan {
    pub client: u64,
    pub verb: Verb,
    pub keys: Vec<u8>,
    /// Time between the client's last operation and this one.
    pub gap: u64,
    /// Time until it takes effect, and from there until it returns.
    pub until: u64,
    pub then: u64,
    pub fate: Fate,
}

/// What the client learns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    Told,
    /// The client gives up, and the operation happens this much later, or not.
    Lost(Option<u64>),
}

/// Few of many verbs.
pub fn plans(
    verbs: &'static [Verb],
    clients: u64,
    keys: u8,
    count: impl Into<proptest::collection::SizeRange>,
) -> impl Strategy<Value = Vec<Plan>> {
    let fate = prop_oneof![
        6 => Just(Fate::Told),
        1 => proptest::option::of(0..60u64).prop_map(Fate::Lost),
    ];
    let keys = proptest::collection::vec(0..keys, 1..=3);
    let verb = proptest::sample::select(verbs);
    let times = (0..6u64, 0..12u64, 0..12u64);
    let plan = (0..clients, verb, keys, times, fate).prop_map(
        |(client, verb, keys, (gap, until, then), fate)| Plan {
            client,
            verb,
            keys,
            gap,
            until,
            then,
            fate,
        },
    );
    proptest::collection::vec(plan, count)
}

pub const SINGLE: &[Verb] = &[Verb::Get, Verb::EventualGet, Verb::Put, Verb::Delete];
pub const CONDITIONAL: &[Verb] = &[
    Verb::Get,
    Verb::Put,
    Verb::PutIfAbsent,
    Verb::PutIfPresent,
    Verb::Delete,
];
pub const TRANSACTIONS: &[Verb] = &[
    Verb::Put,
    Verb::TransactPut,
    Verb::TransactGet,
    Verb::TransactGet,
];
pub const TRANSACTIONS_AND_DELETES: &[Verb] = &[
    Verb::TransactPut,
    Verb::TransactGet,
    Verb::TransactGet,
    Verb::Delete,
];
pub const ALL: &[Verb] = &[
    Verb::Get,
    Verb::EventualGet,
    Verb::Put,
    Verb::PutIfAbsent,
    Verb::PutIfPresent,
    Verb::PutIfVersion,
    Verb::Delete,
    Verb::TransactPut,
    Verb::TransactGet,
];

pub fn register(key: u8) -> Register {
    ("t".to_owned(), Bytes::from(format!("k{key}")))
}

/// Runs the plans. The second result is what is left at the end of everything.
pub fn run(plans: &[Plan]) -> (History, FinalState) {
    let mut operations = Vec::new();
    let mut moments = Vec::new();
    let mut clocks: BTreeMap<u64, u64> = BTreeMap::new();
    for (i, plan) in plans.iter().enumerate() {
        let clock = clocks.entry(plan.client).or_default();
        let invoked = *clock + plan.gap;
        let returned = invoked + plan.until + plan.then;
        // Consecutive operations of a client do not overlap.
        *clock = returned + 1;
        let moment = match plan.fate {
            Fate::Told => Some(invoked + plan.until),
            Fate::Lost(later) => later.map(|later| invoked + plan.until + later),
        };
        moments.extend(moment.map(|moment| (moment, i)));
        operations.push(Operation {
            client: plan.client,
            sequence: i as u64,
            invoked,
            returned: Some(returned),
            call: call(plan, i),
            outcome: Outcome::Unknown,
        });
    }
    moments.sort_unstable();
    let mut store = Store::default();
    for (_, i) in moments {
        // A condition on a version aims at the present one now and then.
        aim(&mut operations[i].call, &store);
        let outcome = store.apply(&operations[i].call);
        if plans[i].fate == Fate::Told {
            operations[i].outcome = outcome;
        }
    }
    let keys = plans.iter().flat_map(|plan| &plan.keys).copied();
    let at_rest = keys.map(|key| (register(key), store.items.get(&register(key)).cloned()));
    (History::new(operations), at_rest.collect())
}

fn call(plan: &Plan, i: usize) -> Call {
    let (table, key) = register(plan.keys[0]);
    let value = Bytes::from(format!("v{i}"));
    let put = |condition| Call::Put {
        table: table.clone(),
        key: key.clone(),
        value: value.clone(),
        condition,
    };
    let get = |consistent| Call::Get {
        table: table.clone(),
        key: key.clone(),
        consistent,
    };
    let mut keys: Vec<Register> = plan.keys.iter().copied().map(register).collect();
    keys.sort();
    keys.dedup();
    match plan.verb {
        Verb::Get => get(true),
        Verb::EventualGet => get(false),
        Verb::Put => put(Condition::None),
        Verb::PutIfAbsent => put(Condition::Absent),
        Verb::PutIfPresent => put(Condition::Present),
        Verb::PutIfVersion => put(Condition::Version(1 + i as u64 / 2)),
        Verb::Delete => Call::Delete {
            table: table.clone(),
            key: key.clone(),
            condition: Condition::None,
        },
        Verb::TransactPut => {
            let item = |(table, key)| TransactItem::put(table, key, value.clone());
            let items = keys.into_iter().map(item).collect();
            Call::TransactPut { items }
        }
        Verb::TransactGet => Call::TransactGet { keys },
    }
}

fn aim(call: &mut Call, store: &Store) {
    if let Call::Put {
        table,
        key,
        condition: Condition::Version(version),
        ..
    } = call
        && let Some((_, present)) = store.items.get(&(table.clone(), key.clone()))
        && *version % 2 == 0
    {
        *version = *present;
    }
}

/// An atomic map.
#[derive(Default)]
struct Store {
    items: BTreeMap<Register, (Bytes, Version)>,
    version: Version,
}

impl Store {
    fn apply(&mut self, call: &Call) -> Outcome {
        let response = match call {
            Call::Get { table, key, .. } => match self.items.get(&(table.clone(), key.clone())) {
                Some((value, version)) => Response::Got {
                    value: value.clone(),
                    version: *version,
                },
                None => Response::Missing,
            },
            Call::Put {
                table,
                key,
                value,
                condition,
            } => {
                let register = (table.clone(), key.clone());
                if !self.holds(&register, *condition) {
                    return Outcome::Refused(Refusal::ConditionFailed);
                }
                self.version += 1;
                let version = self.version;
                self.items.insert(register, (value.clone(), version));
                Response::Put { version }
            }
            Call::Delete { table, key, .. } => {
                self.items.remove(&(table.clone(), key.clone()));
                Response::Deleted
            }
            Call::TransactPut { items } => {
                self.version += 1;
                for item in items {
                    let register = (item.table.clone(), item.key.clone());
                    let value = item.value.clone().unwrap();
                    self.items.insert(register, (value, self.version));
                }
                let versions = vec![Some(self.version); items.len()];
                Response::TransactPut { versions }
            }
            Call::TransactGet { keys } => {
                let items = keys.iter().map(|key| self.items.get(key).cloned());
                let items = items.collect();
                Response::TransactGet { items }
            }
        };
        Outcome::Done(response)
    }

    fn holds(&self, register: &Register, condition: Condition) -> bool {
        let item = self.items.get(register);
        match condition {
            Condition::None => true,
            Condition::Present => item.is_some(),
            Condition::Absent => item.is_none(),
            Condition::Version(wanted) => item.is_some_and(|(_, version)| *version == wanted),
        }
    }
}

/// Small numbers that look random, the same in every run (`SplitMix64`).
pub struct Numbers(pub u64);

impl Numbers {
    pub fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % bound
    }

    /// A long history: `count` operations of these clients over these keys, `lost` of a hundred with an unknown outcome.
    pub fn plans(
        &mut self,
        verbs: &[Verb],
        clients: u64,
        keys: u64,
        count: usize,
        lost: u64,
    ) -> Vec<Plan> {
        let mut plan = || Plan {
            client: self.below(clients),
            verb: verbs[self.below(verbs.len() as u64) as usize],
            keys: (0..3).map(|_| self.below(keys) as u8).collect(),
            gap: self.below(3),
            until: self.below(10),
            then: self.below(10),
            fate: match self.below(100) {
                n if n >= lost => Fate::Told,
                n if n % 2 == 0 => Fate::Lost(None),
                _ => Fate::Lost(Some(self.below(100))),
            },
        };
        (0..count).map(|_| plan()).collect()
    }
}
