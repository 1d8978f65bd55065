//! Everything that work is done with, made once: the runtimes, the ring, the pools and the files.
//!
//! What is not always needed is made by the first call of the work that needs it, which is therefore not to be timed.

use crate::files::{BLOCKS, DIRECT_BLOCKS, Files};
use crate::pool::Pool;
use crate::ring::Ring;
use crate::{Block, Sequence, ours, peer, plain};
use gimmal::Runtime;
use std::cell::LazyCell;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::rc::Rc;
use std::sync::Arc;

/// One open file, as each side wants it.
#[derive(Debug)]
struct Target {
    std: Arc<File>,
    gimmal: Rc<gimmal::fs::File>,
    blocks: u64,
}

impl Target {
    fn new(file: File, blocks: u64) -> io::Result<Target> {
        Ok(Target {
            gimmal: Rc::new(gimmal::fs::File::from_std(file.try_clone()?)),
            std: Arc::new(file),
            blocks,
        })
    }
}

/// What there is on the disk.
#[derive(Debug)]
struct Disk {
    /// A file in the page cache.
    cached: Target,
    /// A file that is read past it.
    direct: Target,
    files: Files,
}

impl Disk {
    fn new() -> io::Result<Disk> {
        let files = Files::new()?;
        let cached = File::open(&files.cached)?;
        let direct = OpenOptions::new()
            .read(true)
            .custom_flags(libc::O_DIRECT)
            .open(&files.direct)?;
        Ok(Disk {
            cached: Target::new(cached, BLOCKS)?,
            direct: Target::new(direct, DIRECT_BLOCKS)?,
            files,
        })
    }
}

/// The stand on which the sides meet.
#[derive(Debug)]
pub struct Stand {
    /// gimmal's runtime.
    pub ours: Runtime,
    /// One that does everything by its ring.
    pub ours_by_ring: Runtime,
    /// tokio's.
    pub peer: tokio::runtime::Runtime,
    /// The bare ring.
    pub ring: Ring,
    disk: LazyCell<Disk>,
    readers: Option<Pool>,
    loaders: Option<Pool>,
}

impl Stand {
    /// Makes the runtimes and the ring.
    pub fn new() -> io::Result<Stand> {
        Ok(Stand {
            ours: ours::runtime(),
            ours_by_ring: ours::runtime_of_ring(),
            peer: peer::runtime(),
            ring: Ring::new()?,
            disk: LazyCell::new(|| Disk::new().expect("files to read")),
            readers: None,
            loaders: None,
        })
    }

    /// Large reads from the page cache by gimmal.
    pub fn large_ours(&mut self, size: usize, ops: u64) {
        ours::read_large(&mut self.ours, &self.disk.cached.gimmal, size, ops);
    }

    /// The same by `pread`.
    pub fn large_std(&mut self, size: usize, ops: u64) {
        plain::read_large(&self.disk.cached.std, size, ops);
    }

    /// Cached reads of a block by gimmal.
    pub fn read_ours(&mut self, depth: u64, ops: u64) {
        let target = &self.disk.cached;
        ours::read_4k(&mut self.ours, &target.gimmal, target.blocks, depth, ops);
    }

    /// Cached reads of a block by the ring.
    pub fn read_ring(&mut self, depth: u64, ops: u64) {
        let target = &self.disk.cached;
        self.ring
            .read_4k(target.std.as_raw_fd(), target.blocks, depth, ops);
    }

    /// Cached reads of a block by tokio.
    pub fn read_peer(&mut self, depth: u64, ops: u64) {
        let target = &self.disk.cached;
        peer::read_4k(&self.peer, &target.std, target.blocks, depth, ops);
    }

    /// Cached reads of a block by `pread`.
    pub fn read_std(&mut self, ops: u64) {
        let target = &self.disk.cached;
        plain::read_4k(&target.std, target.blocks, ops);
    }

    /// Cached reads of a block by the pool of threads.
    pub fn read_pool(&mut self, depth: u64, ops: u64) {
        let (file, blocks) = (&self.disk.cached.std, self.disk.cached.blocks);
        let readers = self.readers.get_or_insert_with(|| {
            let file = file.clone();
            let read = move |block: &mut Box<Block>, offset| {
                let length = file.read_at(&mut block.0, offset).expect("a read");
                assert_eq!(length, Block::SIZE);
            };
            Pool::new(Box::default, read).expect("a pool")
        });
        let mut sequence = Sequence::new(0);
        readers.run(depth, (0..ops).map(|_| sequence.offset(blocks)));
    }

    /// Reads of a block past the page cache by gimmal.
    pub fn direct_ours(&mut self, depth: u64, ops: u64) {
        let target = &self.disk.direct;
        ours::read_4k(&mut self.ours, &target.gimmal, target.blocks, depth, ops);
    }

    /// Reads of a block past the page cache by the ring.
    pub fn direct_ring(&mut self, depth: u64, ops: u64) {
        let target = &self.disk.direct;
        self.ring
            .read_4k(target.std.as_raw_fd(), target.blocks, depth, ops);
    }

    /// Reads of a block past the page cache by tokio.
    pub fn direct_peer(&mut self, depth: u64, ops: u64) {
        let target = &self.disk.direct;
        peer::read_4k(&self.peer, &target.std, target.blocks, depth, ops);
    }

    /// Whole small files by gimmal.
    pub fn small_ours(&mut self, depth: u64, ops: u64) {
        ours::small_files(&mut self.ours, self.disk.files.small, depth, ops);
    }

    /// Whole small files by the ring.
    pub fn small_ring(&mut self, to_the_end: bool, depth: u64, ops: u64) {
        self.ring
            .small_files(self.disk.files.small_c, to_the_end, depth, ops);
    }

    /// Whole small files by tokio.
    pub fn small_peer(&mut self, depth: u64, ops: u64) {
        peer::small_files(&self.peer, self.disk.files.small, depth, ops);
    }

    /// Whole small files by std.
    pub fn small_std(&mut self, ops: u64) {
        plain::small_files(self.disk.files.small, ops);
    }

    /// Whole small files by the pool of threads.
    pub fn small_pool(&mut self, depth: u64, ops: u64) {
        let paths = self.disk.files.small;
        let loaders = self.loaders.get_or_insert_with(|| {
            let load = move |_: &mut (), number: u64| {
                let path = &paths[number as usize % paths.len()];
                assert!(!fs::read(path).expect("a small file").is_empty());
            };
            Pool::new(|| (), load).expect("a pool")
        });
        loaders.run(depth, 0..ops);
    }
}
