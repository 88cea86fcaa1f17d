//! A few words to write histories down with: `put(1, 0..10, "x", "a").version(4)`.
//!
//! Everything is in table `t`. The range is from invocation to return.

use std::ops::Range;

use bytes::Bytes;
use history::{
    Call, Condition, History, Operation, Outcome, Refusal, Response, TransactItem, Version,
};

/// An operation without its outcome.
pub struct Asked {
    client: u64,
    span: Range<u64>,
    call: Call,
}

pub fn bytes(text: &str) -> Bytes {
    Bytes::copy_from_slice(text.as_bytes())
}

fn asked(client: u64, span: Range<u64>, call: Call) -> Asked {
    Asked { client, span, call }
}

pub fn put(client: u64, span: Range<u64>, key: &str, value: &str) -> Asked {
    put_if(client, span, key, value, Condition::None)
}

pub fn put_if(
    client: u64,
    span: Range<u64>,
    key: &str,
    value: &str,
    condition: Condition,
) -> Asked {
    let call = Call::Put {
        table: "t".to_owned(),
        key: bytes(key),
        value: bytes(value),
        condition,
    };
    asked(client, span, call)
}

pub fn delete(client: u64, span: Range<u64>, key: &str) -> Asked {
    delete_if(client, span, key, Condition::None)
}

pub fn delete_if(client: u64, span: Range<u64>, key: &str, condition: Condition) -> Asked {
    let call = Call::Delete {
        table: "t".to_owned(),
        key: bytes(key),
        condition,
    };
    asked(client, span, call)
}

/// A consistent read.
pub fn get(client: u64, span: Range<u64>, key: &str) -> Asked {
    let call = Call::Get {
        table: "t".to_owned(),
        key: bytes(key),
        consistent: true,
    };
    asked(client, span, call)
}

pub fn eventual_get(client: u64, span: Range<u64>, key: &str) -> Asked {
    let call = Call::Get {
        table: "t".to_owned(),
        key: bytes(key),
        consistent: false,
    };
    asked(client, span, call)
}

/// Writes of several keys, all or nothing.
pub fn transact_put(client: u64, span: Range<u64>, items: &[(&str, &str)]) -> Asked {
    let item = |(key, value): &(&str, &str)| TransactItem::put("t", bytes(key), bytes(value));
    transact(client, span, items.iter().map(item).collect())
}

pub fn transact(client: u64, span: Range<u64>, items: Vec<TransactItem>) -> Asked {
    asked(client, span, Call::TransactPut { items })
}

/// An item of a transaction.
pub fn item(key: &str, value: &str, condition: Condition) -> TransactItem {
    TransactItem::put("t", bytes(key), bytes(value)).on(condition)
}

/// An item that is only looked at.
pub fn check_item(key: &str, condition: Condition) -> TransactItem {
    TransactItem {
        value: None,
        ..item(key, "", condition)
    }
}

pub fn transact_get(client: u64, span: Range<u64>, keys: &[&str]) -> Asked {
    let keys = keys.iter().map(|key| ("t".to_owned(), bytes(key)));
    let keys = keys.collect();
    asked(client, span, Call::TransactGet { keys })
}

impl Asked {
    pub fn done(self, response: Response) -> Operation {
        self.ended(Outcome::Done(response))
    }

    /// A put's answer.
    pub fn version(self, version: Version) -> Operation {
        self.done(Response::Put { version })
    }

    /// A transaction's answer.
    pub fn versions(self, versions: &[Version]) -> Operation {
        let versions = versions.iter().copied().map(Some).collect();
        self.done(Response::TransactPut { versions })
    }

    pub fn deleted(self) -> Operation {
        self.done(Response::Deleted)
    }

    pub fn shows(self, value: &str, version: Version) -> Operation {
        let value = bytes(value);
        self.done(Response::Got { value, version })
    }

    pub fn missing(self) -> Operation {
        self.done(Response::Missing)
    }

    /// What a `TransactGet` saw; version 0 stands for "missing".
    pub fn saw(self, items: &[(&str, Version)]) -> Operation {
        let seen = |(value, version): &(&str, Version)| {
            let item = (bytes(value), *version);
            (*version > 0).then_some(item)
        };
        let items = items.iter().map(seen).collect();
        self.done(Response::TransactGet { items })
    }

    pub fn unknown(self) -> Operation {
        self.ended(Outcome::Unknown)
    }

    pub fn refused(self) -> Operation {
        self.ended(Outcome::Refused(Refusal::Other))
    }

    pub fn condition_failed(self) -> Operation {
        self.ended(Outcome::Refused(Refusal::ConditionFailed))
    }

    pub fn cancelled(self) -> Operation {
        self.ended(Outcome::Refused(Refusal::Cancelled))
    }

    fn ended(self, outcome: Outcome) -> Operation {
        Operation {
            client: self.client,
            sequence: self.span.start,
            invoked: self.span.start,
            returned: Some(self.span.end),
            call: self.call,
            outcome,
        }
    }
}

pub fn history(operations: impl IntoIterator<Item = Operation>) -> History {
    History::new(operations.into_iter().collect())
}
