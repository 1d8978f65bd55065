//! Moving bytes through a pipe without copying them to user space: `splice(2)`.

use super::shared::StreamPermit;
use crate::buf::BYTES_MAX;
use crate::op::fd::Lane;
use crate::op::operation::operation;
use crate::op::{
    Completion, Entry, Op, Opcode, Operation, Readiness, SharedFd, Stream, StreamKind,
};
use std::fmt;
use std::io;
use std::os::fd::AsRawFd;
use std::ptr;
use std::rc::Rc;
use std::task::Waker;

/// A destination for spliced bytes.
#[derive(Clone, Debug)]
pub struct Outlet(Destination);

#[derive(Clone, Debug)]
enum Destination {
    /// At its cursor, if it has one.
    File(SharedFd),
    Stream(Rc<Stream>),
}

impl Outlet {
    pub(crate) fn of_file(fd: &SharedFd) -> Outlet {
        Outlet(Destination::File(fd.clone()))
    }

    pub(crate) fn of_stream(stream: &Rc<Stream>) -> Outlet {
        Outlet(Destination::Stream(stream.clone()))
    }

    /// Returns the destination's capacity, if it is itself a pipe.
    pub(crate) fn pipe_capacity(&self) -> Option<usize> {
        match &self.0 {
            Destination::Stream(stream) if stream.kind() == StreamKind::Pipe => {
                stream.fd().descriptor().pipe_capacity().ok()
            }
            _ => None,
        }
    }
}

/// Moves bytes between a pipe and another descriptor. A kernel worker executes it.
#[derive(Debug)]
pub(crate) struct Splice {
    from: SharedFd,
    to: SharedFd,
    len: usize,
    /// The right to send on the destination, if it is a stream.
    permit: Option<StreamPermit>,
    /// A value that is kept alive until the kernel is done.
    _held: Rc<dyn fmt::Debug>,
    /// The destination is a pipe that belongs to the caller alone: bytes in it have gone nowhere if the operation is no
    /// longer awaited.
    is_pipe_private: bool,
}

impl Splice {
    /// Splices from a file at its cursor, or from a pipe. `held` is kept until the kernel is done: a worker keeps the
    /// pipe locked while it waits for the other side, and closing an end of the pipe in that time waits for the lock,
    /// blocking the whole thread (seen on 6.18).
    pub(crate) fn new(
        from: &SharedFd,
        to: &Outlet,
        len: usize,
        held: Rc<dyn fmt::Debug>,
        is_pipe_private: bool,
    ) -> Op<Splice> {
        let (to, permit) = match &to.0 {
            Destination::File(fd) => (fd, None),
            Destination::Stream(stream) => {
                let permit = StreamPermit::new(stream.clone(), Lane::Out);
                (stream.fd(), Some(permit))
            }
        };
        Op::new(Splice {
            from: from.clone(),
            to: to.clone(),
            len,
            permit,
            _held: held,
            is_pipe_private,
        })
    }
}

// SAFETY: the entry has no address of memory. The operation holds both descriptors (O5), and a splice completes once.
unsafe impl Operation for Splice {
    operation!("splice" -> io::Result<usize>);
    const EINTR_HAD_NO_EFFECT: bool = true;

    #[inline]
    fn waits_for_peer(&self) -> bool {
        true
    }

    fn prepare(&mut self, waker: &Waker) -> Readiness {
        let permit = self.permit.as_mut();
        let not_yet = permit.and_then(|permit| permit.prepare(waker));
        not_yet.unwrap_or(Readiness::Start)
    }

    fn entry(&mut self) -> Entry {
        // The offset to read at goes in the address field. Minus one, in both places, means the cursor.
        self.to
            .entry(Opcode::SPLICE)
            .splice_from(self.from.as_raw_fd())
            .addr(ptr::without_provenance::<u8>(usize::MAX))
            .offset(u64::MAX)
            .len(self.len.min(BYTES_MAX) as u32)
    }

    fn complete(self, completion: Completion) -> io::Result<usize> {
        let moved = completion.result().map(|n| n as usize);
        moved.map_err(|error| match &self.permit {
            Some(permit) => permit.shared().with_context("send to", error),
            None => error,
        })
    }

    /// What an abandoned splice has delivered is unknown. Bytes left in a pipe that is gone can be read again: the
    /// cursor is moved back.
    fn dispose(&mut self, completion: Completion) {
        if let (Ok(n), true) = (completion.result(), self.is_pipe_private) {
            let _ = self.from.descriptor().move_back(n as usize);
        }
    }
}
