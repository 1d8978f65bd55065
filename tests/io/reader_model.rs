//! A `BufReader` under any sequence of calls, against a naive reference, which the fuzz target uses, too.

use common::{ReadEvent, ReaderCase, ReaderStep};
use proptest::collection::vec;
use proptest::prelude::*;

/// Text of few different bytes, so that lines and delimiters are frequent, and some of it is not UTF-8.
fn byte() -> impl Strategy<Value = u8> {
    prop_oneof![
        4 => prop::sample::select(&b"ab"[..]),
        2 => Just(b'\n'),
        1 => prop::sample::select(&b"\r\xff\0"[..]),
    ]
}

fn event() -> impl Strategy<Value = ReadEvent> {
    prop_oneof![
        6 => (1..9_u8).prop_map(ReadEvent::Chunk),
        2 => Just(ReadEvent::Wait),
        1 => Just(ReadEvent::Interrupt),
        1 => Just(ReadEvent::Fail),
    ]
}

fn step() -> impl Strategy<Value = ReaderStep> {
    prop_oneof![
        4 => Just(ReaderStep::ReadLine),
        2 => byte().prop_map(ReaderStep::ReadUntil),
        1 => byte().prop_map(ReaderStep::SkipUntil),
        1 => Just(ReaderStep::FillBuf),
        1 => Just(ReaderStep::FillMore),
        1 => (0..4_u8).prop_map(ReaderStep::Consume),
        1 => (1..9_u8).prop_map(ReaderStep::Read),
        1 => (0..9_u8).prop_map(ReaderStep::ReadExact),
        1 => byte().prop_map(ReaderStep::Unread),
        1 => (0..12_u8).prop_map(ReaderStep::LineMax),
    ]
}

prop_compose! {
    fn case()(
        text in vec(byte(), 0..80),
        capacity in 1..9_u8,
        line_max in 0..12_u8,
        events in vec(event(), 0..40),
        steps in vec((step(), 0..3_u8), 0..40),
    ) -> ReaderCase {
        ReaderCase { text, capacity, line_max, events, steps }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: common::quick_or_full(200, 2000), failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_call_returns_what_the_reference_returns(case in case()) {
        case.check();
    }
}

/// What the fuzz target begins with, and what it has found.
#[test]
fn every_case_of_the_corpus_passes() {
    let corpus = concat!(env!("CARGO_MANIFEST_DIR"), "/fuzz/corpus/buf_reader");
    let mut cases = 0;
    for file in std::fs::read_dir(corpus).unwrap() {
        let path = file.unwrap().path();
        println!("{path:?}");
        ReaderCase::from_bytes(&std::fs::read(path).unwrap()).check();
        cases += 1;
    }
    assert!(cases > 0);
}
