//! The client library: tables and items of a Mini-DynamoDB cluster, from Rust.
//!
//! A [`Client`] talks gRPC to one or more routers. It is cheap to clone, and all clones share its
//! connections; they are opened with the first request.
//!
//! ```no_run
//! use client::{Client, Consistency};
//!
//! # async fn example() -> Result<(), client::Error> {
//! let client = Client::connect(["http://127.0.0.1:7400"])?;
//! client.create_table("people", 12, 3).await?;
//!
//! let version = client.put("people", "ada", "countess").await?;
//! let item = client.get("people", "ada", Consistency::Strong).await?;
//! assert_eq!(item.map(|item| item.version), Some(version));
//!
//! client.delete("people", "ada").await?;
//! assert_eq!(client.get("people", "ada", Consistency::Strong).await?, None);
//!
//! // All of them or none.
//! client.transact_put([("people", "bob", "smith"), ("people", "eve", "spy")], None).await?;
//! let both = client.transact_get([("people", "bob"), ("people", "eve")]).await?;
//! assert!(both.iter().all(Option::is_some));
//! # Ok(())
//! # }
//! ```
//!
//! # How it is sent
//!
//! A lone operation is a gRPC call. Once there are several on a connection they share one stream, at a fraction of the cost. That
//! changes nothing in what they mean; what was sent when the stream ends counts as lost, like a call whose connection breaks.
//!
//! # What is sent again, and what an error promises
//!
//! Within its deadline a request is sent again whenever that can do no harm. A put or delete carries an
//! identity (`RequestId`) by which a shard recognises it, so it may be sent again even after its answer was
//! lost. So does a `transact_put` with a token. One without, and the creation and deletion of a table, carry none.
//!
//! | what happened to an attempt | a read | put, delete, `transact_put` with a token | tables, `transact_put` without |
//! |---|---|---|---|
//! | refused connection, not a byte sent, refused because the router goes down | next router | next router | next router |
//! | `NO_LEADER`, `SHARD_NOT_HOSTED`, `OVERLOADED` | again | again | again |
//! | `NO_QUORUM`, `COORDINATION_UNAVAILABLE` | once at each router | once at each router | once at each router |
//! | connection lost, deadline passed, `OUTCOME_UNKNOWN` | again | again, same identity | **ends**: `OUTCOME_UNKNOWN` |
//! | any other answer | ends | ends | ends |
//!
//! "Certainly not applied" speaks for the whole request: once a single attempt may have been applied, only
//! a confirmation clears that up, and every other end is `OUTCOME_UNKNOWN`, whatever the last attempt said.
//!
//! # Caveats
//!
//! * A batch is not atomic. Each of its items has its own result.
//! * When every router refuses the connection the request fails at once, without waiting for one to come
//!   back.
//! * A deadline for data operations beyond a minute counts as a minute, because shards remember the
//!   identities of writes for a bounded time.

#[macro_use]
#[path = "../../mutants/src/site.rs"]
mod mutant;

mod address;
mod admin;
mod batch;
mod client;
mod connection;
mod error;
mod history;
mod operation;
mod retry;
mod routers;
mod stream;
mod transaction;

pub use api::{Error as ServiceError, Reason, v1};
pub use client::{Client, Consistency, Item, Options};
pub use error::{CancellationReason, Error};
pub use model::Condition;
pub use transaction::TransactItem;
