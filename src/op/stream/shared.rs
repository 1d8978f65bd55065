//! A byte stream as its operations see it: a connected socket, or one end of a pipe.

use crate::buf::BYTES_MAX;
use crate::op::fd::{Lane, Ordered, OrderedFd, Permit};
use crate::op::fifo_lock::FifoLock;
use crate::op::file::{AtCursor, Cursor};
use crate::op::socket::with_peer;
use crate::op::{Completion, SharedFd};
use socket2::{SockAddr, SockRef};
use std::cell::{OnceCell, RefCell};
use std::collections::VecDeque;
use std::io;
use std::mem::{self, MaybeUninit};
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::rc::Rc;

/// The kind of stream, which selects the opcodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StreamKind {
    Tcp,
    Unix,
    Pipe,
}

/// What abandoned receives have left: the next receive returns it first (C8).
#[derive(Debug, Default)]
struct Kept {
    bytes: VecDeque<u8>,
    /// The descriptors that came with these bytes.
    passed: PassedFds,
    /// The kernel reports only once why a connection was lost: the errno, negative.
    error: Option<i32>,
}

impl Kept {
    /// Copies bytes to `room`, up to the limit of one system call, and returns how many.
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
pub(super) struct PassedFds {
    pub(super) fds: Vec<OwnedFd>,
    /// There were more, which were closed.
    pub(super) is_cut: bool,
}

/// What a stream has beside its order.
pub(crate) struct ByteStream {
    kind: StreamKind,
    kept: RefCell<Kept>,
    /// An apparent pipe may be a file, such as redirected standard output. It is used in one direction only, and
    /// operations of one direction follow one another, so one cursor suffices.
    cursor: Cursor,
    /// The peer, for error messages: TCP forgets it with the connection. Unix sockets are asked instead.
    peer: OnceCell<SocketAddr>,
}

impl Ordered for ByteStream {
    type Locks = [FifoLock; 2];
    type Spare = ();

    #[inline]
    fn reuse(&self, _: Lane, (): ()) {}
}

/// A stream shared by its owner and the operations on it (O5).
pub(crate) type Stream = OrderedFd<ByteStream>;

/// The right to receive from a stream, or to send on it.
pub(crate) type StreamPermit = Permit<ByteStream>;

impl Stream {
    pub(crate) fn new(fd: SharedFd, kind: StreamKind) -> Rc<Stream> {
        let own = ByteStream {
            kind,
            kept: RefCell::default(),
            cursor: Cursor::new(),
            peer: OnceCell::new(),
        };
        OrderedFd::share(fd, Default::default(), own)
    }

    pub(crate) fn kind(&self) -> StreamKind {
        self.own.kind
    }

    /// Records the peer's IP address. Only the first call counts.
    pub(crate) fn set_peer(&self, peer: SocketAddr) {
        let _known = self.own.peer.set(peer);
    }

    pub(crate) fn peer(&self) -> Option<SocketAddr> {
        self.own.peer.get().copied()
    }

    /// Adds the peer to an error.
    #[cold]
    pub(crate) fn with_context(&self, what: &str, error: io::Error) -> io::Error {
        let known = self.peer().map(SockAddr::from);
        with_peer(error, what, self.fd(), known.as_ref())
    }

    /// Returns the error of a failed receive from its errno, negative.
    #[cold]
    pub(super) fn recv_error(&self, error: i32) -> io::Error {
        let error = io::Error::from_raw_os_error(error.wrapping_neg());
        self.with_context("receive from", error)
    }

    /// Describes an operation on this stream for [`Operation::at_cursor`](crate::op::Operation::at_cursor).
    #[inline]
    pub(super) fn at_cursor(&self, writes: bool, requested: usize) -> Option<AtCursor<'_>> {
        match self.own.kind {
            StreamKind::Tcp | StreamKind::Unix => None,
            StreamKind::Pipe => Some(AtCursor {
                cursor: &self.own.cursor,
                fd: self.fd(),
                writes,
                requested,
            }),
        }
    }

    /// Whether bytes are kept, not only an error.
    pub(super) fn has_kept_bytes(&self) -> bool {
        !self.own.kept.borrow().bytes.is_empty()
    }

    /// Keeps bytes that were received but not taken: they go behind those already kept.
    pub(super) fn keep(&self, bytes: &[u8]) {
        if !bytes.is_empty() {
            self.own.kept.borrow_mut().bytes.extend(bytes);
            self.set_kept(true);
        }
    }

    /// Keeps the reason why the connection was lost, which was not reported: the errno, negative.
    pub(super) fn keep_error(&self, error: i32) {
        self.own.kept.borrow_mut().error.get_or_insert(error);
        self.set_kept(true);
    }

    /// Moves kept bytes to the start of `room`, which initializes them, and returns how many. The error comes after all
    /// bytes.
    pub(super) fn take_kept(&self, room: &mut [MaybeUninit<u8>]) -> Completion {
        let mut kept = self.own.kept.borrow_mut();
        if kept.bytes.is_empty() {
            let error = kept.error.take();
            self.set_kept(false);
            return Completion::at_once(error.unwrap_or(0));
        }
        let taken = kept.copy(room);
        kept.bytes.drain(..taken);
        if kept.bytes.is_empty() {
            kept.bytes = VecDeque::new();
            kept.passed = PassedFds::default();
            self.set_kept(kept.error.is_some());
        }
        Completion::at_once(taken as i32)
    }

    /// Copies the kept bytes without taking them, followed by what the kernel has: a caller that peeks until there is
    /// enough must get to see more than an earlier receive has left. Does not wait.
    pub(super) fn peek_kept(&self, room: &mut [MaybeUninit<u8>]) -> Completion {
        let kept = self.own.kept.borrow();
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
        let socket = SockRef::from(self.fd());
        let more = socket.recv_with_flags(&mut room[..len], libc::MSG_PEEK | libc::MSG_DONTWAIT);
        let more = more.unwrap_or_else(|error| {
            let (kind, errno) = (error.kind(), error.raw_os_error());
            if kind != io::ErrorKind::WouldBlock && kind != io::ErrorKind::Interrupted {
                // The kernel reports it once.
                self.keep_error(-errno.unwrap_or(libc::EIO));
            }
            0
        });
        Completion::at_once((copied + more) as i32)
    }

    /// Takes all kept bytes. The error comes after them.
    pub(super) fn take_all_kept(&self) -> io::Result<Vec<u8>> {
        let mut kept = self.own.kept.borrow_mut();
        let bytes = Vec::from(mem::take(&mut kept.bytes));
        kept.passed = PassedFds::default();
        let error = match bytes.is_empty() {
            true => kept.error.take(),
            false => None,
        };
        self.set_kept(kept.error.is_some());
        error.map_or(Ok(bytes), |error| Err(self.recv_error(error)))
    }

    /// Puts back bytes that were received but not delivered: they go to the front.
    pub(crate) fn give_back(&self, bytes: &[u8]) {
        if !bytes.is_empty() {
            let kept = &mut self.own.kept.borrow_mut().bytes;
            let mut behind = mem::replace(kept, VecDeque::from(bytes.to_vec()));
            kept.append(&mut behind);
            self.set_kept(true);
        }
    }

    /// Keeps the bytes of an abandoned receive. Bytes from the kernel go behind those that were given back while it was
    /// in flight.
    pub(super) fn take_back(&self, bytes: &[u8], completion: Completion) {
        match completion.came_at_once() {
            true => self.give_back(bytes),
            false => self.keep(bytes),
        }
    }

    /// Takes the descriptors that came with the kept bytes. Taking the last of those bytes without the descriptors
    /// closes them, as in the kernel.
    pub(super) fn take_passed(&self) -> PassedFds {
        mem::take(&mut self.own.kept.borrow_mut().passed)
    }

    /// Keeps descriptors that came with bytes that are given back.
    pub(super) fn keep_passed(&self, passed: PassedFds) {
        let kept = &mut self.own.kept.borrow_mut().passed;
        kept.fds.extend(passed.fds);
        kept.is_cut |= passed.is_cut;
    }
}
