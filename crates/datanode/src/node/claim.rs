//! The claim of a node to its place among the live ones, in one session with the coordination store.
//!
//! It may take long: the store may stumble, and the session of another process that is registered as this node is
//! waited for. So it is not a call but something that goes on beside all else that the keeper does.
//!
//! | the attempt ends with | then |
//! |---|---|
//! | the registration | [`Claim::settled`] returns, and again after each later [`Claim::renew`] |
//! | a store that stumbled, a record that can't be read | another attempt, later and later |
//! | another place that is alive as this node, and this session was never registered | the node is a copy, and can't go on |
//! | the same, and this session was registered before | the other one is the intruder: another attempt, until it is gone |
//! | the end of the session | the keeper begins with another one |

use std::pin::Pin;
use std::time::Duration;

use coordination::SharedCoordination;
use coordination::records::LiveNodeRecord;
use coordination::registry;
use futures::future::BoxFuture;
use tokio::time::Sleep;

/// The pause after the first attempt that failed; each later one is twice as long.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
/// The longest pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(8);

/// See the [module](self).
pub(super) struct Claim {
    store: SharedCoordination,
    live: LiveNodeRecord,
    patience: Duration,
    stage: Stage,
    /// Something has changed while an attempt was made.
    again: bool,
    registered: bool,
    pause: Duration,
}

enum Stage {
    Settled,
    Attempt(BoxFuture<'static, Result<(), registry::Error>>),
    Pause(Pin<Box<Sleep>>),
}

impl Claim {
    /// Begins to claim. A live process at another place is waited for with `patience`, which should be longer than
    /// any session lives on.
    pub(super) fn begin(
        store: SharedCoordination,
        live: LiveNodeRecord,
        patience: Duration,
    ) -> Self {
        let mut claim = Self {
            store,
            live,
            patience,
            stage: Stage::Settled,
            again: false,
            registered: false,
            pause: FIRST_PAUSE,
        };
        claim.renew();
        claim
    }

    /// Looks whether the registration still stands, and registers again if it does not.
    pub(super) fn renew(&mut self) {
        match self.stage {
            // An attempt is not dropped half-way: what it has sent would land after the next one had looked.
            Stage::Attempt(_) => self.again = true,
            Stage::Settled | Stage::Pause(_) => self.stage = self.attempt(),
        }
    }

    /// Whether this session is registered, as far as is known.
    pub(super) fn is_settled(&self) -> bool {
        matches!(self.stage, Stage::Settled)
    }

    /// Goes on with the claim and returns when it is settled; never if it is already. An error is why this session
    /// can't be registered. Dropping the future loses nothing.
    pub(super) async fn settled(&mut self) -> Result<(), registry::Error> {
        loop {
            match &mut self.stage {
                Stage::Settled => std::future::pending().await,
                Stage::Pause(pause) => {
                    pause.as_mut().await;
                    self.stage = self.attempt();
                }
                Stage::Attempt(attempt) => {
                    let ended = attempt.await;
                    self.stage = Stage::Settled;
                    if let Err(error) = ended {
                        self.retry_after(error)?;
                        continue;
                    }
                    self.registered = true;
                    self.pause = FIRST_PAUSE;
                    if !std::mem::take(&mut self.again) {
                        return Ok(());
                    }
                    self.stage = self.attempt();
                }
            }
        }
    }

    fn retry_after(&mut self, error: registry::Error) -> Result<(), registry::Error> {
        let can_help = match &error {
            registry::Error::NodeAlive { .. } => self.registered,
            registry::Error::Record(_) => true,
            other => other.is_transient(),
        };
        if !can_help {
            return Err(error);
        }
        let pause = self.pause;
        tracing::warn!(%error, ?pause, "the node could not be registered; it will be tried again");
        self.pause = LONGEST_PAUSE.min(2 * pause);
        self.again = false;
        self.stage = Stage::Pause(Box::pin(tokio::time::sleep(pause)));
        Ok(())
    }

    fn attempt(&self) -> Stage {
        let (store, live, patience) = (self.store.clone(), self.live.clone(), self.patience);
        Stage::Attempt(Box::pin(async move {
            registry::register_live_node(&*store, &live, patience).await
        }))
    }
}

#[cfg(test)]
mod tests {
    use coordination::embedded::Embedded;
    use coordination::records::Record as _;
    use coordination::tree::Node;
    use coordination::{CreateMode, Operation};
    use model::NodeId;
    use tokio::time::timeout;

    use super::*;

    const SOON: Duration = Duration::from_secs(20);
    const SHORT: Duration = Duration::from_millis(1);

    struct Stage {
        store: Embedded,
        _dir: tempfile::TempDir,
    }

    async fn stage() -> Stage {
        let dir = tempfile::tempdir().unwrap();
        let store = Embedded::open(dir.path()).unwrap();
        registry::initialise(&*store.session()).await.unwrap();
        Stage { store, _dir: dir }
    }

    fn live(host: &str, incarnation: u64) -> LiveNodeRecord {
        LiveNodeRecord {
            id: NodeId(1),
            address: "127.0.0.1:1".into(),
            incarnation,
            started_millis: 0,
            host: host.into(),
            data_dir: "/data".into(),
        }
    }

    async fn settle(claim: &mut Claim) -> Result<(), registry::Error> {
        timeout(SOON, claim.settled()).await.unwrap()
    }

    fn is_copy(ended: &Result<(), registry::Error>) -> bool {
        matches!(ended, Err(registry::Error::NodeAlive { .. }))
    }

    #[tokio::test]
    async fn an_own_session_that_was_left_behind_is_replaced_without_patience() {
        let stage = stage().await;
        let killed = stage.store.session();
        registry::register_live_node(&*killed, &live("here", 1), SHORT)
            .await
            .unwrap();
        let mut claim = Claim::begin(stage.store.session(), live("here", 2), Duration::ZERO);
        settle(&mut claim).await.unwrap();
        assert!(claim.is_settled());
    }

    #[tokio::test]
    async fn a_copy_is_refused() {
        let stage = stage().await;
        let original = stage.store.session();
        registry::register_live_node(&*original, &live("here", 1), SHORT)
            .await
            .unwrap();
        let mut claim = Claim::begin(stage.store.session(), live("there", 2), SHORT);
        assert!(is_copy(&settle(&mut claim).await));
    }

    #[tokio::test]
    async fn a_session_that_was_registered_outlasts_an_intruder() {
        let stage = stage().await;
        let session = stage.store.session();
        let mut claim = Claim::begin(session.clone(), live("here", 1), SHORT);
        settle(&mut claim).await.unwrap();
        let intruder = stage.store.session();
        let path = Node::Live(NodeId(1)).path();
        let taken = intruder.multi(vec![
            Operation::delete(path.clone(), 0),
            Operation::create(
                path.clone(),
                live("there", 2).encode(),
                CreateMode::Ephemeral,
            ),
        ]);
        taken.await.unwrap();
        claim.renew();
        // Long enough for an attempt that runs out of patience and for the one after it.
        let waits = timeout(FIRST_PAUSE * 2, claim.settled()).await;
        assert!(waits.is_err(), "{waits:?}");
        assert!(!claim.is_settled());
        intruder.close().await;
        settle(&mut claim).await.unwrap();
        let found = session.get(&path).await.unwrap().unwrap();
        assert_eq!(
            LiveNodeRecord::decode(&path, &found.data),
            Ok(live("here", 1))
        );
    }

    #[tokio::test]
    async fn a_record_that_cannot_be_read_is_waited_out() {
        let stage = stage().await;
        let session = stage.store.session();
        let path = Node::Live(NodeId(1)).path();
        session
            .create(&path, "{".into(), CreateMode::Persistent)
            .await
            .unwrap();
        let mut claim = Claim::begin(session.clone(), live("here", 1), SHORT);
        assert!(timeout(FIRST_PAUSE / 4, claim.settled()).await.is_err());
        session.delete(&path, 0).await.unwrap();
        settle(&mut claim).await.unwrap();
    }

    #[tokio::test]
    async fn a_session_that_has_ended_is_not_tried_again() {
        let stage = stage().await;
        let session = stage.store.session();
        let mut claim = Claim::begin(session.clone(), live("here", 1), SHORT);
        session.close().await;
        let ended = settle(&mut claim).await;
        let expired = registry::Error::Store(coordination::Error::SessionExpired);
        assert_eq!(ended, Err(expired));
    }
}
