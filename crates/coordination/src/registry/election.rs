//! The election of the one router that drives tables to their goal, the controller.
//!
//! Every router that stands for it has a candidate below `/controller`: an ephemeral znode with a number
//! that the store draws, growing. The lowest leads. Every other one watches the candidate just below its
//! own and nothing else, so that the end of one session wakes one router and not all of them (Hunt et al.,
//! USENIX ATC 2010, section 2.4).
//!
//! | candidates | leads | watches |
//! |---|---|---|
//! | 3 (a), 5 (b), 6 (c) | a | b → 3, c → 5 |
//! | b's session ends | a | c → 3 |
//! | a's session ends | c | |
//!
//! # Caveats
//!
//! Leading is a belief. A router that is disconnected stops believing at once, but one that is merely slow
//! may find its successor at work. So nothing relies on there being one controller: each of its writes is
//! conditional, and puts [`Leadership::fence`] into its `multi`, which fails once its candidate is gone.

use std::sync::Arc;

use bytes::Bytes;
use model::RouterId;
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::{Duration, sleep};

use super::Error;
use super::attempts::Attempts;
use super::reading::children;
use crate::tree::{Candidate, Node};
use crate::{ANY_VERSION, Coordination, CreateMode, Operation, SessionState, SharedCoordination};

/// Before looking again, when the store was not to be read.
const PAUSE: Duration = Duration::from_millis(100);

/// Whether this router is the controller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Leadership {
    /// It is, as far as it knows.
    Leader(Candidate),
    /// It is not, or can't know.
    Follower,
}

impl Leadership {
    /// Whether this router is the controller, as far as it knows.
    pub fn is_leader(self) -> bool {
        matches!(self, Self::Leader(_))
    }

    /// For the front of a `multi` of the controller's: fails if it has been deposed. `None` for a
    /// follower, which has nothing to write.
    pub fn fence(self) -> Option<Operation> {
        match self {
            Self::Leader(candidate) => {
                let path = Node::Candidate(candidate).path();
                Some(Operation::check(path, ANY_VERSION))
            }
            Self::Follower => None,
        }
    }
}

/// A router's part in the election. Dropping it withdraws the candidate in the background;
/// [`resign`](Self::resign) waits for that.
pub struct Election {
    leadership: watch::Receiver<Leadership>,
    resign: Option<oneshot::Sender<()>>,
    task: Option<JoinHandle<()>>,
}

impl Election {
    /// Stands for controller until it resigns, is dropped or the session ends. Fails only if the candidate
    /// can't be created; what comes later is seen in [`leadership`](Self::leadership).
    pub async fn join(store: SharedCoordination, router: RouterId) -> Result<Self, Error> {
        stand(&*store, router).await?;
        let (sender, leadership) = watch::channel(Leadership::Follower);
        let (resign, resigned) = oneshot::channel();
        let task = tokio::spawn(async move {
            let campaign = Campaign {
                store: Arc::clone(&store),
                router,
                leadership: sender,
            };
            tokio::select! {
                biased;
                // Told to, or dropped.
                _ = resigned => {}
                () = campaign.run() => {}
            }
            campaign.leadership.send_replace(Leadership::Follower);
            withdraw(&*store, router).await;
        });
        Ok(Self {
            leadership,
            resign: Some(resign),
            task: Some(task),
        })
    }

    /// Whether this router is the controller, now and from now on. `Follower` at the latest when the
    /// session's state shows `Disconnected`.
    pub fn leadership(&self) -> watch::Receiver<Leadership> {
        self.leadership.clone()
    }

    /// Withdraws the candidate, so that another router leads at once.
    pub async fn resign(mut self) {
        drop(self.resign.take());
        if let Some(task) = self.task.take() {
            // It fails only if it panicked or its runtime ends, and with that the session.
            let _ = task.await;
        }
    }
}

/// One router's campaign while its session lives.
struct Campaign {
    store: SharedCoordination,
    router: RouterId,
    leadership: watch::Sender<Leadership>,
}

/// What a look at the candidates shows.
#[derive(PartialEq, Eq)]
struct Place {
    /// Our candidate; the lowest, should one whose creation was not confirmed have landed late.
    ours: Candidate,
    /// The one just below it. `None`: ours leads.
    predecessor: Option<Candidate>,
}

impl Campaign {
    async fn run(&self) {
        let mut session = self.store.session();
        loop {
            let state = *session.borrow_and_update();
            match state {
                SessionState::Expired => return,
                SessionState::Disconnected => {
                    self.publish(Leadership::Follower);
                    if session.changed().await.is_err() {
                        return;
                    }
                }
                // Whatever it waits for, it ends when the connection is lost.
                SessionState::Connected { .. } => tokio::select! {
                    biased;
                    changed = session.changed() => {
                        self.publish(Leadership::Follower);
                        if changed.is_err() {
                            return;
                        }
                    }
                    result = self.take_part() => if let Err(error) = result {
                        self.publish(Leadership::Follower);
                        tracing::debug!(%error, "the election can't be followed");
                        sleep(PAUSE).await;
                    },
                },
            }
        }
    }

    /// Leads or follows until one of the two candidates that matter changes.
    async fn take_part(&self) -> Result<(), Error> {
        let store = &*self.store;
        let Some(place) = place(store, self.router).await? else {
            // Someone has deleted our candidate, though the session lives.
            self.publish(Leadership::Follower);
            return stand(store, self.router).await;
        };
        let watched = place.predecessor.unwrap_or(place.ours);
        let mut ours = store.watch(&Node::Candidate(place.ours).path()).await?;
        let mut before = store.watch(&Node::Candidate(watched).path()).await?;
        // Before the watches were there, things may have changed unseen.
        if self::place(store, self.router).await?.as_ref() != Some(&place) {
            return Ok(());
        }
        self.publish(match place.predecessor {
            None => Leadership::Leader(place.ours),
            Some(_) => Leadership::Follower,
        });
        tokio::select! {
            biased;
            changed = ours.changed() => drop(changed?),
            changed = before.changed() => drop(changed?),
        }
        Ok(())
    }

    fn publish(&self, leadership: Leadership) {
        self.leadership.send_if_modified(|current| {
            let changes = *current != leadership;
            if changes {
                tracing::info!(router = %self.router, ?leadership, "controller election");
                *current = leadership;
            }
            changes
        });
    }
}

async fn candidates(store: &dyn Coordination) -> Result<Vec<Candidate>, Error> {
    let nodes = children(store, &Node::Controller).await?;
    let mut candidates: Vec<_> = nodes
        .into_iter()
        .filter_map(|node| match node {
            Node::Candidate(candidate) => Some(candidate),
            _ => None,
        })
        .collect();
    candidates.sort_unstable();
    Ok(candidates)
}

/// Our place among the candidates, if we have one. Numbers grow, and a session sees its own writes and
/// all before them; so nobody below our candidate is overlooked.
async fn place(store: &dyn Coordination, router: RouterId) -> Result<Option<Place>, Error> {
    let candidates = candidates(store).await?;
    let position = candidates.iter().position(|c| c.router == router);
    Ok(position.map(|position| Place {
        ours: candidates[position],
        predecessor: position.checked_sub(1).map(|before| candidates[before]),
    }))
}

/// Creates our candidate, unless there is one. One whose creation was not confirmed is found by the
/// router's id in its name; should a second one land late, it goes with the session or when we resign.
async fn stand(store: &dyn Coordination, router: RouterId) -> Result<(), Error> {
    let prefix = Node::candidate_prefix(router);
    let mut attempts = Attempts::new();
    loop {
        let standing = place(store, router).await;
        let standing = standing.map_err(|error| attempts.honest_read(error))?;
        if standing.is_some() {
            return Ok(());
        }
        match store
            .create(&prefix, Bytes::new(), CreateMode::EphemeralSequential)
            .await
        {
            Ok(_) => return Ok(()),
            Err(error) => attempts.look(store, error).await?,
        }
    }
}

/// Deletes all candidates of this router, as far as the store can be reached.
async fn withdraw(store: &dyn Coordination, router: RouterId) {
    let Ok(candidates) = candidates(store).await else {
        return;
    };
    for candidate in candidates.into_iter().filter(|c| c.router == router) {
        let path = Node::Candidate(candidate).path();
        // What remains goes with the session. Numbers are not used again, so a late delete hits nothing.
        if let Err(error) = store.delete(&path, ANY_VERSION).await {
            tracing::debug!(%error, path, "a candidate was not withdrawn");
        }
    }
}
