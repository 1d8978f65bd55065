//! Copying by splice through a pipe, compared with reads and writes through a buffer, in a bare ring; then
//! `gimmal::io::copy`, with and without splice.
//!
//! `copy [--pairs N] [WORD…]` measures the lines whose names contain one of the words, or all lines. Threads of this
//! process are the peers. They discard what a socket receives in the kernel (`MSG_TRUNC`), which costs the copy
//! nothing. Times are for one chunk: wall-clock time, and the CPU time of the whole process, including kernel workers.

use gimmal::runtime::FeatureMask;
use gimmal_benches::interleave::{self, Arguments, Effort, Quartiles, Samples, Work};
use gimmal_benches::meter::{process, wall};
use io_uring::squeue::Entry;
use io_uring::types::Fd;
use io_uring::{IoUring, opcode};
use std::fs::{File, OpenOptions};
use std::io::{self, PipeReader, PipeWriter, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsRawFd, RawFd};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::thread;
use std::time::Duration;

const PAIRS: usize = 15;
const CHUNK: Duration = Duration::from_millis(10);
const CHUNKS: [usize; 7] = [
    4 << 10,
    16 << 10,
    64 << 10,
    128 << 10,
    256 << 10,
    512 << 10,
    1 << 20,
];
/// The size of the file, which is in the page cache.
const FILE: usize = 32 << 20;

/// One end of a copy.
#[derive(Clone, Copy)]
enum End {
    /// A file, at an offset that wraps around.
    File(RawFd),
    Socket(RawFd),
    Pipe(RawFd),
}

struct Fixtures {
    ring: IoUring,
    /// The pipe between two splices.
    pipe: (PipeReader, PipeWriter),
    buffer: Vec<u8>,
    from: End,
    to: End,
    chunk: usize,
    at: usize,
}

impl Fixtures {
    fn one(&mut self, entry: &Entry) -> usize {
        // SAFETY: the fixtures own the buffer, and the request has completed when this returns.
        unsafe { self.ring.submission().push(entry).expect("a free entry") };
        self.ring.submit_and_wait(1).expect("a ring");
        let completion = self.ring.completion().next().expect("a completion");
        usize::try_from(completion.result()).expect("a success")
    }

    /// Returns the offset of the next read and write of a file.
    fn offset(&self) -> usize {
        self.at % FILE
    }

    fn buffered(&mut self, chunks: u64) {
        for _ in 0..chunks {
            let mut left = self.chunk;
            while left > 0 {
                let start = self.buffer.as_mut_ptr();
                let read = match self.from {
                    End::File(fd) => opcode::Read::new(Fd(fd), start, left as u32)
                        .offset(self.offset() as u64)
                        .build(),
                    End::Pipe(fd) => opcode::Read::new(Fd(fd), start, left as u32)
                        .offset(u64::MAX)
                        .build(),
                    End::Socket(fd) => opcode::Recv::new(Fd(fd), start, left as u32).build(),
                };
                let n = self.one(&read);
                let mut done = 0;
                while done < n {
                    let (start, len) = (start.wrapping_add(done).cast_const(), (n - done) as u32);
                    let write = match self.to {
                        End::File(fd) => opcode::Write::new(Fd(fd), start, len)
                            .offset((self.offset() + done) as u64)
                            .build(),
                        End::Pipe(fd) => opcode::Write::new(Fd(fd), start, len)
                            .offset(u64::MAX)
                            .build(),
                        End::Socket(fd) => opcode::Send::new(Fd(fd), start, len).build(),
                    };
                    done += self.one(&write);
                }
                self.at += n;
                left -= n;
            }
        }
    }

    fn spliced(&mut self, chunks: u64) {
        for _ in 0..chunks {
            let mut left = self.chunk;
            while left > 0 {
                let to_pipe = Fd(self.pipe.1.as_raw_fd());
                let (fd, offset) = match self.from {
                    End::File(fd) => (fd, self.offset() as i64),
                    End::Socket(fd) | End::Pipe(fd) => (fd, -1),
                };
                let n = self
                    .one(&opcode::Splice::new(Fd(fd), offset, to_pipe, -1, left as u32).build());
                let mut done = 0;
                while done < n {
                    let from_pipe = Fd(self.pipe.0.as_raw_fd());
                    let (fd, offset) = match self.to {
                        End::File(fd) => (fd, (self.offset() + done) as i64),
                        End::Socket(fd) | End::Pipe(fd) => (fd, -1),
                    };
                    let len = (n - done) as u32;
                    done +=
                        self.one(&opcode::Splice::new(from_pipe, -1, Fd(fd), offset, len).build());
                }
                self.at += n;
                left -= n;
            }
        }
    }

    /// Splices a pipe directly into the target, without the pipe in between.
    fn spliced_directly(&mut self, chunks: u64) {
        let (End::Pipe(from), End::Socket(to) | End::Pipe(to)) = (self.from, self.to) else {
            return self.spliced(chunks);
        };
        for _ in 0..chunks {
            let mut left = self.chunk;
            while left > 0 {
                left -=
                    self.one(&opcode::Splice::new(Fd(from), -1, Fd(to), -1, left as u32).build());
            }
        }
    }
}

fn connected() -> io::Result<(TcpStream, TcpStream)> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let near = TcpStream::connect(listener.local_addr()?)?;
    Ok((near, listener.accept()?.0))
}

/// Returns a socket whose peer discards everything.
fn sink() -> io::Result<TcpStream> {
    let (near, far) = connected()?;
    thread::spawn(move || {
        loop {
            // SAFETY: with MSG_TRUNC, a TCP socket discards the bytes and writes nothing (tcp(7)).
            let n = unsafe {
                let nowhere = std::ptr::null_mut();
                libc::recv(far.as_raw_fd(), nowhere, 4 << 20, libc::MSG_TRUNC)
            };
            if n <= 0 {
                return;
            }
        }
    });
    Ok(near)
}

/// Writes to it from another thread, until that fails.
fn fill(mut to: impl Write + Send + 'static) {
    thread::spawn(move || {
        let bytes = vec![7; 1 << 20];
        while to.write_all(&bytes).is_ok() {}
    });
}

fn grow(pipe: &impl AsRawFd) {
    // SAFETY: no address is passed.
    unsafe { libc::fcntl(pipe.as_raw_fd(), libc::F_SETPIPE_SZ, 1 << 20) };
}

fn report(name: &str, chunk: usize, samples: &[Samples]) {
    print!("{name:<28} {:>7}K ", chunk >> 10);
    for clock in [wall, process] {
        let (splice, buffer) = (samples[0].ns(clock), samples[1].ns(clock));
        let ratio = Quartiles::of_ratios(&splice, &buffer);
        print!(
            "  {:>5.2} [{:.2} {:.2}] {:>9.1} {:>9.1}",
            ratio.median,
            ratio.low,
            ratio.high,
            Quartiles::of(splice).median / 1000.0,
            Quartiles::of(buffer).median / 1000.0,
        );
    }
    println!(" µs");
}

/// Returns a pipe whose other end is drained.
fn drained() -> io::Result<PipeWriter> {
    let (mut reader, writer) = io::pipe()?;
    grow(&writer);
    thread::spawn(move || {
        let mut buffer = vec![0; 1 << 20];
        while reader.read(&mut buffer).is_ok_and(|n| n > 0) {}
    });
    Ok(writer)
}

fn main() -> io::Result<ExitCode> {
    let Some(arguments) = Arguments::parse("copy", PAIRS) else {
        return Ok(ExitCode::FAILURE);
    };
    let rounds = arguments.rounds;
    let program = std::env::current_exe()?;
    let directory = tempfile::tempdir_in(program.parent().ok_or(io::ErrorKind::NotFound)?)?;
    let path = directory.path().join("from");
    std::fs::write(&path, vec![7; FILE])?;
    let file = File::open(&path)?;
    let copy = OpenOptions::new()
        .create(true)
        .write(true)
        .truncate(true)
        .open(directory.path().join("to"))?;
    copy.set_len(FILE as u64)?;
    println!(
        "{:<28} {:>8}  {:>18} {:>9} {:>9}  {:>18} {:>9} {:>9}",
        "copy",
        "chunk",
        "wall: splice/buffer",
        "splice",
        "buffer",
        "CPU: splice/buffer",
        "splice",
        "buffer"
    );
    for name in [
        "file to socket",
        "socket to socket",
        "pipe to socket",
        "socket to file",
        "file to pipe",
        "file to file",
    ] {
        if !arguments.choose(name) {
            continue;
        }
        for chunk in CHUNKS {
            let (from_name, to_name) = name.split_once(" to ").expect("two ends");
            let mut kept: Vec<Box<dyn std::any::Any>> = Vec::new();
            let from = match from_name {
                "file" => End::File(file.as_raw_fd()),
                "socket" => {
                    let (near, far) = connected()?;
                    fill(far);
                    let fd = near.as_raw_fd();
                    kept.push(Box::new(near));
                    End::Socket(fd)
                }
                _ => {
                    let (reader, writer) = io::pipe()?;
                    grow(&writer);
                    fill(writer);
                    let fd = reader.as_raw_fd();
                    kept.push(Box::new(reader));
                    End::Pipe(fd)
                }
            };
            let to = match to_name {
                "file" => End::File(copy.as_raw_fd()),
                "socket" => {
                    let socket = sink()?;
                    let fd = socket.as_raw_fd();
                    kept.push(Box::new(socket));
                    End::Socket(fd)
                }
                _ => {
                    let writer = drained()?;
                    let fd = writer.as_raw_fd();
                    kept.push(Box::new(writer));
                    End::Pipe(fd)
                }
            };
            let pipe = io::pipe()?;
            grow(&pipe.0);
            let mut fixtures = Fixtures {
                ring: IoUring::builder()
                    .setup_single_issuer()
                    .setup_defer_taskrun()
                    .build(8)?,
                pipe,
                buffer: vec![0; chunk],
                from,
                to,
                chunk,
                at: 0,
            };
            let mut works: [Work<Fixtures>; 2] = [
                Box::new(|fixtures: &mut Fixtures, chunks| fixtures.spliced_directly(chunks)),
                Box::new(|fixtures: &mut Fixtures, chunks| fixtures.buffered(chunks)),
            ];
            let effort = Effort {
                rounds,
                chunk: CHUNK,
            };
            let samples = interleave::take_turns(&mut fixtures, &mut works, effort);
            report(name, chunk, &samples);
        }
    }
    if arguments.choose("gimmal") {
        // The boxed work has no lifetime, so it cannot borrow the paths.
        let to = directory.path().join("to");
        let leak = |path: PathBuf| &*Box::leak(path.into_boxed_path());
        copies(leak(path), leak(to), rounds)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Whole files by `gimmal::io::copy`, in a default runtime and in one without splice.
fn copies(path: &'static Path, to: &'static Path, rounds: usize) -> io::Result<()> {
    let mask = FeatureMask::none().without_opcode(gimmal::op::Opcode::SPLICE);
    let mut runtimes = (
        gimmal::Runtime::new()?,
        gimmal::Runtime::builder().mask(mask).build()?,
    );
    for name in ["socket", "pipe", "file"] {
        for size in [64 << 10, 256 << 10, 1 << 20, FILE] {
            std::fs::write(path, vec![7; size])?;
            let copy_one = move |runtime: &mut gimmal::Runtime, times: u64| {
                runtime.block_on(async {
                    let (socket, pipe) = (sink()?, drained()?);
                    let socket = gimmal::net::TcpStream::from_std(socket);
                    let pipe = gimmal::io::PipeWriter::from_std(pipe);
                    for _ in 0..times {
                        let mut file = gimmal::fs::File::open(path).await?;
                        let copied = match name {
                            "socket" => gimmal::io::copy(&mut file, &mut &socket).await?,
                            "pipe" => gimmal::io::copy(&mut file, &mut &pipe).await?,
                            _ => {
                                let mut to = gimmal::fs::File::create(to).await?;
                                gimmal::io::copy(&mut file, &mut to).await?
                            }
                        };
                        assert_eq!(copied, size as u64);
                    }
                    io::Result::Ok(())
                })
            };
            let mut works: [Work<(gimmal::Runtime, gimmal::Runtime)>; 2] = [
                Box::new(move |runtimes, times| copy_one(&mut runtimes.0, times).expect("a copy")),
                Box::new(move |runtimes, times| copy_one(&mut runtimes.1, times).expect("a copy")),
            ];
            let effort = Effort {
                rounds,
                chunk: CHUNK,
            };
            let samples = interleave::take_turns(&mut runtimes, &mut works, effort);
            report(&format!("gimmal: file to {name}"), size, &samples);
        }
    }
    Ok(())
}
