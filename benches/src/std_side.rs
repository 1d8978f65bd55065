//! The work, done by std's calls in a loop, one after another.

use crate::{Block, Sequence};
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

/// Reads of a block at random offsets into a file of `blocks`: `pread`.
pub fn read_4k(file: &File, blocks: u64, ops: u64) {
    let mut sequence = Sequence::new(0);
    let mut block = Box::<Block>::default();
    for _ in 0..ops {
        let read = file.read_at(&mut block.0, sequence.offset(blocks));
        assert_eq!(read.expect("a read"), Block::SIZE);
    }
}

/// Reads of `size` bytes from the start of a file into one buffer: `pread`.
pub fn read_large(file: &File, size: usize, ops: u64) {
    let mut buf = vec![0; size];
    for _ in 0..ops {
        assert_eq!(file.read_at(&mut buf, 0).expect("a read"), size);
    }
}

/// Whole files by `std::fs::read`, cycling through the list.
pub fn small_files(paths: &[PathBuf], ops: u64) {
    for path in paths.iter().cycle().take(ops as usize) {
        assert!(!fs::read(path).expect("a small file").is_empty());
    }
}
