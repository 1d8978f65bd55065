//! Walking directories, on a separate thread: io_uring has no opcode that reads a directory.

use crate::tally::Tally;
use async_channel::Receiver;
use std::path::PathBuf;
use std::sync::Arc;
use std::{fs, vec};

/// How many paths go to the readers at once: no thread is woken for a single file.
const BATCH: usize = 64;
/// How many batches the walk may be ahead of the readers.
const AHEAD: usize = 16;

/// The regular files below some roots. It holds one open directory per level of depth.
struct Walk {
    roots: vec::IntoIter<PathBuf>,
    open: Vec<(PathBuf, fs::ReadDir)>,
    tally: Arc<Tally>,
}

impl Iterator for Walk {
    type Item = PathBuf;

    fn next(&mut self) -> Option<PathBuf> {
        loop {
            let (path, kind) = match self.open.last_mut() {
                None => {
                    // A root may be a symbolic link, and is followed, because the user named it.
                    let root = self.roots.next()?;
                    let kind = fs::metadata(&root).map(|data| data.file_type());
                    (root, kind)
                }
                Some((directory, entries)) => match entries.next() {
                    Some(Ok(entry)) => (entry.path(), entry.file_type()),
                    Some(Err(error)) => (directory.clone(), Err(error)),
                    None => {
                        self.open.pop();
                        continue;
                    }
                },
            };
            let entries = match kind {
                Ok(kind) if kind.is_file() => return Some(path),
                Ok(kind) if kind.is_dir() => fs::read_dir(&path),
                Ok(_) => {
                    self.tally.skip();
                    continue;
                }
                Err(error) => Err(error),
            };
            match entries {
                Ok(entries) => self.open.push((path, entries)),
                Err(error) => self
                    .tally
                    .fault(format_args!("walk {}: {error}", path.display())),
            }
        }
    }
}

/// Returns a walk to be run by a thread, and the receiver of its batches of paths.
pub(crate) fn ahead(
    roots: Vec<PathBuf>,
    tally: Arc<Tally>,
) -> (impl FnOnce() + Send + 'static, Receiver<Vec<PathBuf>>) {
    let (found, batches) = async_channel::bounded(AHEAD);
    let mut walk = Walk {
        roots: roots.into_iter(),
        open: Vec::new(),
        tally,
    };
    let run = move || {
        loop {
            let batch: Vec<_> = walk.by_ref().take(BATCH).collect();
            // No more files, or no more readers.
            if batch.is_empty() || found.send_blocking(batch).is_err() {
                return;
            }
        }
    };
    (run, batches)
}
