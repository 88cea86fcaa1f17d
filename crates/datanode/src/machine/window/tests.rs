use model::Lsn;

use super::*;

const BOUNDS: WindowBounds = WindowBounds {
    millis: 100,
    entries: 3,
};

fn request(issued_millis: u64, sequence: u64) -> RequestId {
    RequestId {
        issued_millis,
        client: 1,
        sequence,
    }
}

fn applied(version: u64) -> Remembered {
    Remembered::Applied(Lsn(version))
}

/// A window that has applied one write per entry, issued at these times, each at its own time.
fn window(issued: &[u64]) -> RequestWindow {
    let mut window = RequestWindow::new(BOUNDS);
    for (index, issued) in (1..).zip(issued) {
        window.begin_entry(*issued);
        window.remember(request(*issued, 1), applied(index));
        window.end_entry(index);
    }
    window
}

#[test]
fn a_write_is_new_then_applied_then_expired() {
    let mut window = RequestWindow::new(BOUNDS);
    window.begin_entry(1000);
    assert_eq!(window.look(request(1000, 1), 1000), Seen::New);
    window.remember(request(1000, 1), applied(7));
    assert_eq!(
        window.look(request(1000, 1), 1000),
        Seen::Known(&applied(7))
    );
    assert_eq!(window.look(request(1000, 2), 1000), Seen::New);
    window.begin_entry(1100);
    assert_eq!(
        window.look(request(1000, 1), 1100),
        Seen::Known(&applied(7))
    );
    window.begin_entry(1101);
    assert_eq!(window.look(request(1000, 1), 1101), Seen::Expired);
    assert_eq!(window.floor_millis(), 1000);
}

#[test]
fn a_full_window_forgets_the_oldest_issued_and_not_the_oldest_applied() {
    let window = window(&[1003, 1001, 1002, 1004]);
    assert_eq!((window.len(), window.floor_millis()), (3, 1001));
    assert_eq!(window.look(request(1001, 1), 1004), Seen::Expired);
    assert_eq!(
        window.look(request(1003, 1), 1004),
        Seen::Known(&applied(1))
    );
}

#[test]
fn writes_of_one_millisecond_are_forgotten_together() {
    let mut window = RequestWindow::new(BOUNDS);
    window.begin_entry(1000);
    for (sequence, issued) in [(1, 1000), (2, 1000), (3, 1001), (4, 1002)] {
        window.remember(request(issued, sequence), applied(sequence));
    }
    assert_eq!((window.len(), window.floor_millis()), (2, 1000));
    assert_eq!(window.look(request(1000, 2), 1000), Seen::Expired);
}

#[test]
fn a_write_that_is_older_than_a_full_windows_oldest_is_applied_and_forgotten_at_once() {
    let mut window = window(&[1001, 1002, 1003]);
    window.begin_entry(1003);
    assert_eq!(window.look(request(999, 1), 1003), Seen::New);
    window.remember(request(999, 1), applied(4));
    assert_eq!((window.len(), window.floor_millis()), (3, 999));
    assert_eq!(window.look(request(999, 1), 1003), Seen::Expired);
    assert!(window.end_entry(4).is_some());
    assert_eq!(window.drop_blocks(), [4]);
}

#[test]
fn an_entry_that_applied_no_write_has_no_block() {
    let mut window = window(&[1001]);
    window.begin_entry(1002);
    assert_eq!(window.end_entry(2), None);
    assert_eq!(window.blocks(), 1);
}

#[test]
fn a_block_goes_when_its_newest_write_is_forgotten_and_not_before() {
    let mut window = RequestWindow::new(BOUNDS);
    window.begin_entry(1000);
    window.remember(request(1000, 1), applied(1));
    window.remember(request(1050, 1), applied(2));
    let block = window.end_entry(1).unwrap();
    assert_eq!(
        block.remembered,
        [
            (request(1000, 1), applied(1)),
            (request(1050, 1), applied(2))
        ]
    );
    window.begin_entry(1149);
    assert_eq!(window.floor_millis(), 1000);
    assert!(window.drop_blocks().is_empty());
    window.begin_entry(1151);
    assert_eq!(window.drop_blocks(), [1]);
    assert!(window.drop_blocks().is_empty());
}

#[test]
fn a_clock_that_goes_back_gives_nothing_back() {
    let mut window = window(&[1000]);
    window.begin_entry(2000);
    window.begin_entry(1000);
    assert_eq!(window.look(request(1000, 1), 1000), Seen::Expired);
    assert_eq!(window.look(request(1001, 1), 1000), Seen::New);
}

#[test]
fn a_window_is_restored_from_its_blocks_in_any_order() {
    let mut window = RequestWindow::new(BOUNDS);
    let mut stored = Vec::new();
    for (index, issued) in (1..).zip([1003, 1001, 1001, 1005, 1004, 1002]) {
        window.begin_entry(1000);
        window.remember(request(issued, index), applied(index));
        stored.push((index, window.end_entry(index).unwrap()));
    }
    window.begin_entry(1000);
    for turn in 0..stored.len() {
        stored.rotate_left(turn);
        let mut restored = RequestWindow::at_floor(BOUNDS, window.floor_millis());
        for (index, block) in &stored {
            restored.restore(*index, block);
        }
        assert_eq!(restored, window);
    }
}

#[test]
fn the_ends_of_time_are_no_trouble() {
    let mut window = RequestWindow::new(BOUNDS);
    window.begin_entry(0);
    for n in 0..4 {
        assert_eq!(window.look(request(u64::MAX, n), 0), Seen::New);
        window.remember(request(u64::MAX, n), applied(n));
    }
    assert_eq!((window.len(), window.floor_millis()), (0, u64::MAX));
    assert_eq!(window.look(request(u64::MAX, 0), u64::MAX), Seen::Expired);
}

#[test]
fn what_is_new_begins_where_it_is_said_to() {
    let mut window = window(&[1000, 1001, 1002, 1003]);
    for now in [1003, 1099, 1100, 1101, 1150] {
        window.begin_entry(now);
        let oldest = window.oldest_new_millis(now);
        assert_eq!(window.look(request(oldest, 9), now), Seen::New, "at {now}");
        let before = window.look(request(oldest - 1, 9), now);
        assert_eq!(before, Seen::Expired, "at {now}");
    }
}
