//! Readers, writers and what is built on them.

#![expect(clippy::unwrap_used, reason = "a test fails on an unexpected error")]

mod async_fd;
mod bidirectional;
mod copying;
mod dyn_io;
mod lines;
mod reader_model;
mod readers;
mod try_io;
