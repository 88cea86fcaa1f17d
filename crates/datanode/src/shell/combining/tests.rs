use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::ThreadId;

use environment::{Running, SystemThreads, Threads};

use super::*;

/// What is done with an item.
enum Order {
    Note(u32),
    /// Says that it is at it, and goes on when it is told to.
    Hold(Sender<()>, Receiver<()>),
    ForThread(u32),
    /// Brings another one to the same work, once others can be at it.
    Then(u32),
    Panic,
}

/// Notes what it does, and on which thread.
struct Notebook {
    done: Sender<(u32, ThreadId)>,
    at_it: AtomicBool,
    itself: Arc<Combining<Notebook>>,
}

/// Of what is done because it is time for it.
const DUE: u32 = u32::MAX;

impl Work for Notebook {
    type Item = Order;
    const TURN: usize = 3;

    fn turn(&mut self, orders: Vec<Order>) -> Turned {
        assert!(!self.at_it.swap(true, Ordering::SeqCst), "two at once");
        assert!(orders.len() <= Self::TURN);
        let mut turned = Turned::Worked;
        if orders.is_empty() {
            self.note(DUE);
        }
        for order in orders {
            match order {
                Order::Note(number) | Order::ForThread(number) => self.note(number),
                Order::Hold(begun, go_on) => {
                    begun.send(()).unwrap();
                    go_on.recv().unwrap();
                }
                Order::Then(number) => {
                    let itself = self.itself.clone();
                    turned = Turned::Then(Box::new(move || itself.bring(Order::Note(number))));
                }
                Order::Panic => panic!("for the test"),
            }
        }
        self.at_it.store(false, Ordering::SeqCst);
        turned
    }

    fn due_in(&self) -> Option<Duration> {
        None
    }

    fn is_for_thread(&mut self, orders: &[Order]) -> bool {
        orders
            .iter()
            .any(|order| matches!(order, Order::ForThread(_)))
    }
}

impl Notebook {
    fn note(&self, number: u32) {
        self.done
            .send((number, std::thread::current().id()))
            .unwrap();
    }
}

struct Lab {
    work: Arc<Combining<Notebook>>,
    done: Receiver<(u32, ThreadId)>,
    failed: watch::Receiver<Option<String>>,
    running: Box<dyn Running>,
}

fn lab(at_once: bool) -> Lab {
    let (done, noted) = channel();
    let (fail, failed) = watch::channel(None);
    let work = Arc::new(Combining::default());
    let notebook = Notebook {
        done,
        at_it: AtomicBool::new(false),
        itself: work.clone(),
    };
    let attendant = work.start("notebook".into(), notebook, at_once, fail);
    Lab {
        work,
        done: noted,
        failed,
        running: SystemThreads.start(Box::new(attendant)).unwrap(),
    }
}

impl Lab {
    fn next(&self) -> (u32, bool) {
        let (number, thread) = self.done.recv_timeout(Duration::from_secs(30)).unwrap();
        (number, thread == std::thread::current().id())
    }

    /// Ends it; what was noted since.
    fn end(self) -> Vec<u32> {
        self.work.end();
        self.running.join();
        let rest = self.done.try_iter().map(|(number, _)| number);
        rest.filter(|&number| number != DUE).collect()
    }
}

#[test]
fn whoever_brings_work_that_nobody_is_at_does_it() {
    let lab = lab(true);
    lab.work.bring(Order::Note(1));
    assert_eq!(lab.next(), (1, true));
    lab.work.bring(Order::Then(2));
    assert_eq!(lab.next(), (2, true), "others could be at it by then");
    assert!(lab.end().is_empty());
}

#[test]
fn what_is_left_is_done_with_what_is_brought() {
    let lab = lab(true);
    lab.work.leave(Order::Note(1));
    assert!(lab.done.try_recv().is_err());
    lab.work.bring(Order::Note(2));
    assert_eq!([lab.next(), lab.next()], [(1, true), (2, true)]);
    lab.work.leave(Order::Note(3));
    lab.work.hand_over();
    assert_eq!(lab.next(), (3, false));
    assert!(lab.end().is_empty());
}

#[test]
fn the_thread_does_what_is_for_it_and_all_if_nobody_else_may() {
    let first = lab(true);
    first.work.bring(Order::ForThread(1));
    assert_eq!(first.next(), (1, false));
    assert!(first.end().is_empty());
    let second = lab(false);
    second.work.bring(Order::Note(1));
    assert_eq!(second.next(), (1, false));
    assert!(second.end().is_empty());
}

#[test]
fn what_comes_while_somebody_is_at_it_is_the_threads() {
    let lab = lab(true);
    let (begun, is_at_it) = channel();
    let (go_on, wait) = channel();
    let work = lab.work.clone();
    let holder = std::thread::spawn(move || work.bring(Order::Hold(begun, wait)));
    is_at_it.recv().unwrap();
    for number in 0..5 {
        lab.work.bring(Order::Note(number));
    }
    assert!(lab.done.try_recv().is_err());
    go_on.send(()).unwrap();
    let own = holder.thread().id();
    holder.join().unwrap();
    for expected in 0..5 {
        let (number, thread) = lab.done.recv_timeout(Duration::from_secs(30)).unwrap();
        assert_eq!(number, expected);
        assert!(thread != own && thread != std::thread::current().id());
    }
    assert!(lab.end().is_empty());
}

#[test]
fn what_many_bring_is_done_once_each_in_the_order_of_each() {
    const EACH: u32 = 20_000;
    let lab = lab(true);
    std::thread::scope(|scope| {
        for bringer in 0..4 {
            let work = &lab.work;
            scope.spawn(move || {
                for number in 0..EACH {
                    let number = bringer * EACH + number;
                    work.bring(match number % 7 {
                        0 => Order::ForThread(number),
                        _ => Order::Note(number),
                    });
                }
            });
        }
    });
    // What was brought before the end is done before it.
    let noted = lab.end();
    for bringer in 0..4 {
        let of_it = bringer * EACH..(bringer + 1) * EACH;
        let noted = noted
            .iter()
            .copied()
            .filter(|number| of_it.contains(number));
        assert!(noted.eq(of_it.clone()));
    }
}

#[test]
fn what_is_brought_after_the_end_is_dropped() {
    let lab = lab(true);
    let work = lab.work.clone();
    assert!(lab.end().is_empty());
    let (sender, dropped) = channel();
    let (_go_on, wait) = channel();
    work.bring(Order::Hold(sender, wait));
    assert!(dropped.recv().is_err());
}

#[test]
fn a_panic_ends_it_whoever_was_at_it() {
    let lab = lab(true);
    let work = lab.work.clone();
    let bringer = std::thread::spawn(move || work.bring(Order::Panic));
    assert!(bringer.join().is_err());
    lab.running.join();
    let failed = lab.failed.borrow().clone();
    assert_eq!(
        failed.as_deref(),
        Some("the thread `notebook` has panicked")
    );
    lab.work.bring(Order::Note(1));
    assert!(lab.done.try_iter().all(|(number, _)| number == DUE));
}
