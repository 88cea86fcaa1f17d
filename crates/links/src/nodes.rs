//! The links to all members.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use api::internal::Operation;
use arc_swap::ArcSwap;
use environment::Network;
use model::NodeId;
use parking_lot::Mutex;
use tokio::time::Instant;
use tonic::Status;

use crate::link::Link;
use crate::{Client, NotSent, Timing, Waiting};

/// The links to all members, by node.
#[derive(Debug)]
pub struct Nodes {
    links: ArcSwap<BTreeMap<NodeId, Arc<Link>>>,
    /// Held while the set of links is changed.
    changing: Mutex<()>,
    network: Arc<dyn Network>,
    timing: Timing,
}

impl Nodes {
    /// No links yet.
    pub fn new(network: Arc<dyn Network>, timing: Timing) -> Self {
        Self {
            links: ArcSwap::default(),
            changing: Mutex::new(()),
            network,
            timing,
        }
    }

    /// Makes the links those of these members: starts what is new, ends what has gone, follows addresses.
    pub fn set_members<'a>(&self, members: impl Iterator<Item = (NodeId, &'a str)>) {
        let _changing = self.changing.lock();
        let current = self.links.load_full();
        let members: BTreeMap<NodeId, &str> = members.collect();
        let mut links = BTreeMap::new();
        for (&node, &address) in &members {
            let link = if let Some(link) = current.get(&node) {
                link.moved(address);
                Arc::clone(link)
            } else {
                let network = Arc::clone(&self.network);
                Link::start(network, node, address.to_owned(), self.timing.clone())
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

    /// Gives an operation to a node.
    pub fn submit(
        &self,
        node: NodeId,
        operation: Operation,
        deadline: Instant,
    ) -> Result<Waiting, NotSent> {
        match self.links.load().get(&node) {
            Some(link) => link.lane.submit(operation, deadline),
            None => Err(NotSent::Unreachable),
        }
    }

    /// Whether the node is out of reach as far as is known, or has answered nothing lately.
    pub fn is_suspect(&self, node: NodeId) -> bool {
        let patience = self.timing.patience;
        self.links
            .load()
            .get(&node)
            .is_none_or(|link| link.lane.is_suspect(Instant::now(), patience))
    }

    /// A unary call to a node, with a bound on its time.
    pub async fn call<T, F>(
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
    pub fn stop(&self) {
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
