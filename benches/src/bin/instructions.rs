//! User-space instructions of one operation, counted by callgrind. They hardly depend on the machine's speed or load.
//!
//! `instructions [--save] [WORD…]` measures the lines whose names contain one of the words, or all lines, and compares
//! them with the table in `benches/instructions.txt`, which `--save` replaces. It fails if a line has grown by more
//! than 1 %.

use gimmal_benches::fixtures::Fixtures;
use gimmal_benches::gimmal_side;
use std::collections::BTreeMap;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::Duration;

/// The growth of a line that is tolerated, in percent.
const GROWTH_MAX: f64 = 1.0;

/// The option of the process that runs under callgrind, before the name of a line and a number of operations.
const WORK: &str = "--work";

struct Line {
    name: &'static str,
    /// The numbers of operations of the shorter run, in which tables and pools grow, and of the longer one.
    ops: [u64; 2],
    work: fn(&mut Fixtures, u64),
}

const LINES: &[Line] = &[
    line("no-op, 1 at once", |s, n| {
        gimmal_side::nop(&mut s.gimmal, 1, n)
    }),
    line("no-op, 32 at once", |s, n| {
        gimmal_side::nop(&mut s.gimmal, 32, n)
    }),
    line("no-op with .timeout, 1 at once", |s, n| {
        gimmal_side::nop_in_time(&mut s.gimmal, 1, n)
    }),
    line("no-op with .timeout, 32 at once", |s, n| {
        gimmal_side::nop_in_time(&mut s.gimmal, 32, n)
    }),
    line("no-op in time::timeout, 32 at once", |s, n| {
        gimmal_side::nop_in_timeout(&mut s.gimmal, 32, n)
    }),
    line("cached 4 KiB read, 1 at once", |s, n| s.read_gimmal(1, n)),
    line("cached 4 KiB read, 32 at once", |s, n| s.read_gimmal(32, n)),
    line("parked read canceled", |s, n| {
        let (reader, _writer) = io::pipe().expect("a pipe");
        let pipe = gimmal::fs::File::from(OwnedFd::from(reader));
        gimmal_side::cancel_waiting_read(&mut s.gimmal, &pipe, n);
    }),
    line("spawn and join, one by one", |s, n| {
        gimmal_side::spawn_and_join(&mut s.gimmal, n)
    }),
    line("spawn 1000, then join", |s, n| {
        gimmal_side::spawn_then_join(&mut s.gimmal, n)
    }),
    line("yield among 100 tasks", |s, n| {
        gimmal_side::yields(&mut s.gimmal, 100, n)
    }),
    Line {
        name: "sleep among up to 40,000",
        ops: [20_000, 40_000],
        work: |s, n| {
            let (from, to) = (Duration::from_millis(3000), Duration::from_millis(3010));
            gimmal_side::sleeps(&mut s.gimmal, n, from, to);
        },
    },
    line("TCP echo, read and write_all", |s, n| {
        gimmal_side::echo(&mut s.gimmal, false, n)
    }),
    line("TCP echo, chunks", |s, n| {
        gimmal_side::echo(&mut s.gimmal, true, n)
    }),
    line("write and read, with a timeout", |s, n| {
        gimmal_side::talk(&mut s.gimmal, n)
    }),
    line("group child", |s, n| {
        gimmal_side::children(&mut s.gimmal, n / 1000, n)
    }),
];

const fn line(name: &'static str, work: fn(&mut Fixtures, u64)) -> Line {
    Line {
        name,
        ops: [10_000, 50_000],
        work,
    }
}

/// Runs a process with this number of operations under callgrind, and returns its count of instructions.
fn collected(line: &Line, ops: u64) -> io::Result<u64> {
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg(std::env::current_exe()?)
        .args([WORK, line.name, &ops.to_string()])
        .output()
        .map_err(|error| io::Error::new(error.kind(), format!("cannot run valgrind: {error}")))?;
    let text = String::from_utf8_lossy(&output.stderr);
    let collected = text
        .lines()
        .find_map(|line| line.split_once("Collected : "))
        .and_then(|(_, number)| number.trim().parse().ok());
    match collected {
        Some(collected) if output.status.success() => Ok(collected),
        _ => Err(io::Error::other(format!("{}: {text}", line.name))),
    }
}

fn instructions(line: &Line) -> io::Result<f64> {
    let [few, many] = line.ops;
    let more = collected(line, many)?.saturating_sub(collected(line, few)?);
    Ok(more as f64 / (many - few) as f64)
}

fn table() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("instructions.txt")
}

/// Reads the saved table. Each line is a name, a tab and a number.
fn saved() -> io::Result<BTreeMap<String, f64>> {
    let text = match std::fs::read_to_string(table()) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
        text => text?,
    };
    let lines = text.lines().filter_map(|line| line.split_once('\t'));
    let numbers = lines.filter_map(|(name, number)| Some((name.to_owned(), number.parse().ok()?)));
    Ok(numbers.collect())
}

fn main() -> io::Result<ExitCode> {
    let mut words: Vec<String> = std::env::args().skip(1).collect();
    if let [work, name, ops] = &words[..]
        && work == WORK
    {
        let line = LINES.iter().find(|line| line.name == name);
        let (line, ops) = line.zip(ops.parse().ok()).expect("a line and a number");
        (line.work)(&mut Fixtures::new()?, ops);
        return Ok(ExitCode::SUCCESS);
    }
    let save = words.iter().position(|word| word == "--save");
    if let Some(save) = save {
        words.remove(save);
    }
    let mut saved = saved()?;
    let mut grown = false;
    println!(
        "{:<40} {:>8} {:>8}",
        "instructions per operation", "now", "saved"
    );
    for line in LINES {
        if !words.is_empty() && !words.iter().any(|word| line.name.contains(word.as_str())) {
            continue;
        }
        let now = instructions(line)?;
        match saved.insert(line.name.to_owned(), now.round()) {
            None => println!("{:<40} {now:>8.0} {:>8}", line.name, "-"),
            Some(before) => {
                let growth = (now / before - 1.0) * 100.0;
                grown |= growth > GROWTH_MAX;
                println!(
                    "{:<40} {now:>8.0} {before:>8.0} {growth:>+6.1} %",
                    line.name
                );
            }
        }
    }
    if save.is_some() {
        let lines = LINES.iter().filter_map(|line| {
            let number = saved.get(line.name)?;
            Some(format!("{}\t{number}\n", line.name))
        });
        std::fs::write(table(), lines.collect::<String>())?;
    }
    Ok(match grown && save.is_none() {
        true => ExitCode::FAILURE,
        false => ExitCode::SUCCESS,
    })
}
