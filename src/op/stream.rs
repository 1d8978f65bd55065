//! A stream of bytes as its operations see it: a connected socket, or one end of a pipe.

use super::fifo_lock::{FifoLock, Position};
use super::peer::describe_peer;
use super::place::Place;
use super::recv_hint::RecvHint;
use super::rw::BYTES_MAX;
use super::{Completion, Entry, Opcode, Prepared, SharedFd};
use crate::sys::Descriptor;
use socket2::SockRef;
use std::cell::{Cell, OnceCell, RefCell};
use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::mem::{self, MaybeUninit};
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::task::Waker;

/// What reads and writes ask of the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Tcp,
    Unix,
    Pipe,
}

/// What receives brought that nobody waited for any more: the next one gives it first (C8).
#[derive(Debug, Default)]
struct Kept {
    bytes: VecDeque<u8>,
    /// They came with these bytes.
    passed: Passed,
    /// The kernel says once why a connection was lost: the errno, negative.
    error: Option<i32>,
}

impl Kept {
    /// Copies bytes to `room`, as many as one call of the kernel would give, and says how many.
    fn copy(&self, room: &mut [MaybeUninit<u8>]) -> usize {
        let len = room.len().min(self.bytes.len()).min(BYTES_MAX);
        for (place, byte) in room[..len].iter_mut().zip(&self.bytes) {
            place.write(*byte);
        }
        len
    }
}

/// Descriptors that came with bytes.
#[derive(Debug, Default)]
pub(super) struct Passed {
    pub(super) fds: Vec<OwnedFd>,
    /// There were more, which are closed.
    pub(super) is_cut: bool,
}

/// A stream that several hold: its owner, and the operations that work on it (O5).
pub(crate) struct Stream {
    fd: SharedFd,
    kind: Kind,
    /// Receives go through one by one, and so do sends.
    inbound: FifoLock,
    outbound: FifoLock,
    has_kept: Cell<bool>,
    kept: RefCell<Kept>,
    arrival: RecvHint,
    /// What is taken for the end of a pipe may be a file, as standard output is that was redirected. Of the two directions it is
    /// used in one, and operations of one direction follow one another: one place is enough.
    place: Cell<Place>,
    /// Who is at the other end, for the text of errors: TCP forgets it with the connection. Unix sockets are asked.
    peer: OnceCell<SocketAddr>,
}

impl Stream {
    pub(crate) fn new(fd: SharedFd, kind: Kind) -> Rc<Stream> {
        Rc::new(Stream {
            fd,
            kind,
            inbound: FifoLock::default(),
            outbound: FifoLock::default(),
            has_kept: Cell::new(false),
            kept: RefCell::default(),
            arrival: RecvHint::default(),
            place: Cell::new(Place::CURSOR),
            peer: OnceCell::new(),
        })
    }

    pub(crate) fn fd(&self) -> &SharedFd {
        &self.fd
    }

    pub(crate) fn kind(&self) -> Kind {
        self.kind
    }

    /// Says who is at the other end, where that is an address of IP. The first word counts.
    pub(crate) fn set_peer(&self, peer: SocketAddr) {
        let _known = self.peer.set(peer);
    }

    pub(crate) fn peer(&self) -> Option<SocketAddr> {
        self.peer.get().copied()
    }

    /// The same error, with who is at the other end.
    #[cold]
    pub(crate) fn with_context(&self, what: &str, error: io::Error) -> io::Error {
        let known = self.peer.get().map(SocketAddr::to_string);
        match known.or_else(|| describe_peer(&self.fd)) {
            Some(peer) if error.raw_os_error().is_some() => {
                crate::sys::with_context(error, format!("{what} {peer}"))
            }
            _ => error,
        }
    }

    /// Why a receive failed, by its errno, negative.
    #[cold]
    pub(super) fn failed(&self, error: i32) -> io::Error {
        let error = io::Error::from_raw_os_error(error.wrapping_neg());
        self.with_context("receive from", error)
    }

    /// The descriptor itself, if nothing is at work on it and no byte of it is kept here.
    pub(crate) fn try_into_descriptor(self: Rc<Stream>) -> Result<Descriptor, Rc<Stream>> {
        if self.has_kept.get() || !self.fd.is_sole() {
            return Err(self);
        }
        let stream = Rc::try_unwrap(self)?;
        stream
            .fd
            .try_unwrap()
            .map_err(|_| unreachable!("it was its sole holder above"))
    }

    /// Closes it, as [`SharedFd::close`] does. What waits at a gate is stopped, too: it would begin when those are stopped
    /// that go before it.
    pub(crate) async fn close(self: Rc<Stream>) -> io::Result<()> {
        match Rc::try_unwrap(self) {
            Ok(stream) => stream.fd.close().await,
            Err(stream) => {
                let fd = stream.fd.clone();
                stream.inbound.close();
                stream.outbound.close();
                drop(stream);
                fd.close().await
            }
        }
    }

    #[inline]
    fn gate(&self, direction: Direction) -> &FifoLock {
        match direction {
            Direction::In => &self.inbound,
            Direction::Out => &self.outbound,
        }
    }

    pub(super) fn entry(&self, opcode: Opcode) -> Entry {
        self.fd.entry(opcode)
    }

    /// The ring gets an operation.
    #[inline]
    pub(super) fn enter_ring(&self) {
        if self.kind == Kind::Pipe && !self.fd.descriptor().is_cursor_sure() {
            self.watch_cursor();
        }
    }

    #[cold]
    fn watch_cursor(&self) {
        let mut place = Place::CURSOR;
        place.enter_ring(&self.fd);
        self.place.set(place);
    }

    /// The ring has done with an operation.
    #[inline]
    pub(super) fn leave_ring(
        &self,
        completion: Completion,
        asked: impl FnOnce() -> usize,
        direction: Direction,
    ) {
        if self.kind == Kind::Pipe {
            let place = self.place.get();
            place.leave_ring(&self.fd, completion, asked, direction);
        }
    }

    pub(super) fn arrival(&self) -> &RecvHint {
        &self.arrival
    }

    /// Whether there is something that the next receive is to give first.
    #[inline]
    pub(crate) fn has_kept(&self) -> bool {
        self.has_kept.get()
    }

    /// Whether bytes are kept, not only an error.
    pub(super) fn has_kept_bytes(&self) -> bool {
        !self.kept.borrow().bytes.is_empty()
    }

    /// Bytes that were received, and that nobody has asked for: they go behind those that are kept.
    pub(super) fn keep(&self, bytes: &[u8]) {
        if !bytes.is_empty() {
            self.kept.borrow_mut().bytes.extend(bytes);
            self.has_kept.set(true);
        }
    }

    /// Why the connection was lost, which nobody was told: the errno, negative.
    pub(super) fn keep_error(&self, error: i32) {
        self.kept.borrow_mut().error.get_or_insert(error);
        self.has_kept.set(true);
    }

    /// Takes bytes that are kept into `room`, and says how many: these are initialised then. The error comes after all bytes.
    pub(super) fn take_kept(&self, room: &mut [MaybeUninit<u8>]) -> Completion {
        let mut kept = self.kept.borrow_mut();
        if kept.bytes.is_empty() {
            let error = kept.error.take();
            self.has_kept.set(false);
            return Completion::at_once(error.unwrap_or(0));
        }
        let taken = kept.copy(room);
        kept.bytes.drain(..taken);
        if kept.bytes.is_empty() {
            kept.bytes = VecDeque::new();
            kept.passed = Passed::default();
            self.has_kept.set(kept.error.is_some());
        }
        Completion::at_once(taken as i32)
    }

    /// Copies them without taking them, and what the kernel has behind them: who peeks until there is enough must get to see
    /// more than what a receive has left. It does not wait for that.
    pub(super) fn peek_kept(&self, room: &mut [MaybeUninit<u8>]) -> Completion {
        let kept = self.kept.borrow();
        let (copied, has_error) = (kept.copy(room), kept.error.is_some());
        drop(kept);
        if copied == 0 {
            return self.take_kept(room);
        }
        let room = &mut room[copied..];
        let len = room.len().min(BYTES_MAX - copied);
        if len == 0 || has_error {
            return Completion::at_once(copied as i32);
        }
        let socket = SockRef::from(&self.fd);
        let more = socket.recv_with_flags(&mut room[..len], libc::MSG_PEEK | libc::MSG_DONTWAIT);
        let more = more.unwrap_or_else(|error| {
            let (kind, errno) = (error.kind(), error.raw_os_error());
            if kind != io::ErrorKind::WouldBlock && kind != io::ErrorKind::Interrupted {
                // The kernel says it once.
                self.keep_error(-errno.unwrap_or(libc::EIO));
            }
            0
        });
        Completion::at_once((copied + more) as i32)
    }

    /// All bytes that are kept. The error comes after them.
    pub(super) fn take_all_kept(&self) -> io::Result<Vec<u8>> {
        let mut kept = self.kept.borrow_mut();
        let bytes = Vec::from(mem::take(&mut kept.bytes));
        kept.passed = Passed::default();
        let error = match bytes.is_empty() {
            true => kept.error.take(),
            false => None,
        };
        self.has_kept.set(kept.error.is_some());
        error.map_or(Ok(bytes), |error| Err(self.failed(error)))
    }

    /// Bytes that were received, and that nobody has got: they go to the front.
    pub(crate) fn give_back(&self, bytes: &[u8]) {
        if !bytes.is_empty() {
            let kept = &mut self.kept.borrow_mut().bytes;
            kept.extend(bytes);
            // None are kept, most of the time, and it does not turn.
            kept.rotate_right(bytes.len());
            self.has_kept.set(true);
        }
    }

    /// Bytes of a receive that nobody waits for. Those of the kernel go behind what was given back while it had the receive.
    pub(super) fn take_back(&self, bytes: &[u8], completion: Completion) {
        match completion.came_at_once() {
            true => self.give_back(bytes),
            false => self.keep(bytes),
        }
    }

    /// The descriptors that came with the bytes that are kept. Whoever takes the last of the bytes without asking for them
    /// closes them, as the kernel does.
    pub(super) fn take_passed(&self) -> Passed {
        mem::take(&mut self.kept.borrow_mut().passed)
    }

    /// Descriptors that came with bytes that are given back.
    pub(super) fn keep_passed(&self, passed: Passed) {
        let kept = &mut self.kept.borrow_mut().passed;
        kept.fds.extend(passed.fds);
        kept.is_cut |= passed.is_cut;
    }
}

impl fmt::Debug for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stream")
            .field("fd", &self.fd)
            .field("kind", &self.kind)
            .finish_non_exhaustive()
    }
}

/// Which way bytes go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Direction {
    In,
    Out,
}

/// The right to receive from a stream, or to send on it, until it is dropped.
#[derive(Debug)]
pub(crate) struct Permit {
    stream: Rc<Stream>,
    direction: Direction,
    spot: Position,
}

impl Permit {
    #[inline]
    pub(super) fn new(stream: Rc<Stream>, direction: Direction) -> Permit {
        Permit {
            stream,
            direction,
            spot: Position::Outside,
        }
    }

    #[inline]
    pub(super) fn stream(&self) -> &Stream {
        &self.stream
    }

    /// The right itself; without it this one stands outside.
    pub(super) fn hand_over(&mut self) -> Permit {
        let outside = Permit::new(self.stream.clone(), self.direction);
        mem::replace(self, outside)
    }

    /// Why an operation that has this right may not be started, if that is so.
    #[inline]
    pub(super) fn prepare(&mut self, waker: &Waker) -> Option<Prepared> {
        let gate = self.stream.gate(self.direction);
        gate.prepare(&mut self.spot, waker)
    }

    /// Whether it is this one's turn. If not, `waker` is woken to ask again.
    #[inline]
    pub(super) fn enter(&mut self, waker: &Waker) -> bool {
        let gate = self.stream.gate(self.direction);
        gate.enter(&mut self.spot, waker)
    }
}

impl Drop for Permit {
    #[inline]
    fn drop(&mut self) {
        self.stream.gate(self.direction).leave(self.spot);
    }
}
