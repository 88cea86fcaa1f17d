//! Links to nodes that only pretend, over real connections.

use std::time::Duration;

use api::Reason;
use api::internal::{Get, operation};
use model::NodeId;
use tokio::time::timeout;

use super::*;
use crate::testing::{FakeNode, Fault, World};
use crate::{Answer, Outcome, Success};

const NODE: NodeId = NodeId(1);

fn nodes(address: std::net::SocketAddr) -> Nodes {
    let timing = Timing {
        reconnect: (Duration::from_millis(5), Duration::from_millis(20)),
        ..Timing::default()
    };
    let nodes = Nodes::new(Arc::new(environment::Tcp), timing);
    nodes.set_members([(NODE, address.to_string().as_str())].into_iter());
    nodes
}

fn start() -> FakeNode {
    FakeNode::start(NODE, &Arc::new(World::default()))
}

fn submit(nodes: &Nodes) -> Result<Waiting, NotSent> {
    let get = Get {
        key: "k".into(),
        consistent: true,
    };
    let operation = Operation {
        kind: Some(operation::Kind::Get(get)),
        ..Operation::default()
    };
    nodes.submit(NODE, operation, Instant::now() + Duration::from_secs(10))
}

async fn outcome(nodes: &Nodes) -> Outcome {
    match submit(nodes) {
        Ok(outcome) => timeout(Duration::from_secs(10), outcome)
            .await
            .expect("every operation gets its outcome"),
        Err(reason) => Outcome::NotSent(reason),
    }
}

async fn until_answered(nodes: &Nodes) -> Answer {
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        match outcome(nodes).await {
            Outcome::Answer(answer) => return answer,
            _ if Instant::now() < deadline => tokio::time::sleep(Duration::from_millis(5)).await,
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn an_operation_is_answered_over_the_connection_that_is_made_for_it() {
    let node = start();
    let nodes = nodes(node.address);
    let expected = Outcome::Answer(Answer {
        leader: None,
        result: Ok(Success::Absent),
    });
    assert_eq!(outcome(&nodes).await, expected);
    node.set_fault(Fault::Refuse(Reason::NoQuorum));
    match outcome(&nodes).await {
        Outcome::Answer(Answer {
            result: Err(error), ..
        }) => assert_eq!(error.reason, Reason::NoQuorum),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn what_nobody_listens_for_was_certainly_not_sent() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let nodes = nodes(address);
    let unreachable = Outcome::NotSent(NotSent::Unreachable);
    assert_eq!(outcome(&nodes).await, unreachable);
    assert!(nodes.is_suspect(NODE));
    // Known by now: refused without waiting.
    assert_eq!(submit(&nodes).map(drop), Err(NotSent::Unreachable));
}

#[tokio::test]
async fn what_was_sent_and_never_answered_is_lost_with_the_connection() {
    let mut node = start();
    let nodes = nodes(node.address);
    until_answered(&nodes).await;
    node.set_fault(Fault::Silent);
    let before = node.operations();
    let waiting = submit(&nodes).unwrap();
    while node.operations() == before {
        tokio::task::yield_now().await;
    }
    node.kill();
    assert_eq!(waiting.await, Outcome::Lost);
}

#[tokio::test]
async fn a_node_hears_that_nobody_waits_any_more() {
    let node = start();
    let nodes = nodes(node.address);
    until_answered(&nodes).await;
    node.set_fault(Fault::Silent);
    let before = node.operations();
    let [gone, _kept] = [(); 2].map(|()| submit(&nodes).unwrap());
    let deadline = Instant::now() + Duration::from_secs(10);
    while node.operations() < before + 2 {
        assert!(Instant::now() < deadline);
        tokio::task::yield_now().await;
    }
    assert_eq!(node.cancelled(), 0);
    drop(gone);
    while node.cancelled() == 0 {
        assert!(Instant::now() < deadline);
        tokio::task::yield_now().await;
    }
    assert_eq!(node.cancelled(), 1);
}

#[tokio::test]
async fn a_stream_that_ends_instead_of_an_answer_means_lost_and_is_made_again() {
    let node = start();
    let nodes = nodes(node.address);
    until_answered(&nodes).await;
    node.set_fault(Fault::CutAfterNext);
    assert_eq!(outcome(&nodes).await, Outcome::Lost);
    until_answered(&nodes).await;
}

#[tokio::test]
async fn a_node_that_has_moved_is_found_at_its_new_address() {
    let mut old = start();
    let nodes = nodes(old.address);
    until_answered(&nodes).await;
    old.kill();
    let new = start();
    nodes.set_members([(NODE, new.address.to_string().as_str())].into_iter());
    until_answered(&nodes).await;
    assert!(new.operations() > 0);
}

#[tokio::test]
async fn a_node_that_is_no_member_any_more_gets_nothing_and_answers_nothing() {
    let node = start();
    let nodes = nodes(node.address);
    until_answered(&nodes).await;
    node.set_fault(Fault::Silent);
    let before = node.operations();
    let waiting = submit(&nodes).unwrap();
    while node.operations() == before {
        tokio::task::yield_now().await;
    }
    nodes.set_members(std::iter::empty());
    assert_eq!(waiting.await, Outcome::Lost);
    assert_eq!(submit(&nodes).map(drop), Err(NotSent::Unreachable));
}

/// A network that swallows what is sent to it, and counts the attempts.
#[derive(Debug, Default)]
struct BlackHole(std::sync::atomic::AtomicU32);

impl Network for BlackHole {
    fn connect(
        &self,
        _: &str,
    ) -> futures::future::BoxFuture<'static, std::io::Result<environment::Socket>> {
        self.0.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        Box::pin(std::future::pending())
    }

    fn listen(
        &self,
        _: std::net::SocketAddr,
    ) -> futures::future::BoxFuture<'static, std::io::Result<environment::Incoming>> {
        Box::pin(std::future::pending())
    }
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_does_not_come_about_is_given_up_in_time_and_tried_again() {
    let hole = Arc::new(BlackHole::default());
    let nodes = Nodes::new(Arc::clone(&hole) as Arc<dyn Network>, Timing::default());
    let begin = Instant::now();
    nodes.set_members([(NODE, "nowhere:1")].into_iter());
    let unreachable = Outcome::NotSent(NotSent::Unreachable);
    assert_eq!(outcome(&nodes).await, unreachable);
    assert!(begin.elapsed() < Timing::default().connect_timeout * 2);
    while hole.0.load(std::sync::atomic::Ordering::Relaxed) < 2 {
        assert!(begin.elapsed() < Duration::from_secs(10));
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
