//! The recorder keeps the order it saw.

use history::{Call, Outcome, Recorder, Response, render};

use crate::support::script::bytes;

fn get() -> Call {
    Call::Get {
        table: "t".to_owned(),
        key: bytes("x"),
        consistent: true,
    }
}

#[test]
fn what_happens_in_one_instant_keeps_its_order() {
    let mut recorder = Recorder::new();
    let first = recorder.begin(1, 100, get());
    recorder.end(first, 100, Outcome::Done(Response::Missing));
    let second = recorder.begin(1, 100, get());
    let third = recorder.begin(2, 100, get());
    recorder.end(third, 90, Outcome::Unknown);
    recorder.end(second, 200, Outcome::Done(Response::Missing));
    let history = recorder.finish();
    let [first, second, third] = history.operations() else {
        panic!("three operations")
    };
    assert!(first.precedes(second) && first.precedes(third));
    assert!(!second.precedes(third) && !third.precedes(second));
    assert_eq!((first.sequence, second.sequence, third.sequence), (1, 2, 1));
    assert_eq!(second.returned, Some(200));
    // A lost answer's time is known; its effect may come later.
    assert_eq!(third.returned, Some(104));
}

#[test]
fn what_has_not_ended_is_unknown() {
    let mut recorder = Recorder::new();
    let token = recorder.begin(1, 5, get());
    assert_eq!(recorder.history().operations()[0].outcome, Outcome::Unknown);
    recorder.end(token, 6, Outcome::Done(Response::Missing));
    let text = render(recorder.finish().operations());
    assert_eq!(
        text,
        "invoked  returned  client  call      outcome\n\
         \x20     5         6  c1 #1   get! t/x  missing\n"
    );
}

#[test]
fn long_and_unprintable_bytes_are_short_and_printable() {
    let mut recorder = Recorder::new();
    let value = [vec![0xff], vec![b'v'; 1000], b"17".to_vec()].concat();
    let call = Call::Put {
        table: "t".to_owned(),
        key: bytes("x"),
        value: value.into(),
        condition: history::Condition::Version(4),
    };
    let _token = recorder.begin(1, 5, call);
    let text = render(recorder.finish().operations());
    assert!(
        text.contains("\\xffvvv") && text.contains("vv17 (1003 bytes) if version 4"),
        "{text}"
    );
    assert!(text.len() < 250);
}

#[test]
fn of_a_value_the_brief_form_shows_the_beginning_and_the_length() {
    let put = |value: &[u8]| Call::Put {
        table: "t".to_owned(),
        key: bytes("x"),
        value: value.to_vec().into(),
        condition: history::Condition::None,
    };
    let long = [b"7-9 ", &[b'x'; 300][..]].concat();
    let brief = "7-9 xxxxxxxx… (304 bytes)";
    assert_eq!(format!("{:#}", put(&long)), format!("put t/x = {brief}"));
    assert_eq!(
        format!("{:#}", put(b"twelve bytes")),
        "put t/x = twelve bytes"
    );
    let item = history::TransactItem {
        table: "t".to_owned(),
        key: bytes("x"),
        value: Some(long.clone().into()),
        condition: history::Condition::Absent,
    };
    let transact = Call::TransactPut { items: vec![item] };
    let shown = format!("transact-put t/x = {brief} if absent");
    assert_eq!(format!("{transact:#}"), shown);
    let got = Outcome::Done(Response::Got {
        value: long.into(),
        version: 3,
    });
    assert_eq!(format!("{got:#}"), format!("{brief} (version 3)"));
}
