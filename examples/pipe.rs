//! Counts the lines and bytes of files, as `wc -lc` does: one task copies a file into a pipe, another one counts what
//! comes out of it.
//!
//! ```text
//! cargo run --release --example pipe -- FILE…
//! ```
//!
//! `-`, or no file at all, means standard input. A file that cannot be read is reported on standard error, the others
//! are counted, and the exit status is 1. After Ctrl-C, it is 130.

use gimmal::cancel::checkpoint;
use gimmal::fs::File;
use gimmal::io::{BufReader, PipeReader, copy, pipe};
use std::ffi::OsString;
use std::fmt::Display;
use std::io::{self, Write};
use std::ops::AddAssign;
use std::os::fd::AsFd;
use std::path::Path;
use std::process::ExitCode;

/// The capacity of the pipe, if the system allows it.
const ROOM: usize = 256 << 10;

/// The exit status of a program that Ctrl-C has ended: 128 and the number of SIGINT, as shells report it.
const INTERRUPTED: u8 = 130;

#[derive(Clone, Copy, Default)]
struct Count {
    lines: u64,
    bytes: u64,
}

impl AddAssign for Count {
    fn add_assign(&mut self, other: Count) {
        self.lines += other.lines;
        self.bytes += other.bytes;
    }
}

/// Counts chunk by chunk, so a line may be of any length, and need not be text.
async fn count(from: PipeReader) -> io::Result<Count> {
    let mut reader = BufReader::with_capacity(ROOM, from);
    let mut count = Count::default();
    loop {
        let piece = reader.fill_buf().await?;
        if piece.is_empty() {
            return Ok(count);
        }
        let len = piece.len();
        count.lines += piece.iter().filter(|byte| **byte == b'\n').count() as u64;
        count.bytes += len as u64;
        reader.consume(len);
    }
}

async fn send_and_count(name: &OsString) -> io::Result<Count> {
    let mut file = match name == "-" {
        // A separate descriptor: closing this file leaves standard input open, for a second `-`.
        true => File::from(io::stdin().as_fd().try_clone_to_owned()?),
        false => File::open(name).await?,
    };
    let (reader, mut writer) = pipe()?;
    // If the system refuses, the pipe stays smaller.
    let _ = writer.set_capacity(ROOM);
    let send = async move {
        let sent = copy(&mut file, &mut writer).await;
        // Otherwise the counting task would wait for more.
        writer.close().await?;
        // The error of opening a file names it; that of reading from an open one cannot.
        sent.map_err(|error| {
            let what = format!("copy {}: {error}", Path::new(name).display());
            io::Error::new(error.kind(), what)
        })
    };
    // Each is canceled if the other one fails.
    let (sent, count) = gimmal::try_join((send, count(reader))).await?;
    assert_eq!(sent, count.bytes, "a pipe loses nothing");
    Ok(count)
}

/// `println!` would panic if nobody reads the output, or if a disk is full.
fn say(count: Count, of: impl Display) -> io::Result<()> {
    let said = writeln!(io::stdout(), "{} {} {of}", count.lines, count.bytes);
    said.map_err(|error| {
        let what = format!("writing to standard output: {error}");
        io::Error::new(error.kind(), what)
    })
}

async fn run(names: Vec<OsString>) -> io::Result<ExitCode> {
    let mut code = ExitCode::SUCCESS;
    let mut total = Count::default();
    for name in &names {
        match send_and_count(name).await {
            Ok(count) => {
                say(count, name.display())?;
                total += count;
            }
            Err(error) => {
                // After Ctrl-C, that is the reason, whatever failed.
                checkpoint().await?;
                eprintln!("pipe: {error}");
                code = ExitCode::FAILURE;
            }
        }
    }
    if names.len() > 1 {
        say(total, "total")?;
    }
    Ok(code)
}

fn main() -> ExitCode {
    let mut names: Vec<OsString> = std::env::args_os().skip(1).collect();
    if names.is_empty() {
        names.push("-".into());
    }
    let runtime = gimmal::Runtime::builder().cancel_on_ctrl_c(true);
    match runtime.run(run(names)) {
        Ok(code) => code,
        Err(error) if gimmal::is_canceled(&error) => ExitCode::from(INTERRUPTED),
        Err(error) => {
            eprintln!("pipe: {error}");
            ExitCode::FAILURE
        }
    }
}
