//! Copies files to standard output, one after another: a stream through two buffers, however long the file is.
//!
//! ```text
//! cargo run --release --example cat -- FILE…
//! ```
//!
//! `-`, or no file at all, means standard input. While one buffer is written, the next is read. A file that cannot be
//! read is reported on standard error, the others are printed, and the exit status is 1. If the reader of the output
//! pipe is gone (`cat big | head -1`), there is nothing left to do, and that is not a failure. Ctrl-C cancels what is
//! in flight; then the exit status is 130.

use gimmal::cancel::checkpoint;
use gimmal::fs::File;
use std::ffi::OsString;
use std::io::{self, ErrorKind};
use std::os::fd::AsFd;
use std::path::Path;
use std::process::ExitCode;

/// The size of one read. There are two buffers of it.
const CHUNK: usize = 128 << 10;

/// The exit status of a program that Ctrl-C has ended: 128 and the number of SIGINT, as shells report it.
const INTERRUPTED: u8 = 130;

/// Why a file was not copied completely.
enum Trouble {
    /// Reading this file failed: continue with the next one.
    Input(io::Error),
    /// Writing failed: nothing more can be done.
    Output(io::Error),
}

async fn copy(from: &File, to: &File, name: &OsString) -> Result<(), Trouble> {
    let mut spare = Vec::with_capacity(CHUNK);
    let mut next = from.read(Vec::with_capacity(CHUNK));
    loop {
        let full = match next.await {
            Ok((0, _)) => return Ok(()),
            Ok((_, full)) => full,
            Err(error) => {
                // The error of opening a file names it; that of reading from an open one cannot.
                let what = format!("read {}: {error}", Path::new(name).display());
                return Err(Trouble::Input(io::Error::new(error.kind(), what)));
            }
        };
        // Started before the write and awaited after it, so the kernel has both at once.
        next = from.read(spare).submit();
        spare = to
            .write_all(full)
            .await
            .map_err(|error| Trouble::Output(error.into_error()))?;
    }
}

async fn open(name: &OsString) -> io::Result<File> {
    if name == "-" {
        // A separate descriptor: closing this file leaves standard input open, for a second `-`.
        return Ok(File::from(io::stdin().as_fd().try_clone_to_owned()?));
    }
    File::open(name).await
}

async fn cat(names: Vec<OsString>) -> io::Result<ExitCode> {
    let out = File::from(io::stdout().as_fd().try_clone_to_owned()?);
    let mut code = ExitCode::SUCCESS;
    for name in names {
        let copied = match open(&name).await {
            Ok(file) => copy(&file, &out, &name).await,
            Err(error) => Err(Trouble::Input(error)),
        };
        if copied.is_err() {
            // After Ctrl-C, that is the reason, whatever failed.
            checkpoint().await?;
        }
        match copied {
            Ok(()) => {}
            Err(Trouble::Input(error)) => {
                eprintln!("cat: {error}");
                code = ExitCode::FAILURE;
            }
            Err(Trouble::Output(error)) if error.kind() == ErrorKind::BrokenPipe => break,
            Err(Trouble::Output(error)) => {
                let what = format!("writing to standard output: {error}");
                return Err(io::Error::new(error.kind(), what));
            }
        }
    }
    Ok(code)
}

fn main() -> ExitCode {
    let mut names: Vec<OsString> = std::env::args_os().skip(1).collect();
    if names.is_empty() {
        names.push("-".into());
    }
    let runtime = gimmal::Runtime::builder().cancel_on_ctrl_c(true);
    match runtime.run(cat(names)) {
        Ok(code) => code,
        Err(error) if gimmal::is_canceled(&error) => ExitCode::from(INTERRUPTED),
        Err(error) => {
            eprintln!("cat: {error}");
            ExitCode::FAILURE
        }
    }
}
