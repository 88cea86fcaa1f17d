//! Taking from the queues of the stages.

use std::sync::mpsc::{Receiver, RecvError, TryRecvError};

use environment::Wait;

/// What comes next out of a queue.
pub(super) enum Next<T> {
    /// This.
    One(T),
    /// Nothing yet.
    Nothing,
    /// Nothing ever again: nobody can send any more.
    Closed,
}

/// Takes one, and waits for it if that is wanted.
pub(super) fn next<T>(queue: &Receiver<T>, wait: Wait) -> Next<T> {
    let next = match wait {
        Wait::ForWork => queue.recv().map_err(|RecvError| TryRecvError::Disconnected),
        Wait::Never => queue.try_recv(),
    };
    match next {
        Ok(one) => Next::One(one),
        Err(TryRecvError::Empty) => Next::Nothing,
        Err(TryRecvError::Disconnected) => Next::Closed,
    }
}

/// What had queued up.
pub(super) struct Gathered<T> {
    pub(super) work: Vec<T>,
    /// The end of the queue stood behind the work. It is told once, so nobody may wait for it again.
    pub(super) ended: bool,
}

/// Takes what has queued up behind the first.
pub(super) fn gather<T>(queue: &Receiver<Option<T>>, first: Option<T>, most: usize) -> Gathered<T> {
    let mut work = Vec::new();
    let mut next = Ok(first);
    loop {
        match next {
            Ok(Some(one)) => work.push(one),
            Ok(None) => return Gathered { work, ended: true },
            Err(_) => return Gathered { work, ended: false },
        }
        if work.len() >= most {
            return Gathered { work, ended: false };
        }
        next = queue.try_recv();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_queue_is_not_lost_behind_work() {
        let (sender, queue) = std::sync::mpsc::channel();
        for work in [Some(1), Some(2), None] {
            sender.send(work).unwrap();
        }
        let gathered = gather(&queue, queue.recv().unwrap(), 10);
        assert_eq!(gathered.work, [1, 2]);
        assert!(gathered.ended);
    }

    #[test]
    fn work_is_taken_up_to_the_bound_and_the_end_with_the_next_round() {
        let (sender, queue) = std::sync::mpsc::channel();
        for work in [Some(1), Some(2), None] {
            sender.send(work).unwrap();
        }
        let gathered = gather(&queue, queue.recv().unwrap(), 2);
        assert_eq!(gathered.work, [1, 2]);
        assert!(!gathered.ended);
        let gathered = gather(&queue, queue.recv().unwrap(), 2);
        assert!(gathered.work.is_empty() && gathered.ended);
    }
}
