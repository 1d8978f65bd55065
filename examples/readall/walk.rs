//! Walking directories.

use crate::tally::Tally;
use std::path::PathBuf;
use std::sync::Arc;
use std::{fs, vec};

/// The regular files below some roots. It holds one open directory per level of depth.
pub(crate) struct Walk {
    roots: vec::IntoIter<PathBuf>,
    open: Vec<(PathBuf, fs::ReadDir)>,
    tally: Arc<Tally>,
}

impl Walk {
    /// What cannot be walked is counted in the tally.
    pub(crate) fn new(roots: Vec<PathBuf>, tally: Arc<Tally>) -> Walk {
        Walk {
            roots: roots.into_iter(),
            open: Vec::new(),
            tally,
        }
    }
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
