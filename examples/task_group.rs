//! A task group: several workers that each digest some of the files, and all stop when one of them fails.
//!
//! ```text
//! cargo run --release --example task_group -- FILE… [--workers N]
//! ```
//!
//! Without a FILE it digests its own source and the manifest. If a file cannot be read, its worker fails: the group
//! cancels the others, each of which ends between two of its files or in the middle of a read, and reports how far it
//! came. Ctrl-C cancels all of them. The workers borrow the file names and the table of results: no `Arc`, no
//! `'static`.

use gimmal::{fs, group};
use std::cell::RefCell;
use std::io::{self, ErrorKind};
use std::process::ExitCode;

/// The number of files and bytes that a worker has digested, and the digest (FNV-1a).
#[derive(Clone)]
struct Progress {
    files: usize,
    bytes: usize,
    digest: u64,
}

const NOTHING: Progress = Progress {
    files: 0,
    bytes: 0,
    digest: 0xcbf2_9ce4_8422_2325,
};

/// The exit status of a program that Ctrl-C has ended: 128 and the number of SIGINT, as shells report it.
const INTERRUPTED: u8 = 130;

async fn work(files: &[String], progress: &RefCell<Progress>) -> io::Result<()> {
    for file in files {
        let content = fs::read(file).await?;
        let mut progress = progress.borrow_mut();
        progress.files += 1;
        progress.bytes += content.len();
        for byte in content {
            progress.digest = (progress.digest ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3);
        }
    }
    Ok(())
}

async fn digest(files: Vec<String>, workers: usize) -> io::Result<ExitCode> {
    let parts: Vec<&[String]> = files.chunks(files.len().div_ceil(workers)).collect();
    let progress = vec![RefCell::new(NOTHING); parts.len()];
    let outcome = group(async |g| {
        for (part, progress) in parts.iter().zip(&progress) {
            g.spawn(work(part, progress));
        }
        Ok::<_, io::Error>(())
    })
    .await;
    for (n, (part, progress)) in parts.iter().zip(&progress).enumerate() {
        let done = progress.borrow();
        println!(
            "worker {n}: {} of {} files, {} bytes, digest {:016x}",
            done.files,
            part.len(),
            done.bytes,
            done.digest
        );
    }
    if let Err(error) = outcome {
        println!("stopped by: {error}");
        println!(
            "cut short by that: {} workers",
            error.canceled_errors().len()
        );
        // Nothing failed: it was Ctrl-C.
        if error.is_canceled() {
            return Ok(ExitCode::from(INTERRUPTED));
        }
        return Ok(ExitCode::FAILURE);
    }
    println!("all done");
    Ok(ExitCode::SUCCESS)
}

fn request() -> io::Result<(Vec<String>, usize)> {
    let invalid = |what: &str| io::Error::new(ErrorKind::InvalidInput, what);
    let (mut files, mut workers) = (Vec::new(), 4);
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        if argument == "--workers" {
            let number = arguments.next().and_then(|n| n.parse().ok());
            workers = number
                .filter(|n| *n > 0)
                .ok_or_else(|| invalid("--workers needs a number, one at least"))?;
        } else {
            files.push(argument);
        }
    }
    if files.is_empty() {
        let names = ["task_group.rs", "Cargo.toml"];
        files.extend(names.map(|name| format!("{}/{name}", env!("CARGO_MANIFEST_DIR"))));
    }
    Ok((files, workers))
}

fn main() -> ExitCode {
    let runtime = gimmal::Runtime::builder().cancel_on_ctrl_c(true);
    let run = |(files, workers)| runtime.run(digest(files, workers));
    request().and_then(run).unwrap_or_else(|error| {
        eprintln!("task_group: {error}");
        ExitCode::from(2)
    })
}
