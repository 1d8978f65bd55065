//! The runtimes, the ring, the thread pools and the files that all work uses, created once.
//!
//! Pools and files are created by the first call that needs them, so that call must not be timed.

use crate::files::{BLOCKS, DIRECT_BLOCKS, Files};
use crate::pool::Pool;
use crate::ring::Ring;
use crate::{Block, Sequence, gimmal_side, std_side, tokio_side};
use gimmal::Runtime;
use std::cell::LazyCell;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::rc::Rc;
use std::sync::Arc;

/// An open file, in the form that each side needs.
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

/// The open files.
#[derive(Debug)]
struct Disk {
    /// A file in the page cache.
    cached: Target,
    /// A file opened with `O_DIRECT`.
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

/// What the sides work with.
#[derive(Debug)]
pub struct Fixtures {
    /// A runtime of gimmal.
    pub gimmal: Runtime,
    /// One without direct calls.
    pub gimmal_ring_only: Runtime,
    /// A runtime of tokio, with one thread.
    pub tokio: tokio::runtime::Runtime,
    /// The bare ring.
    pub ring: Ring,
    disk: LazyCell<Disk>,
    readers: Option<Pool>,
    loaders: Option<Pool>,
}

impl Fixtures {
    /// Creates the runtimes and the ring.
    pub fn new() -> io::Result<Fixtures> {
        Ok(Fixtures {
            gimmal: gimmal_side::runtime(),
            gimmal_ring_only: gimmal_side::ring_only_runtime(),
            tokio: tokio_side::runtime(),
            ring: Ring::new()?,
            disk: LazyCell::new(|| Disk::new().expect("files to read")),
            readers: None,
            loaders: None,
        })
    }

    /// Large reads from the page cache by gimmal.
    pub fn large_gimmal(&mut self, size: usize, ops: u64) {
        gimmal_side::read_large(&mut self.gimmal, &self.disk.cached.gimmal, size, ops);
    }

    /// Large reads from the page cache by `pread`.
    pub fn large_std(&mut self, size: usize, ops: u64) {
        std_side::read_large(&self.disk.cached.std, size, ops);
    }

    /// Cached reads of a block by gimmal.
    pub fn read_gimmal(&mut self, depth: u64, ops: u64) {
        let target = &self.disk.cached;
        gimmal_side::read_4k(&mut self.gimmal, &target.gimmal, target.blocks, depth, ops);
    }

    /// Cached reads of a block by the ring.
    pub fn read_ring(&mut self, depth: u64, ops: u64) {
        let target = &self.disk.cached;
        self.ring
            .read_4k(target.std.as_raw_fd(), target.blocks, depth, ops);
    }

    /// Cached reads of a block by tokio.
    pub fn read_tokio(&mut self, depth: u64, ops: u64) {
        let target = &self.disk.cached;
        tokio_side::read_4k(&self.tokio, &target.std, target.blocks, depth, ops);
    }

    /// Cached reads of a block by `pread`.
    pub fn read_std(&mut self, ops: u64) {
        let target = &self.disk.cached;
        std_side::read_4k(&target.std, target.blocks, ops);
    }

    /// Cached reads of a block by the thread pool.
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

    /// Direct reads of a block by gimmal.
    pub fn direct_gimmal(&mut self, depth: u64, ops: u64) {
        let target = &self.disk.direct;
        gimmal_side::read_4k(&mut self.gimmal, &target.gimmal, target.blocks, depth, ops);
    }

    /// Direct reads of a block by the ring.
    pub fn direct_ring(&mut self, depth: u64, ops: u64) {
        let target = &self.disk.direct;
        self.ring
            .read_4k(target.std.as_raw_fd(), target.blocks, depth, ops);
    }

    /// Direct reads of a block by tokio.
    pub fn direct_tokio(&mut self, depth: u64, ops: u64) {
        let target = &self.disk.direct;
        tokio_side::read_4k(&self.tokio, &target.std, target.blocks, depth, ops);
    }

    /// Whole small files by gimmal.
    pub fn small_gimmal(&mut self, depth: u64, ops: u64) {
        gimmal_side::small_files(&mut self.gimmal, self.disk.files.small, depth, ops);
    }

    /// Whole small files by the ring.
    pub fn small_ring(&mut self, to_the_end: bool, depth: u64, ops: u64) {
        self.ring
            .small_files(self.disk.files.small_c, to_the_end, depth, ops);
    }

    /// Whole small files by tokio.
    pub fn small_tokio(&mut self, depth: u64, ops: u64) {
        tokio_side::small_files(&self.tokio, self.disk.files.small, depth, ops);
    }

    /// Whole small files by std.
    pub fn small_std(&mut self, ops: u64) {
        std_side::small_files(self.disk.files.small, ops);
    }

    /// Whole small files by the thread pool.
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
