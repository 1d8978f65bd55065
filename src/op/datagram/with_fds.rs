//! A send that passes descriptors on (`unix(7)`, SCM_RIGHTS).

use crate::buf::BufResult;
use crate::op::operation::{debug_fields, forward_operation};
use crate::op::{Completion, Operation};
use std::io;
use std::os::fd::AsFd;

/// A send of bytes together with the descriptors in its ancillary data.
pub struct WithFds<O, F> {
    pub(in crate::op) send: O,
    /// Kept open until the kernel has taken them over (O5).
    pub(in crate::op) fds: Vec<F>,
}

// SAFETY: everything is forwarded to the send, which keeps the promises; the descriptors stay open while it is there.
unsafe impl<O, B, F> Operation for WithFds<O, F>
where
    O: Operation<Output = BufResult<usize, B>>,
    F: AsFd + 'static,
{
    type Output = BufResult<usize, (B, Vec<F>)>;
    const NAME: &'static str = "sendmsg";
    forward_operation!(send);

    fn complete(self, completion: Completion) -> Self::Output {
        with_fds(self.send.complete(completion), self.fds)
    }

    fn fail(self, error: io::Error) -> Self::Output {
        with_fds(self.send.fail(error), self.fds)
    }
}

fn with_fds<B, F>(sent: BufResult<usize, B>, fds: Vec<F>) -> BufResult<usize, (B, Vec<F>)> {
    match sent {
        Ok((n, buf)) => Ok((n, (buf, fds))),
        Err(error) => Err(error.map_buf(|buf| (buf, fds))),
    }
}

debug_fields!([O: std::fmt::Debug, F] WithFds<O, F> { send });
