//! A `BufReader` over chunks of any sizes, with waits, errors and dropped calls, against a naive reference.

#![no_main]

use common::ReaderCase;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| ReaderCase::from_bytes(bytes).check());
