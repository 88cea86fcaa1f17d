//! A session whose concurrent writes are carried out together.
//!
//! ZooKeeper's writes are the scarce resource of transactions: each is a proposal and a sync of its own. Writes that
//! are asked for at the same time, and have nothing to do with each other, need not be: [`Joined`] is a
//! [`Coordination`] that puts the operations of several callers into one `multi`, each caller's in a row, and gives
//! each its own outcomes. There is no timer: while as many are on the way as may be, the next ones gather.
//!
//! A `multi` happens wholly or not at all, so one caller's version that does not fit would fail all of them. Then the
//! one that the store names goes alone, and the others together again; after some of those, each goes alone. Every
//! caller so gets the answer that its operations would have got by themselves. If the answer is lost, it is lost for
//! all, and each finds out for itself.
//!
//! | on the way | asked for | becomes |
//! |---|---|---|
//! | nothing | a | `multi(a)` |
//! | as much as may be | b, c, d | – |
//! | one has ended | | `multi(b, c, d)` |
//! | | | refused at an operation of c: `multi(b, d)` and `multi(c)` |

use std::collections::VecDeque;
use std::sync::Arc;

use async_trait::async_trait;
use futures::future::join_all;
use model::limits::MAX_ZNODE_BYTES;
use parking_lot::Mutex;
use tokio::sync::{oneshot, watch};

use crate::{
    Coordination, Error, Operation, Outcome, Path, SessionState, SharedCoordination, Watch, Znode,
};

/// Bytes of one `multi` of several callers, at the most: well below what the store takes.
const MAX_BYTES: usize = MAX_ZNODE_BYTES / 2;
/// Its operations, at the most.
const MAX_OPERATIONS: usize = 128;
/// On the way at the same time, at the most. With more of them each is small, and so is everything that follows from it: of 64
/// transactions at a time each takes 1.2 times the CPU time with 8 that it takes with 1.
const MAX_IN_FLIGHT: usize = 1;
/// Callers that are taken out of a `multi` that was refused, before the rest goes one by one.
const MAX_TAKEN_OUT: usize = 3;
/// Room for the store's own root in front of a path, generously.
const ROOT_BYTES: usize = 256;

type Reply = oneshot::Sender<Result<Vec<Outcome>, Error>>;

/// What one caller asks for.
struct Asked {
    operations: Vec<Operation>,
    reply: Reply,
}

impl Asked {
    fn bytes(&self) -> usize {
        let operations = self.operations.iter();
        operations
            .map(|operation| operation.encoded_bytes() + ROOT_BYTES)
            .sum()
    }

    fn answer(self, result: Result<Vec<Outcome>, Error>) {
        // Who asked may have given up.
        let _ = self.reply.send(result);
    }
}

#[derive(Default)]
struct Queue {
    waiting: VecDeque<Asked>,
    in_flight: usize,
}

impl Queue {
    /// What can go together now; empty if nothing waits.
    fn take(&mut self) -> Vec<Asked> {
        let (mut bytes, mut operations) = (0, 0);
        let mut taken = Vec::new();
        while let Some(next) = self.waiting.front() {
            bytes += next.bytes();
            operations += next.operations.len();
            let fits = bytes <= MAX_BYTES && operations <= MAX_OPERATIONS;
            if !taken.is_empty() && !fits {
                break;
            }
            taken.extend(self.waiting.pop_front());
        }
        taken
    }
}

/// A session that joins the writes of its users. Reads, watches and the rest go straight through.
#[derive(Clone)]
pub struct Joined {
    store: SharedCoordination,
    queue: Arc<Mutex<Queue>>,
}

impl Joined {
    /// Joins the writes of this session that are asked for through what is returned.
    pub fn new(store: SharedCoordination) -> Self {
        Self {
            store,
            queue: Arc::default(),
        }
    }

    /// Carries out what waits until nothing does.
    async fn pump(self, mut lane: Lane) {
        loop {
            let taken = {
                let mut queue = self.queue.lock();
                let taken = queue.take();
                if taken.is_empty() {
                    lane.leave(&mut queue);
                    return;
                }
                taken
            };
            carry_out(&*self.store, taken).await;
        }
    }
}

/// The place of one `multi` on its way. It is given back even if its task ends midway.
struct Lane {
    queue: Arc<Mutex<Queue>>,
    left: bool,
}

impl Lane {
    /// Gives it back while the queue is held, so that whoever comes next knows.
    fn leave(&mut self, queue: &mut Queue) {
        queue.in_flight -= 1;
        self.left = true;
    }
}

impl Drop for Lane {
    fn drop(&mut self) {
        if !self.left {
            self.queue.lock().in_flight -= 1;
        }
    }
}

/// Carries out what several callers ask for.
async fn carry_out(store: &dyn Coordination, mut together: Vec<Asked>) {
    let mut alone = Vec::new();
    while together.len() > 1 {
        let operations = together.iter().flat_map(|asked| asked.operations.clone());
        let error = match store.multi(operations.collect()).await {
            Ok(outcomes) => {
                distribute(together, outcomes);
                together = Vec::new();
                break;
            }
            Err(error) => error,
        };
        let hopeless = error.outcome_unknown()
            || matches!(
                error,
                Error::SessionExpired | Error::Unavailable { .. } | Error::Damaged { .. }
            );
        if hopeless {
            for asked in together.drain(..) {
                asked.answer(Err(error.clone()));
            }
            break;
        }
        match error.operation().and_then(|at| owner(&together, at)) {
            Some(owner) if alone.len() < MAX_TAKEN_OUT => alone.push(together.remove(owner)),
            _ => alone.append(&mut together),
        }
    }
    alone.append(&mut together);
    let singles = alone.into_iter().map(|mut asked| async {
        let operations = std::mem::take(&mut asked.operations);
        asked.answer(store.multi(operations).await);
    });
    join_all(singles).await;
}

/// Whose the operation at this position is.
fn owner(together: &[Asked], position: usize) -> Option<usize> {
    let mut end = 0;
    together.iter().position(|asked| {
        end += asked.operations.len();
        position < end
    })
}

fn distribute(together: Vec<Asked>, outcomes: Vec<Outcome>) {
    let mut outcomes = outcomes.into_iter();
    for asked in together {
        let own = outcomes.by_ref().take(asked.operations.len()).collect();
        asked.answer(Ok(own));
    }
}

#[async_trait]
impl Coordination for Joined {
    async fn get(&self, path: &Path) -> Result<Option<Znode>, Error> {
        self.store.get(path).await
    }

    async fn get_all(&self, paths: &[String]) -> Result<Vec<Option<Znode>>, Error> {
        self.store.get_all(paths).await
    }

    async fn children(&self, path: &Path) -> Result<Option<Vec<String>>, Error> {
        self.store.children(path).await
    }

    async fn multi(&self, operations: Vec<Operation>) -> Result<Vec<Outcome>, Error> {
        if operations.is_empty() {
            return self.store.multi(operations).await;
        }
        let (reply, result) = oneshot::channel();
        let lane = {
            let mut queue = self.queue.lock();
            queue.waiting.push_back(Asked { operations, reply });
            (queue.in_flight < MAX_IN_FLIGHT).then(|| {
                queue.in_flight += 1;
                Lane {
                    queue: Arc::clone(&self.queue),
                    left: false,
                }
            })
        };
        if let Some(lane) = lane {
            tokio::spawn(self.clone().pump(lane));
        }
        // Without an answer the task has ended midway, with its runtime.
        result.await.unwrap_or(Err(Error::ConnectionLoss))
    }

    async fn sync(&self, path: &Path) -> Result<(), Error> {
        self.store.sync(path).await
    }

    fn session(&self) -> watch::Receiver<SessionState> {
        self.store.session()
    }

    async fn watch(&self, root: &Path) -> Result<Watch, Error> {
        self.store.watch(root).await
    }

    async fn close(&self) {
        self.store.close().await;
    }
}
