//! Reads the same files with gimmal and with std, and compares the time and the CPU time.

use crate::read::{self, BUFFER};
use crate::tally::{self, Tally};
use crate::usage::{self, Usage};
use crate::walk::Walk;
use gimmal::task::{spawn_abandonable, spawn_blocking};
use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

/// The number of passes of each reader. They take turns, so that all of them see the same machine.
const ROUNDS: usize = 3;

/// Who reads.
#[derive(Clone, Copy)]
enum Reader {
    /// Tasks of gimmal, on one thread.
    Tasks(usize),
    /// Threads that use std.
    Threads(usize),
}

/// What one pass over the files took.
struct Pass {
    counts: (u64, u64),
    time: Duration,
    used: Usage,
}

type Paths = Arc<[PathBuf]>;

/// Compares on the files below some roots: as they are in the page cache, then without them in it if `evict` is set.
pub(crate) async fn compare(roots: Vec<PathBuf>, tasks: usize, evict: bool) -> io::Result<()> {
    let paths: Paths =
        spawn_blocking(|| Walk::new(roots, Arc::default()).collect::<Vec<_>>().into()).await?;
    let note = format!(
        "\nThe same files again, without the walk. Each is opened, read to its end through a buffer of {} KiB, and\n\
         closed: by gimmal, {tasks} files at once on 1 thread; by std::fs, one after another on 1 thread and on 4.\n\
         Medians of {ROUNDS} passes, in turn. CPU: user and system time of the whole process and its kernel workers.\n",
        BUFFER >> 10
    );
    io::stdout().write_all(note.as_bytes())?;
    compare_once(&paths, tasks, false).await?;
    if evict {
        compare_once(&paths, tasks, true).await?;
    }
    Ok(())
}

async fn compare_once(paths: &Paths, tasks: usize, evict: bool) -> io::Result<()> {
    let readers = [Reader::Tasks(tasks), Reader::Threads(1), Reader::Threads(4)];
    let mut passes = readers.map(|_| Vec::new());
    for _ in 0..ROUNDS {
        for (reader, passes) in readers.iter().zip(&mut passes) {
            if evict {
                let paths = paths.clone();
                let evict = move || paths.iter().try_for_each(|path| usage::evict(path));
                spawn_blocking(evict).await??;
            }
            passes.push(pass(*reader, paths).await?);
        }
    }
    let from_disk = passes.iter().flatten().map(|pass| pass.used.disk).max();
    let megabytes = from_disk.unwrap_or(0) / 1_000_000;
    let cache = match evict {
        true => "From the disk: before each pass, the files are dropped from the page cache",
        false => "From the page cache, as far as the files are in it",
    };
    let mut text = format!("\n{cache} (at most {megabytes} MB of a pass came from the disk):\n");
    for (reader, passes) in readers.iter().zip(&passes) {
        let name = match reader {
            Reader::Tasks(tasks) => format!("gimmal, {tasks} tasks"),
            Reader::Threads(1) => "std::fs, 1 thread".to_owned(),
            Reader::Threads(threads) => format!("std::fs, {threads} threads"),
        };
        let time = median(passes.iter().map(|pass| pass.time));
        let cpu = median(passes.iter().map(|pass| pass.used.cpu));
        text += &format!(
            "{:<20} {}, CPU {:.3} s\n",
            format!("{name}:"),
            tally::rates(passes[0].counts, time),
            cpu.as_secs_f64()
        );
    }
    io::stdout().write_all(text.as_bytes())
}

fn median(values: impl Iterator<Item = Duration>) -> Duration {
    let mut values: Vec<_> = values.collect();
    values.sort();
    values[values.len() / 2]
}

async fn pass(reader: Reader, paths: &Paths) -> io::Result<Pass> {
    let tally = Arc::new(Tally::default());
    let (start, before) = (Instant::now(), Usage::now()?);
    match reader {
        Reader::Tasks(tasks) => read::read_listed(paths, tasks, &tally).await?,
        Reader::Threads(threads) => {
            let (paths, tally) = (paths.clone(), tally.clone());
            // Ctrl-C does not wait for it.
            spawn_abandonable(move || read_by_threads(&paths, threads, &tally), drop).await?;
        }
    }
    Ok(Pass {
        counts: tally.counts(),
        time: start.elapsed(),
        used: Usage::now()? - before,
    })
}

fn read_by_threads(paths: &[PathBuf], threads: usize, tally: &Tally) {
    let next = AtomicUsize::new(0);
    let work = || {
        let mut buf = vec![0; BUFFER];
        while let Some(path) = paths.get(next.fetch_add(1, Relaxed)) {
            match read(path, &mut buf) {
                Ok(length) => tally.add(1, length),
                Err(error) => tally.fault(error),
            }
        }
    };
    thread::scope(|scope| {
        for _ in 1..threads {
            scope.spawn(work);
        }
        work();
    });
}

/// Reads one file to its end, and returns its length.
fn read(path: &Path, buf: &mut [u8]) -> io::Result<u64> {
    let mut file = File::open(path)?;
    let mut length = 0;
    loop {
        match file.read(buf)? {
            0 => return Ok(length),
            n => length += n as u64,
        }
    }
}
