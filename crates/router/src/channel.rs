//! The way to the data nodes: one long-lived stream to each, carrying the operations of all callers.
//!
//! A unary gRPC call costs 27 µs of CPU over both ends, an operation in a batched stream under 1 µs. So
//! each node has one [`Link`](link) with one `Operate` stream, and a [`Lane`](lane) of operations that are
//! queued for it or wait for its answer, told apart by correlation ids. What matters most is what is said of
//! an operation that got no answer, because it decides whether a write may be sent again and what its caller
//! is told:
//!
//! | what happened | [`Outcome`] |
//! |---|---|
//! | no connection could be made, or it ended before the operation went out | [`NotSent::Unreachable`] |
//! | the bounds on operations or bytes in flight are reached | [`NotSent::Overloaded`] |
//! | the frame was handed to the transport, then the connection ended | [`Outcome::Lost`] |
//! | the node answered | [`Outcome::Answer`] |
//!
//! # Caveats
//!
//! * An operation that nobody waits for any more stays in flight until its answer comes or the connection
//!   ends; the data node drops it at its deadline.
//! * A node that can't be reached is tried again in the background, with back-off; meanwhile operations for
//!   it are refused at once, so that another replica gets them.

mod lane;
mod link;
mod outcome;

use std::collections::{BTreeMap, HashMap};
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use api::internal::Operation;
use arc_swap::ArcSwap;
use model::NodeId;
use parking_lot::Mutex;
use tokio::sync::oneshot;
use tokio::time::Instant;
use tonic::Status;

use crate::options::Timing;
pub(crate) use link::Client;
use link::Link;
pub(crate) use outcome::{Answer, NotSent, Outcome, Success};

/// The links to all members, by node.
#[derive(Debug)]
pub(crate) struct Nodes {
    links: ArcSwap<HashMap<NodeId, Arc<Link>>>,
    /// Held while the set of links is changed.
    changing: Mutex<()>,
    timing: Timing,
}

impl Nodes {
    pub(crate) fn new(timing: Timing) -> Self {
        Self {
            links: ArcSwap::default(),
            changing: Mutex::new(()),
            timing,
        }
    }

    /// Makes the links those of these members: starts what is new, ends what has gone, follows addresses.
    pub(crate) fn set_members<'a>(&self, members: impl Iterator<Item = (NodeId, &'a str)>) {
        let _changing = self.changing.lock();
        let current = self.links.load_full();
        let members: BTreeMap<NodeId, &str> = members.collect();
        let mut links = HashMap::with_capacity(members.len());
        for (&node, &address) in &members {
            let link = if let Some(link) = current.get(&node) {
                link.moved(address);
                Arc::clone(link)
            } else {
                Link::start(node, address.to_owned(), self.timing.clone())
            };
            links.insert(node, link);
        }
        for (node, link) in current.iter() {
            if !members.contains_key(node) {
                link.stop();
            }
        }
        self.links.store(Arc::new(links));
    }

    /// Gives an operation to a node. The receiver gets its outcome; a receiver that is closed without one
    /// means [`Outcome::Lost`].
    pub(crate) fn submit(
        &self,
        node: NodeId,
        operation: Operation,
        deadline: Instant,
    ) -> Result<oneshot::Receiver<Outcome>, NotSent> {
        match self.links.load().get(&node) {
            Some(link) => link.lane.submit(operation, deadline),
            None => Err(NotSent::Unreachable),
        }
    }

    /// Whether the node is out of reach as far as is known, or has answered nothing lately.
    pub(crate) fn is_suspect(&self, node: NodeId) -> bool {
        let patience = self.timing.attempt_timeout;
        self.links
            .load()
            .get(&node)
            .is_none_or(|link| link.lane.is_suspect(Instant::now(), patience))
    }

    /// A unary call to a node, with a bound on its time.
    pub(crate) async fn call<T, F>(
        &self,
        node: NodeId,
        timeout: Duration,
        call: impl FnOnce(Client) -> F,
    ) -> Result<T, Status>
    where
        F: Future<Output = Result<tonic::Response<T>, Status>>,
    {
        let link = self.links.load().get(&node).cloned();
        let link = link.ok_or_else(|| Status::unavailable("the node is not a known member"))?;
        let client = link
            .client(&self.timing)
            .map_err(|error| Status::unavailable(error.to_string()))?;
        match tokio::time::timeout(timeout, call(client)).await {
            Ok(answer) => answer.map(tonic::Response::into_inner),
            Err(_) => Err(Status::unavailable(format!(
                "no answer within {} ms",
                timeout.as_millis()
            ))),
        }
    }

    /// Ends all links.
    pub(crate) fn stop(&self) {
        self.set_members(std::iter::empty());
    }
}

impl Drop for Nodes {
    fn drop(&mut self) {
        self.stop();
    }
}

#[cfg(test)]
mod tests;
