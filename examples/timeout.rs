//! A timeout that loses nothing: a read from a pipe gets too little time, and what arrives later is read to the last
//! byte.
//!
//! ```text
//! cargo run --release --example timeout -- [LINES]
//! ```
//!
//! A thread writes numbered lines (100 by default), sometimes quickly, sometimes slowly. The reader gives each read a
//! millisecond. Then the kernel is asked to stop the read: either it did not happen, and the buffer comes back in the
//! error, or it completed first, and its bytes are the result. So the lines arrive complete and in order. Ctrl-C is no
//! timeout: it ends the program, with the exit status 130.

use gimmal::fs::File;
use gimmal::is_timeout;
use std::io::{self, PipeWriter, Write};
use std::os::fd::OwnedFd;
use std::process::ExitCode;
use std::thread;
use std::time::Duration;

const PATIENCE: Duration = Duration::from_millis(1);

/// The size of one read: lines may be split anywhere.
const BUFFER: usize = 16;

/// The exit status of a program that Ctrl-C has ended: 128 and the number of SIGINT, as shells report it.
const INTERRUPTED: u8 = 130;

fn write_lines(mut pipe: PipeWriter, lines: u32) -> io::Result<()> {
    for n in 0..lines {
        if n % 10 == 0 {
            // Longer than the reader's timeout.
            thread::sleep(3 * PATIENCE);
        }
        writeln!(pipe, "line {n}")?;
    }
    Ok(())
}

/// The bytes read, and the number of reads that timed out.
async fn read_impatiently(pipe: &File) -> io::Result<(Vec<u8>, u32)> {
    let (mut text, mut timeouts) = (Vec::new(), 0);
    let mut buffer = Vec::with_capacity(BUFFER);
    let address = buffer.as_ptr();
    loop {
        match pipe.read(buffer).timeout(PATIENCE).await {
            Ok((0, _)) => return Ok((text, timeouts)),
            Ok((_, full)) => {
                text.extend_from_slice(&full);
                buffer = full;
            }
            Err(error) if is_timeout(&error) => {
                timeouts += 1;
                // The same buffer, unchanged.
                buffer = error.into_buf();
                assert_eq!(buffer.as_ptr(), address);
            }
            Err(error) => return Err(error.into()),
        }
    }
}

async fn run(lines: u32) -> io::Result<ExitCode> {
    let (reader, writer) = io::pipe()?;
    let reader = File::from(OwnedFd::from(reader));
    let writing = thread::spawn(move || write_lines(writer, lines));
    let (text, timeouts) = read_impatiently(&reader).await?;
    println!("reads that timed out: {timeouts}, the buffer came back each time");
    writing.join().expect("the writer does not panic")?;

    let expected: String = (0..lines).map(|n| format!("line {n}\n")).collect();
    println!(
        "bytes written: {}, bytes read: {}",
        expected.len(),
        text.len()
    );
    if text == expected.as_bytes() {
        println!("every line is there, once and in order");
        return Ok(ExitCode::SUCCESS);
    }
    println!("they differ");
    Ok(ExitCode::FAILURE)
}

fn main() -> ExitCode {
    let lines = std::env::args().nth(1).map_or(Ok(100), |n| n.parse());
    let Ok(lines) = lines else {
        eprintln!("timeout: LINES must be a number");
        return ExitCode::from(2);
    };
    let runtime = gimmal::Runtime::builder().cancel_on_ctrl_c(true);
    match runtime.run(run(lines)) {
        Ok(code) => code,
        Err(error) if gimmal::is_canceled(&error) => ExitCode::from(INTERRUPTED),
        Err(error) => {
            eprintln!("timeout: {error}");
            ExitCode::FAILURE
        }
    }
}
