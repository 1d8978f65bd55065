//! Files and pipes.

#![expect(clippy::unwrap_used, reason = "a test fails on an unexpected error")]

mod cursor;
mod files;
mod pipes;
