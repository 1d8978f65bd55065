//! Descriptors that go with bytes through a Unix socket (`unix(7)`, SCM_RIGHTS).

use super::rw::{BYTES_MAX, no_room};
use super::stream::{Direction, Pass, Passed};
use super::{Completion, Entry, Op, Opcode, Operation, Prepared, Stream};
use super::{was_interrupted, yields_first};
use crate::buf::{BufError, BufResult, IoBuf, IoBufMut};
use std::fmt;
use std::io;
use std::mem;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::ptr;
use std::rc::Rc;
use std::task::Waker;

/// The most descriptors that the kernel sends with one message: `SCM_MAX_FD`.
pub(super) const FDS_MAX: usize = 253;

/// A message brings a descriptor of the process that sent it, if the socket was told so (6.5).
pub(super) const SCM_PIDFD: i32 = 4;

/// What `sendmsg` and `recvmsg` are told: allocations of their own (O2), for one buffer.
struct Message {
    header: Box<libc::msghdr>,
    vector: Box<libc::iovec>,
    /// Of words, because the kernel's headers in it are aligned as these are.
    control: Box<[u64]>,
}

impl Message {
    /// One whose control data has room for so many bytes, and holds none.
    fn new(control_bytes: usize) -> Message {
        // SAFETY: a `msghdr` of zeros is one with null pointers and lengths of zero.
        let header: libc::msghdr = unsafe { mem::zeroed() };
        Message {
            header: Box::new(header),
            vector: Box::new(libc::iovec {
                iov_base: ptr::null_mut(),
                iov_len: 0,
            }),
            control: vec![0; control_bytes.div_ceil(size_of::<u64>())].into(),
        }
    }

    /// Names the buffer, and the control data with so many bytes.
    fn point_at(
        &mut self,
        start: *mut u8,
        len: usize,
        control_bytes: usize,
    ) -> *const libc::msghdr {
        assert!(control_bytes <= size_of_val(&*self.control));
        self.vector.iov_base = start.cast();
        self.vector.iov_len = len.min(BYTES_MAX);
        self.header.msg_iov = &raw mut *self.vector;
        self.header.msg_iovlen = 1;
        self.header.msg_control = self.control.as_mut_ptr().cast();
        self.header.msg_controllen = control_bytes;
        &raw const *self.header
    }

    /// Takes over the descriptors that a receive has brought.
    fn take(&mut self) -> Passed {
        let mut passed = Passed {
            fds: Vec::new(),
            is_cut: self.header.msg_flags & libc::MSG_CTRUNC != 0,
        };
        // SAFETY: the header names control data of the length that the kernel has written, or none.
        let mut at = unsafe { libc::CMSG_FIRSTHDR(&raw const *self.header) };
        while !at.is_null() {
            // SAFETY: the macros of `cmsg(3)` give headers that lie within the control data, which is aligned for them.
            let (header, data) = unsafe { (&*at, libc::CMSG_DATA(at)) };
            // SAFETY: it is arithmetic.
            let len = header.cmsg_len - unsafe { libc::CMSG_LEN(0) } as usize;
            let kind = (header.cmsg_level, header.cmsg_type);
            if let (libc::SOL_SOCKET, libc::SCM_RIGHTS | SCM_PIDFD) = kind {
                for place in 0..len / size_of::<RawFd>() {
                    // SAFETY: the data holds so many descriptors. The kernel has opened them for this receive, and each is
                    // taken once: here, after which the header names no control data any more.
                    let fd = unsafe {
                        let fd = data.cast::<RawFd>().add(place).read_unaligned();
                        OwnedFd::from_raw_fd(fd)
                    };
                    // That of the sender nobody has asked for here: it closes.
                    if header.cmsg_type == libc::SCM_RIGHTS {
                        passed.fds.push(fd);
                    }
                }
            }
            // SAFETY: as above.
            at = unsafe { libc::CMSG_NXTHDR(&raw const *self.header, at) };
        }
        self.header.msg_controllen = 0;
        self.header.msg_flags = 0;
        passed
    }
}

/// The bytes of control data with so many descriptors.
fn control_len(fds: usize) -> usize {
    // SAFETY: it is arithmetic.
    unsafe { libc::CMSG_LEN((fds * size_of::<RawFd>()) as u32) as usize }
}

/// Sends from a buffer on a Unix stream, and descriptors with the first byte: `sendmsg(2)`.
pub struct SendFds<B: IoBuf, F: AsFd + 'static> {
    pass: Pass,
    buf: B,
    /// They stay open (O5).
    fds: Vec<F>,
    message: Message,
}

impl<B: IoBuf, F: AsFd + 'static> SendFds<B, F> {
    pub(crate) fn new(stream: Rc<Stream>, buf: B, fds: Vec<F>) -> Op<SendFds<B, F>> {
        let bad = match fds.len() {
            0 => None,
            count if count > FDS_MAX => Some(format!(
                "{count} descriptors with one message: the kernel sends {FDS_MAX} at most"
            )),
            _ if buf.io_len() == 0 => {
                Some("descriptors go with bytes, and the buffer holds none".to_owned())
            }
            _ => None,
        };
        let mut message = Message::new(control_len(fds.len().min(FDS_MAX)));
        if bad.is_none() {
            fill(&mut message.control, &fds);
        }
        let send = SendFds {
            pass: Pass::new(stream, Direction::Out),
            buf,
            fds,
            message,
        };
        match bad {
            Some(what) => Op::rejected(send, io::Error::new(io::ErrorKind::InvalidInput, what)),
            None => Op::new(send),
        }
    }
}

/// Writes control data that holds these descriptors.
fn fill(control: &mut [u64], fds: &[impl AsFd]) {
    let len = control_len(fds.len());
    assert!(len <= size_of_val(control));
    let header: *mut libc::cmsghdr = control.as_mut_ptr().cast();
    // SAFETY: the control data is aligned for the header, and has room for it and for the descriptors behind it.
    unsafe {
        header.write(libc::cmsghdr {
            cmsg_len: len,
            cmsg_level: libc::SOL_SOCKET,
            cmsg_type: libc::SCM_RIGHTS,
        });
        let data = libc::CMSG_DATA(header).cast::<RawFd>();
        for (place, fd) in fds.iter().enumerate() {
            data.add(place).write_unaligned(fd.as_fd().as_raw_fd());
        }
    }
}

// SAFETY: `IoBuf` promises that its memory stays in place and unwritten while the buffer is owned by the operation. Header,
// vector and control data are boxed allocations of their own. The operation holds the stream, and that its descriptor (O5).
unsafe impl<B: IoBuf, F: AsFd + 'static> Operation for SendFds<B, F> {
    type Output = BufResult<usize, (B, Vec<F>)>;
    const NAME: &'static str = "sendmsg";

    fn prepare(&mut self, waker: &Waker) -> Prepared {
        self.pass.prepare(waker).unwrap_or(Prepared::Start)
    }

    fn entry(&mut self) -> Entry {
        let control_bytes = match self.fds.len() {
            0 => 0,
            count => control_len(count),
        };
        // The kernel only reads it.
        let start = self.buf.io_ptr().cast_mut();
        let len = self.buf.io_len();
        let header = self.message.point_at(start, len, control_bytes);
        self.pass
            .stream()
            .entry(Opcode::SENDMSG)
            .addr(header)
            .len(1)
            .op_flags(libc::MSG_NOSIGNAL as u32)
    }

    fn complete(self, completion: Completion) -> Self::Output {
        match completion.result() {
            Ok(n) => Ok((n as usize, (self.buf, self.fds))),
            Err(error) => {
                let error = self.pass.stream().explain("send to", error);
                self.fail(error)
            }
        }
    }

    fn fail(self, error: io::Error) -> Self::Output {
        Err(BufError::new(error, (self.buf, self.fds)))
    }

    fn proves_nothing_happened(&self, completion: Completion) -> bool {
        was_interrupted(completion)
    }

    /// Whether they were sent nobody will know.
    fn dispose(&mut self, _: Completion) {}
}

/// Receives from a Unix stream into a buffer, and the descriptors that came with the bytes: `recvmsg(2)`.
///
/// Dropped while the kernel has it, it hands bytes and descriptors to the stream, whose next receive gives them first.
pub struct RecvFds<B: IoBufMut> {
    pass: Pass,
    buf: B,
    /// The most descriptors that it takes.
    max: usize,
    message: Message,
    /// Of a receive that nobody waited for.
    kept: Passed,
}

impl<B: IoBufMut> RecvFds<B> {
    pub(crate) fn new(stream: Rc<Stream>, buf: B, max: usize) -> Op<RecvFds<B>> {
        let has_room = buf.io_capacity() > 0;
        let recv = RecvFds {
            pass: Pass::new(stream, Direction::In),
            buf,
            max,
            message: Message::new(RecvFds::<B>::room(max)),
            kept: Passed::default(),
        };
        match has_room {
            true => Op::new(recv),
            false => Op::rejected(recv, no_room()),
        }
    }

    /// The bytes of control data that are lent: also for the credentials of the sender, which come first if the socket was
    /// told so. That has room for a few descriptors more than were asked for; they are counted in the end.
    fn room(max: usize) -> usize {
        // SAFETY: it is arithmetic.
        let credentials = unsafe { libc::CMSG_SPACE(size_of::<libc::ucred>() as u32) };
        control_len(max.min(FDS_MAX)) + credentials as usize
    }

    /// What the completion has brought, and what was kept.
    fn take_passed(&mut self) -> Passed {
        let mut passed = mem::take(&mut self.kept);
        let more = self.message.take();
        passed.fds.extend(more.fds);
        passed.is_cut |= more.is_cut;
        passed
    }

    #[cold]
    fn take_kept(&mut self, waker: &Waker) -> Prepared {
        if yields_first(waker) {
            return Prepared::Wait;
        }
        let start = self.buf.io_mut_ptr().cast();
        // SAFETY: the capacity is writable and the operation's alone (L4, L5).
        let room = unsafe { std::slice::from_raw_parts_mut(start, self.buf.io_capacity()) };
        // Before the last byte that they came with is taken, and they are closed.
        self.kept = self.pass.stream().take_passed();
        Prepared::Done(self.pass.stream().take_kept(room, false))
    }
}

// SAFETY: `IoBufMut` promises that its memory stays in place and untouched while the buffer is owned by the operation.
// Header, vector and control data are boxed allocations of their own. The operation holds the stream, and that its
// descriptor (O5). Each descriptor that a completion brings is taken once, by `Message::take`.
unsafe impl<B: IoBufMut> Operation for RecvFds<B> {
    type Output = BufResult<(usize, Vec<OwnedFd>), B>;
    const NAME: &'static str = "recvmsg";

    fn prepare(&mut self, waker: &Waker) -> Prepared {
        if let Some(not_yet) = self.pass.prepare(waker) {
            return not_yet;
        }
        if self.pass.stream().has_kept() {
            return self.take_kept(waker);
        }
        Prepared::Start
    }

    fn entry(&mut self) -> Entry {
        let start = self.buf.io_mut_ptr();
        let len = self.buf.io_capacity();
        let room = RecvFds::<B>::room(self.max);
        let header = self.message.point_at(start, len, room);
        let stream = self.pass.stream();
        stream
            .entry(Opcode::RECVMSG)
            .addr(header)
            .len(1)
            .op_flags(libc::MSG_CMSG_CLOEXEC as u32)
            .ioprio(stream.arrival().flags())
    }

    fn complete(mut self, completion: Completion) -> Self::Output {
        let n = match completion.result() {
            Ok(n) => n as usize,
            Err(error) => {
                let error = self.pass.stream().explain("receive from", error);
                return self.fail(error);
            }
        };
        self.pass.stream().arrival().note(completion);
        let passed = self.take_passed();
        // SAFETY: the kernel, or `take_kept`, has written so many bytes from the start.
        unsafe { self.buf.set_io_len(n) };
        match passed.is_cut || passed.fds.len() > self.max {
            true => Err(BufError::new(cut(self.max), self.buf).with_done(n)),
            false => Ok(((n, passed.fds), self.buf)),
        }
    }

    fn fail(self, error: io::Error) -> Self::Output {
        Err(BufError::new(error, self.buf))
    }

    fn proves_nothing_happened(&self, completion: Completion) -> bool {
        was_interrupted(completion)
    }

    /// The next receive gives the bytes and the descriptors.
    fn dispose(&mut self, completion: Completion) {
        match completion.result() {
            Ok(n) => {
                let passed = self.take_passed();
                // SAFETY: the kernel, or `take_kept`, has written so many bytes from the start.
                let bytes = unsafe { std::slice::from_raw_parts(self.buf.io_ptr(), n as usize) };
                self.pass.stream().keep_passed(passed);
                self.pass.stream().give_back(bytes);
            }
            Err(_) if was_interrupted(completion) => {}
            Err(_) => self.pass.stream().keep_error(completion.raw()),
        }
    }
}

/// Those that came are closed.
#[cold]
fn cut(max: usize) -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidData,
        format!(
            "more descriptors came than the {max} that were asked for, or than this process may have open: \
             all of them are closed"
        ),
    )
}

impl<B: IoBuf, F: AsFd + 'static> fmt::Debug for SendFds<B, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SendFds")
            .field("stream", &self.pass.stream())
            .field("fds", &self.fds.len())
            .finish_non_exhaustive()
    }
}

impl<B: IoBufMut> fmt::Debug for RecvFds<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RecvFds")
            .field("stream", &self.pass.stream())
            .field("max", &self.max)
            .finish_non_exhaustive()
    }
}
