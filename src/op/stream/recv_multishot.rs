//! Receiving a sequence of pieces into the runtime's provided buffers.

use super::shared::StreamPermit;
use crate::op::operation::{debug_fields, operation};
use crate::op::{Chunk, Collect, Completion, Entry, Opcode, Operation, SharedFd, StreamKind};
use crate::runtime::{self, BUFFER_GROUP, READ_AHEAD_MAX};
use crate::sys::{BufRing, ProvidedBuf};
use std::io;
use std::sync::Arc;

/// `IORING_RECV_MULTISHOT` (6.0).
const MULTISHOT: u16 = 2;

/// The number of untaken chunks at which the receive is stopped: a peer may send a few bytes at a time, and each chunk
/// holds a buffer. The kernel may deliver some more in the same turn. For bulk data from another thread, 16, 32 and 64
/// cost the same (measured on 6.18).
const COLLECT_MAX: u32 = 16;

/// The content of one completion. There may be a buffer whatever the result is (O4).
#[derive(Debug)]
pub(in crate::op) struct Received {
    pub(super) chunk: Option<Chunk>,
    pub(super) status: RecvStatus,
}

/// The result of one completion.
#[derive(Debug)]
pub(super) enum RecvStatus {
    Bytes,
    /// The peer has ended its side.
    End,
    /// The receive ended before the stream: it had collected enough, or the kernel let other work run.
    Stopped,
    /// There was no free buffer.
    NoBuffer,
    /// The errno, negative.
    Failed(i32),
}

/// Receives from a stream into provided buffers: as many bytes as may be read ahead, if the kernel supports such a
/// limit; otherwise once.
pub(in crate::op) struct RecvMultishot {
    permit: StreamPermit,
    buffers: Arc<BufRing>,
    /// It may deliver several chunks.
    is_many: bool,
}

impl RecvMultishot {
    /// Creates a receive that holds the right to receive.
    pub(in crate::op) fn new(permit: StreamPermit, buffers: Arc<BufRing>) -> RecvMultishot {
        RecvMultishot {
            permit,
            buffers,
            is_many: false,
        }
    }

    /// Releases the right to receive: the receive has ended.
    pub(super) fn into_permit(self) -> StreamPermit {
        self.permit
    }
}

// SAFETY: the entry lends no memory of its own; the memory that the kernel takes its buffers from is there for as long
// as the operation holds the ring of them. It holds the stream, which holds its descriptor (O5). Every buffer that a
// completion names is taken by `collect`, once.
unsafe impl Operation for RecvMultishot {
    operation!("recv_chunks" -> io::Result<Received>);
    const EINTR_HAD_NO_EFFECT: bool = true;

    #[inline]
    fn waits_for_peer(&self) -> bool {
        true
    }

    fn shared_fd(&self) -> Option<&SharedFd> {
        Some(self.permit.shared().fd())
    }

    fn entry(&mut self) -> Entry {
        let stream = self.permit.shared();
        let (size, bounds) =
            runtime::with(|core| (core.provided.receive_size() as u32, core.bounds_receives()));
        // On a Unix socket, one receive at a time: where data and a hang-up arrive together, a multishot receive
        // returns the data, and then waits for an event that has already passed (seen on 6.18).
        self.is_many = bounds && stream.kind() == StreamKind::Tcp;
        let flags = stream.recv_hint().flags();
        let entry = stream.entry(Opcode::RECV).len(size);
        match self.is_many {
            true => entry
                .ioprio(MULTISHOT | flags)
                .at_most(READ_AHEAD_MAX as u32),
            false => entry.ioprio(flags),
        }
        .buffer_of(BUFFER_GROUP)
    }

    fn complete(mut self, completion: Completion) -> Self::Output {
        Ok(self.collect(completion))
    }

    /// The next read returns the bytes.
    fn dispose(&mut self, completion: Completion) {
        let Received { chunk, status } = self.collect(completion);
        let stream = self.permit.shared();
        if let Some(chunk) = chunk {
            stream.keep(&chunk);
        }
        // The kernel reports the other results again.
        if let RecvStatus::Failed(error) = status {
            stream.keep_error(error);
        }
    }
}

// SAFETY: it takes the buffer that the completion names.
unsafe impl Collect for RecvMultishot {
    type Item = Received;

    /// Keeps the lock: data from before its end may still be unread, and no other read may come between.
    const IS_REUSED: bool = true;

    fn max(&self) -> u32 {
        COLLECT_MAX
    }

    fn collect(&mut self, completion: Completion) -> Received {
        // The buffer first, whatever the result (O4).
        let taken = usize::try_from(completion.raw()).unwrap_or(0);
        let chunk = completion.buffer().map(|id| {
            // SAFETY: the request takes its buffers from this ring, and each of its completions comes here once,
            // whether it is waited for or not. The result is the number of bytes that the kernel has written from the
            // start.
            Chunk::lent(unsafe { ProvidedBuf::from_completion(&self.buffers, id, taken) })
        });
        let stream = self.permit.shared();
        let status = match completion.result() {
            Ok(0) => RecvStatus::End,
            Ok(_) => {
                assert!(chunk.is_some(), "what was received is in a buffer");
                stream.recv_hint().note(completion);
                RecvStatus::Bytes
            }
            Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => RecvStatus::NoBuffer,
            Err(_) if completion.was_interrupted() => RecvStatus::Stopped,
            Err(error) if self.is_many && error.raw_os_error() == Some(libc::EINVAL) => {
                runtime::try_with(|core| core.provided.note_unbounded());
                RecvStatus::Stopped
            }
            Err(_) => RecvStatus::Failed(completion.raw()),
        };
        Received { chunk, status }
    }
}

debug_fields!(RecvMultishot { permit, is_many });

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::{TcpListener, TcpStream};
    use crate::op::fd::Lane;
    use crate::op::{SharedFd, Stream};
    use crate::runtime::Core;
    use std::os::fd::AsFd;

    /// Simulates Linux 6.16, which has every opcode that implies the limit, but not the limit.
    #[test]
    fn a_kernel_that_rejects_the_bound_receives_one_chunk_at_a_time() {
        let ran: io::Result<()> = crate::run(async {
            let listener = TcpListener::bind("127.0.0.1:0").await?;
            let client = TcpStream::connect(listener.local_addr()?).await?;
            let (server, _) = listener.accept().await?;
            let bounds = || runtime::with(Core::bounds_receives);
            if bounds() {
                let fd = SharedFd::from(client.as_fd().try_clone_to_owned()?);
                let stream = Stream::new(fd, StreamKind::Tcp);
                let buffers = runtime::with(Core::receive_buffers);
                let (permit, buffers) = (
                    StreamPermit::new(stream, Lane::In),
                    buffers.expect("provided buffers on 6.17"),
                );
                let mut receive = RecvMultishot::new(permit, buffers);
                let _entry = receive.entry();
                let refused = receive.collect(Completion::new(-libc::EINVAL, 0));
                assert!(matches!(refused.status, RecvStatus::Stopped) && !bounds());
                // An unbounded receive fails for the caller.
                let _entry = receive.entry();
                let refused = receive.collect(Completion::new(-libc::EINVAL, 0));
                assert!(matches!(refused.status, RecvStatus::Failed(_)));
            }
            client.write_all("goes on").await?;
            let chunk = server.chunks().next().await?;
            assert_eq!(chunk.as_deref(), Some(&b"goes on"[..]));
            Ok(())
        });
        ran.expect("a connection on loopback");
    }
}
