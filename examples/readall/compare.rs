//! The same job with std: each file by `std::fs::read`, on one thread or on several.

use crate::tally::Tally;
use crate::walk;
use async_channel::Receiver;
use std::path::PathBuf;
use std::sync::Arc;
use std::{fs, thread};

/// Reads every file below the roots on this many threads, besides the one that walks.
pub(crate) fn read_all(roots: Vec<PathBuf>, threads: usize, tally: Arc<Tally>) {
    let (walk, batches) = walk::ahead(roots, tally.clone());
    thread::scope(|scope| {
        scope.spawn(walk);
        for _ in 0..threads {
            scope.spawn(|| read(&batches, &tally));
        }
    });
}

fn read(batches: &Receiver<Vec<PathBuf>>, tally: &Tally) {
    while let Ok(batch) = batches.recv_blocking() {
        let (mut files, mut bytes) = (0, 0);
        for path in batch {
            match fs::read(&path) {
                Ok(content) => {
                    files += 1;
                    bytes += content.len() as u64;
                }
                Err(error) => tally.fault(format_args!("read {}: {error}", path.display())),
            }
        }
        tally.add(files, bytes);
    }
}
