//! The cost of receiving: `chunks`, compared with reads into one reused buffer, and with a bare ring that uses
//! multishot receives and provided buffers, as `chunks` does.
//!
//! `receive [--pairs N] [WORD…]` measures the lines whose names contain all of the words, or all lines.
//!
//! The same thread writes each message with write(2), so that one clock covers everything, and writes the next message
//! of a connection when it has received the one before. All sides include the cost of that write.

use gimmal::net::{Chunks, TcpStream};
use gimmal_benches::interleave::{self, Arguments, Quartiles, Work};
use gimmal_benches::meter::{thread, wall};
use io_uring::types::{BufRingEntry, Fd};
use io_uring::{IoUring, cqueue, opcode};
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::process::ExitCode;
use std::sync::atomic::{AtomicU16, Ordering};

const PAIRS: usize = 31;
/// The number of messages that one side receives in its turn, which takes 5 to 50 ms.
const MESSAGES: u64 = 4096;
/// The number of provided buffers. Their size depends on the line.
const BUFFERS: u16 = 256;

/// The two ends of a connection.
struct Ends {
    writer: File,
    reader: OwnedFd,
}

fn ends(tcp: bool) -> io::Result<Ends> {
    let (writer, reader): (OwnedFd, OwnedFd) = if tcp {
        let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
        let writer = std::net::TcpStream::connect(listener.local_addr()?)?;
        writer.set_nodelay(true)?;
        (writer.into(), listener.accept()?.0.into())
    } else {
        let (writer, reader) = UnixStream::pair()?;
        (writer.into(), reader.into())
    };
    Ok(Ends {
        writer: writer.into(),
        reader,
    })
}

/// What the sides of one line work with.
struct Fixtures {
    message: Vec<u8>,
    runtime: gimmal::Runtime,
    connections: Vec<(File, TcpStream)>,
    ring: BareRing,
}

impl Fixtures {
    fn new(tcp: bool, connections: usize, size: usize, buffer: usize) -> io::Result<Fixtures> {
        let for_gimmal = (0..connections).map(|_| {
            let Ends { writer, reader } = ends(tcp)?;
            Ok((writer, TcpStream::from_std(reader.into())))
        });
        let for_ring = (0..connections).map(|_| ends(tcp));
        let builder = gimmal::Runtime::builder();
        Ok(Fixtures {
            message: vec![7; size],
            runtime: builder
                .receive_buffers(usize::from(BUFFERS), buffer)
                .build()?,
            connections: for_gimmal.collect::<io::Result<_>>()?,
            ring: BareRing::new(for_ring.collect::<io::Result<_>>()?, buffer)?,
        })
    }

    fn chunks(&mut self, ops: u64) {
        let message = self.message.as_slice();
        let work = shares(&self.connections, ops).map(|(writer, stream, each)| async move {
            let mut chunks = stream.chunks();
            for _ in 0..each {
                (&*writer).write_all(message)?;
                take_chunks(&mut chunks, message.len()).await?;
            }
            io::Result::Ok(())
        });
        let done = self.runtime.block_on(gimmal::try_join_all(work));
        check(done.map(drop));
    }

    fn reads(&mut self, ops: u64) {
        let message = self.message.as_slice();
        let work = shares(&self.connections, ops).map(|(writer, stream, each)| async move {
            let mut buf = Vec::with_capacity(message.len());
            for _ in 0..each {
                (&*writer).write_all(message)?;
                buf = read(stream, buf, message.len()).await?;
            }
            io::Result::Ok(())
        });
        let done = self.runtime.block_on(gimmal::try_join_all(work));
        check(done.map(drop));
    }
}

/// Returns the connections, each with its share of the messages.
fn shares(
    connections: &[(File, TcpStream)],
    ops: u64,
) -> impl Iterator<Item = (&File, &TcpStream, u64)> {
    let all = connections.len() as u64;
    let share = move |n| ops / all + u64::from(n < ops % all);
    let numbered = connections.iter().zip(0..);
    numbered.map(move |((writer, stream), n)| (writer, stream, share(n)))
}

/// Receives `left` bytes in chunks.
async fn take_chunks(chunks: &mut Chunks<'_>, mut left: usize) -> io::Result<()> {
    while left > 0 {
        let Some(chunk) = chunks.next().await? else {
            return Err(io::ErrorKind::UnexpectedEof.into());
        };
        left -= chunk.len();
    }
    Ok(())
}

/// Receives `left` bytes into one buffer, which is reused.
async fn read(stream: &TcpStream, mut buf: Vec<u8>, mut left: usize) -> io::Result<Vec<u8>> {
    while left > 0 {
        let (n, back) = stream.read(buf).await?;
        left -= n;
        buf = back;
    }
    Ok(buf)
}

fn check(done: io::Result<()>) {
    if let Err(error) = done {
        panic!("a connection on loopback failed: {error}");
    }
}

/// Has `receive` read the first connection, while another thread writes messages to it as fast as it can.
fn bulk<T>(
    fixtures: &mut Fixtures,
    ops: u64,
    receive: impl AsyncFn(&TcpStream, usize) -> io::Result<T>,
) {
    let (writer, stream) = &fixtures.connections[0];
    let message = fixtures.message.as_slice();
    std::thread::scope(|scope| {
        scope.spawn(|| (0..ops).for_each(|_| check((&*writer).write_all(message))));
        let all = ops as usize * message.len();
        let received = fixtures.runtime.block_on(receive(stream, all));
        check(received.map(drop));
    });
}

/// A bare ring with a multishot receive for each connection.
struct BareRing {
    ring: IoUring,
    ends: Vec<Ends>,
    /// The ring of buffer entries, then the buffers.
    memory: &'static mut [Page],
    size: usize,
    tail: u16,
    armed: Vec<bool>,
    left: Vec<usize>,
}

#[repr(align(4096))]
#[derive(Clone)]
struct Page(#[expect(dead_code, reason = "only its size and its place count")] [u8; 4096]);

impl BareRing {
    fn new(ends: Vec<Ends>, size: usize) -> io::Result<BareRing> {
        let ring = IoUring::builder()
            .setup_clamp()
            .setup_cqsize(4096)
            .setup_submit_all()
            .setup_coop_taskrun()
            .setup_taskrun_flag()
            .setup_single_issuer()
            .setup_defer_taskrun()
            .setup_no_sqarray()
            .build(256)?;
        let pages = 1 + usize::from(BUFFERS) * size.div_ceil(4096);
        let memory = vec![Page([0; 4096]); pages].leak();
        let address = memory.as_mut_ptr().expose_provenance() as u64;
        let submitter = ring.submitter();
        // SAFETY: the memory is never freed, and is page-aligned.
        unsafe { submitter.register_buf_ring_with_flags(address, BUFFERS, 0, 0)? };
        let count = ends.len();
        let mut bare = BareRing {
            ring,
            ends,
            memory,
            size,
            tail: 0,
            armed: vec![false; count],
            left: vec![0; count],
        };
        (0..BUFFERS).for_each(|id| bare.provide(id));
        Ok(bare)
    }

    fn provide(&mut self, id: u16) {
        let queue = self.memory.as_mut_ptr().cast::<BufRingEntry>();
        let buffer = 4096 + usize::from(id) * self.size.next_multiple_of(4096);
        let address = self.memory.as_mut_ptr().wrapping_byte_add(buffer);
        // SAFETY: the memory starts with `BUFFERS` entries; the kernel reads an entry only once the tail is past it.
        unsafe {
            let entry = &mut *queue.add(usize::from(self.tail & (BUFFERS - 1)));
            entry.set_addr(address.expose_provenance() as u64);
            entry.set_len(self.size as u32);
            entry.set_bid(id);
            self.tail = self.tail.wrapping_add(1);
            let tail = BufRingEntry::tail(queue).cast::<AtomicU16>();
            (*tail).store(self.tail, Ordering::Release);
        }
    }

    fn arm(&mut self, at: usize) {
        let fd = Fd(self.ends[at].reader.as_raw_fd());
        let entry = opcode::RecvMulti::new(fd, 0).build().user_data(at as u64);
        // SAFETY: the kernel only writes to the buffers, which are never freed.
        let pushed = unsafe { self.ring.submission().push(&entry) };
        assert!(pushed.is_ok(), "the queue has room for every connection");
        self.armed[at] = true;
    }

    fn receive(&mut self, message: &[u8], ops: u64) {
        let mut to_send = ops;
        let mut busy = 0;
        for at in 0..self.ends.len() {
            if !self.armed[at] {
                self.arm(at);
            }
            if to_send == 0 {
                continue;
            }
            to_send -= 1;
            check((&self.ends[at].writer).write_all(message));
            self.left[at] = message.len();
            busy += 1;
        }
        let mut seen = Vec::with_capacity(256);
        while busy > 0 {
            check(self.ring.submit_and_wait(1).map(drop));
            seen.extend(self.ring.completion());
            for cqe in seen.drain(..) {
                let at = cqe.user_data() as usize;
                let (Ok(n), Some(id)) = (
                    usize::try_from(cqe.result()),
                    cqueue::buffer_select(cqe.flags()),
                ) else {
                    assert_eq!(-cqe.result(), libc::ENOBUFS, "a receive failed");
                    self.arm(at);
                    continue;
                };
                self.provide(id);
                if !cqueue::more(cqe.flags()) {
                    self.arm(at);
                }
                self.left[at] -= n;
                if self.left[at] > 0 {
                    continue;
                }
                if to_send == 0 {
                    busy -= 1;
                    continue;
                }
                to_send -= 1;
                self.left[at] = message.len();
                check((&self.ends[at].writer).write_all(message));
            }
        }
    }
}

fn main() -> io::Result<ExitCode> {
    let Some(arguments) = Arguments::parse("receive", PAIRS) else {
        return Ok(ExitCode::FAILURE);
    };
    let rounds = arguments.rounds;
    println!(
        "{:<55} {:<48} ns per message, CPU of the thread (wall): chunks, reads, ring",
        "", " chunks / reads          chunks / ring"
    );
    for (kind, tcp) in [("socket pair", false), ("tcp", true)] {
        for connections in [1, 64] {
            for (size, buffer) in [
                (64, 4096),
                (64, 16 << 10),
                (16 << 10, 4096),
                (16 << 10, 16 << 10),
            ] {
                let name =
                    format!("{kind}, {connections} connections, {size} B, buffers of {buffer}");
                if !arguments
                    .words
                    .iter()
                    .all(|word| name.contains(word.as_str()))
                {
                    continue;
                }
                let ring =
                    |fixtures: &mut Fixtures, ops| fixtures.ring.receive(&fixtures.message, ops);
                let works: [Work<Fixtures>; 3] = [
                    Box::new(Fixtures::chunks),
                    Box::new(Fixtures::reads),
                    Box::new(ring),
                ];
                let fixtures = Fixtures::new(tcp, connections, size, buffer)?;
                line(&name, rounds, fixtures, works);
            }
        }
        let name = format!("{kind}, in bulk from another thread, by 16384 B");
        if arguments
            .words
            .iter()
            .all(|word| name.contains(word.as_str()))
        {
            let works: [Work<Fixtures>; 2] = [
                Box::new(|fixtures, ops| {
                    bulk(fixtures, ops, async |stream, all| {
                        take_chunks(&mut stream.chunks(), all).await
                    });
                }),
                Box::new(|fixtures, ops| {
                    bulk(fixtures, ops, async |stream, all| {
                        read(stream, Vec::with_capacity(16 << 10), all).await
                    });
                }),
            ];
            line(
                &name,
                rounds,
                Fixtures::new(tcp, 1, 16 << 10, 16 << 10)?,
                works,
            );
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Measures a line: compares the first of the works with each of the others.
fn line<const N: usize>(
    name: &str,
    rounds: usize,
    mut fixtures: Fixtures,
    mut works: [Work<Fixtures>; N],
) {
    let samples = interleave::turns(&mut fixtures, &mut works, &[MESSAGES; N], rounds + 1);
    // Everything but the writer of bulk runs on this thread, so its CPU time excludes only other programs.
    let chunks = samples[0].ns(thread);
    let ratios = samples[1..].iter().map(|other| {
        let ratio = Quartiles::of_ratios(&chunks, &other.ns(thread));
        format!("{:>8.3} [{:.3} {:.3}]", ratio.median, ratio.low, ratio.high)
    });
    let ns = samples.iter().map(|side| {
        let median = |clock| Quartiles::of(side.ns(clock)).median;
        format!("{:.0} ({:.0})", median(thread), median(wall))
    });
    println!(
        "{name:<55} {:<48} {}",
        ratios.collect::<String>(),
        ns.collect::<Vec<_>>().join(", ")
    );
}
