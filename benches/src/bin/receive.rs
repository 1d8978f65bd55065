//! What it costs to receive: chunks in buffers of the runtime, beside reads into one buffer that is used again, and beside a
//! bare ring that does what chunks do. In interleaved chunks of work, as ratios.
//!
//! `receive [--pairs N] [WORD…]` measures the lines whose names contain all of the words, or all lines.
//!
//! A message is written by a plain write(2) of the same thread, so that all is in one clock; each connection writes its next
//! message when it has received the one before. What that write costs is on every side.

use gimmal::net::{Chunks, TcpStream};
use gimmal_benches::meter::{thread, wall};
use gimmal_benches::pairs::{self, Arguments, Quartiles, Work};
use io_uring::types::{BufRingEntry, Fd};
use io_uring::{IoUring, cqueue, opcode};
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::process::ExitCode;
use std::sync::atomic::{AtomicU16, Ordering};

const PAIRS: usize = 31;
/// What one side receives in its turn: 5 to 50 ms.
const MESSAGES: u64 = 4096;
/// Buffers of a ring; the size of each is a line's.
const BUFFERS: u16 = 256;

/// One connection: the end that is written to, and its other end.
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

/// What one line works on.
struct Stand {
    message: Vec<u8>,
    runtime: gimmal::Runtime,
    ours: Vec<(File, TcpStream)>,
    bare: Bare,
}

impl Stand {
    fn new(tcp: bool, connections: usize, size: usize, buffer: usize) -> io::Result<Stand> {
        let ours = (0..connections).map(|_| {
            let Ends { writer, reader } = ends(tcp)?;
            Ok((writer, TcpStream::from_std(reader.into())))
        });
        let theirs = (0..connections).map(|_| ends(tcp));
        let builder = gimmal::Runtime::builder();
        Ok(Stand {
            message: vec![7; size],
            runtime: builder
                .receive_buffers(usize::from(BUFFERS), buffer)
                .build()?,
            ours: ours.collect::<io::Result<_>>()?,
            bare: Bare::new(theirs.collect::<io::Result<_>>()?, buffer)?,
        })
    }

    fn chunks(&mut self, ops: u64) {
        let message = self.message.as_slice();
        let work = shares(&self.ours, ops).map(|(writer, stream, each)| async move {
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
        let work = shares(&self.ours, ops).map(|(writer, stream, each)| async move {
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

/// The connections, and how many of the messages each of them gets.
fn shares(
    connections: &[(File, TcpStream)],
    ops: u64,
) -> impl Iterator<Item = (&File, &TcpStream, u64)> {
    let all = connections.len() as u64;
    let share = move |n| ops / all + u64::from(n < ops % all);
    let numbered = connections.iter().zip(0..);
    numbered.map(move |((writer, stream), n)| (writer, stream, share(n)))
}

/// Receives so many bytes in chunks.
async fn take_chunks(chunks: &mut Chunks<'_>, mut left: usize) -> io::Result<()> {
    while left > 0 {
        let Some(chunk) = chunks.next().await? else {
            return Err(io::ErrorKind::UnexpectedEof.into());
        };
        left -= chunk.len();
    }
    Ok(())
}

/// Receives so many bytes into this buffer, again and again.
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

/// Messages that another thread writes as fast as it can, on the first connection, received by `receive`.
fn bulk<T>(stand: &mut Stand, ops: u64, receive: impl AsyncFn(&TcpStream, usize) -> io::Result<T>) {
    let (writer, stream) = &stand.ours[0];
    let message = stand.message.as_slice();
    std::thread::scope(|scope| {
        scope.spawn(|| (0..ops).for_each(|_| check((&*writer).write_all(message))));
        let all = ops as usize * message.len();
        let received = stand.runtime.block_on(receive(stream, all));
        check(received.map(drop));
    });
}

/// A ring without tasks, with a multishot receive for each connection.
struct Bare {
    ring: IoUring,
    ends: Vec<Ends>,
    /// The queue of buffers at the start, then the buffers.
    memory: &'static mut [Page],
    size: usize,
    tail: u16,
    armed: Vec<bool>,
    left: Vec<usize>,
}

#[repr(align(4096))]
#[derive(Clone)]
struct Page(#[expect(dead_code, reason = "only its size and its place count")] [u8; 4096]);

impl Bare {
    fn new(ends: Vec<Ends>, size: usize) -> io::Result<Bare> {
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
        // SAFETY: the memory is never freed, and begins at a page.
        unsafe { submitter.register_buf_ring_with_flags(address, BUFFERS, 0, 0)? };
        let count = ends.len();
        let mut bare = Bare {
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
        // SAFETY: the queue has so many entries at the start of the memory; the kernel reads one after the tail is past it.
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
        // SAFETY: it lends no memory but the buffers, which are never freed.
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
        "{:<55} {:<48} ns a message by the thread's clock (the wall's): chunks, reads, ring",
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
                let bare = |stand: &mut Stand, ops| stand.bare.receive(&stand.message, ops);
                let works: [Work<Stand>; 3] = [
                    Box::new(Stand::chunks),
                    Box::new(Stand::reads),
                    Box::new(bare),
                ];
                let stand = Stand::new(tcp, connections, size, buffer)?;
                line(&name, rounds, stand, works);
            }
        }
        let name = format!("{kind}, in bulk from another thread, by 16384 B");
        if arguments
            .words
            .iter()
            .all(|word| name.contains(word.as_str()))
        {
            let works: [Work<Stand>; 2] = [
                Box::new(|stand, ops| {
                    bulk(stand, ops, async |stream, all| {
                        take_chunks(&mut stream.chunks(), all).await
                    });
                }),
                Box::new(|stand, ops| {
                    bulk(stand, ops, async |stream, all| {
                        read(stream, Vec::with_capacity(16 << 10), all).await
                    });
                }),
            ];
            line(
                &name,
                rounds,
                Stand::new(tcp, 1, 16 << 10, 16 << 10)?,
                works,
            );
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// The first of the works beside each of the others.
fn line<const N: usize>(name: &str, rounds: usize, mut stand: Stand, mut works: [Work<Stand>; N]) {
    let samples = pairs::turns(&mut stand, &mut works, &[MESSAGES; N], rounds + 1);
    // All but the writer of bulk is in this thread, so its own clock leaves out only what others do to the machine.
    let ours = samples[0].ns(thread);
    let ratios = samples[1..].iter().map(|other| {
        let ratio = Quartiles::of_ratios(&ours, &other.ns(thread));
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
