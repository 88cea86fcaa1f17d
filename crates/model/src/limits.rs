//! Every limit of the system, in one place, related by checks at compile time.
//!
//! Sizes are bytes unless the name says otherwise.

/// The longest partition key (DynamoDB's limit). The shortest has 1 byte.
pub const MAX_KEY_BYTES: usize = 2 * KIB;
/// The largest value (DynamoDB's limit). The smallest is empty.
pub const MAX_VALUE_BYTES: usize = 400 * KIB;
/// The shortest table name.
pub const MIN_TABLE_NAME_BYTES: usize = 3;
/// The longest table name.
pub const MAX_TABLE_NAME_BYTES: usize = 255;
/// The most shards of a table. Its record must stay below [`MAX_ZNODE_BYTES`].
pub const MAX_SHARDS: u32 = 4096;
/// Replicas per shard that a table may have.
pub const REPLICAS: [u32; 2] = [3, 5];
/// The most items of a batch or a transaction.
pub const MAX_BATCH_ITEMS: usize = 100;
/// The most bytes of keys and values of a batch or a transaction, and of an answer to one.
pub const MAX_BATCH_BYTES: usize = 4 * MIB;
/// The longest token by which a caller makes a transaction safe to send again (DynamoDB's limit).
pub const MAX_TOKEN_BYTES: usize = 36;
/// How long a token is remembered after the end of its transaction, milliseconds.
pub const TOKEN_MILLIS: u64 = 600_000;
/// Tokens that are remembered, beyond which a transaction with a new one is `OVERLOADED`.
pub const MAX_TOKENS: usize = 10_000;
/// Deletes that a shard remembers one by one, so that an unrelated one is not taken for that of an absent key.
pub const REMEMBERED_DELETES: usize = 16;
/// The largest gRPC message, in either direction, between any two processes.
pub const MAX_MESSAGE_BYTES: usize = 8 * MIB;
/// The most tables in one page of `ListTables`.
pub const MAX_LIST_PAGE: usize = 1000;
/// The longest deadline that a data operation may ask for, milliseconds.
pub const MAX_DATA_DEADLINE_MILLIS: u64 = 60_000;
/// What ZooKeeper takes in one znode or one request, by its default `jute.maxbuffer`.
pub const MAX_ZNODE_BYTES: usize = MIB - KIB;

/// How long a shard remembers a write's identity, milliseconds by the clocks of its leaders.
pub const REQUEST_WINDOW_MILLIS: u64 = 120_000;
/// How many identities a shard remembers at the most; the oldest go first.
pub const REQUEST_WINDOW_ENTRIES: usize = 250_000;
/// How far the issue time of a write may lie ahead of the leader's clock, milliseconds.
pub const MAX_CLOCK_AHEAD_MILLIS: u64 = 60_000;

/// Commands of one Raft entry, at the most.
pub const MAX_ENTRY_COMMANDS: usize = 1024;
/// Bytes of the commands of one Raft entry beyond which no further command joins it.
pub const MAX_ENTRY_BYTES: usize = MIB;
/// Operations in flight on a data node, beyond which it answers `OVERLOADED`.
pub const MAX_NODE_OPERATIONS: usize = 20_000;
/// Bytes of keys and values in flight on a data node, beyond which it answers `OVERLOADED`.
pub const MAX_NODE_BYTES: usize = 128 * MIB;
/// Operations in flight on one stream of a client, and in one message of it. The client library makes calls of further ones; a
/// router looks at further ones once there is room.
pub const MAX_STREAM_OPERATIONS: usize = 1024;
/// Bytes of the same, in flight.
pub const MAX_STREAM_BYTES: usize = 16 * MIB;
/// Operations in flight on one shard, beyond which it answers `OVERLOADED`.
pub const MAX_SHARD_OPERATIONS: usize = 8_192;

/// What a transaction takes at the most: its items, and the keys that it names beside them, with what frames them.
const MAX_TRANSACTION_BYTES: usize = MAX_BATCH_BYTES + MAX_BATCH_ITEMS * (MAX_KEY_BYTES + 64);

const KIB: usize = 1024;
const MIB: usize = 1024 * KIB;

const _: () = {
    // The largest single item fits into a batch, an entry and a message, with room for its frame.
    assert!(MAX_KEY_BYTES + MAX_VALUE_BYTES < MAX_BATCH_BYTES);
    assert!(MAX_KEY_BYTES + MAX_VALUE_BYTES < MAX_ENTRY_BYTES);
    assert!(2 * MAX_BATCH_BYTES <= MAX_MESSAGE_BYTES);
    // An entry that was filled up to its bound and took one more command, be it the largest part of the largest
    // transaction, fits into a message beside what else may stand in it.
    assert!(MAX_ENTRY_BYTES + MAX_TRANSACTION_BYTES < MAX_MESSAGE_BYTES / 4 * 3);
    // One bit for each item of a refused transaction.
    assert!(MAX_BATCH_ITEMS <= u128::BITS as usize);
    // A write stays known for longer than any caller may go on trying to send it.
    assert!(REQUEST_WINDOW_MILLIS >= MAX_DATA_DEADLINE_MILLIS + MAX_CLOCK_AHEAD_MILLIS);
    assert!(MAX_SHARD_OPERATIONS <= MAX_NODE_OPERATIONS);
};
