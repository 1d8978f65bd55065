//! The server on a bare loop over the io-uring crate: every connection has a receive or a send in the ring.

use crate::ring::Ring;
use io_uring::opcode;
use io_uring::types::{Fd, Fixed};
use std::net::TcpStream;
use std::os::fd::AsRawFd;

/// `IORING_RECVSEND_POLL_FIRST`: right after a send, there is nothing to receive.
const POLL_FIRST: u16 = 1;

enum Step {
    Start,
    Receive,
    /// A send of this many bytes.
    Send(usize),
}

struct Slot {
    connection: TcpStream,
    /// Its index among the registered descriptors, if they are registered.
    registered: Option<u32>,
    buf: Vec<u8>,
    step: Step,
}

impl Slot {
    fn receive(&mut self, ioprio: u16) -> io_uring::squeue::Entry {
        self.step = Step::Receive;
        let (buf, len) = (self.buf.as_mut_ptr(), self.buf.len() as u32);
        let receive = match self.registered {
            None => opcode::Recv::new(Fd(self.connection.as_raw_fd()), buf, len),
            Some(index) => opcode::Recv::new(Fixed(index), buf, len),
        };
        receive.ioprio(ioprio).build()
    }

    fn next(&mut self, result: Option<i32>) -> Option<io_uring::squeue::Entry> {
        match self.step {
            Step::Start => Some(self.receive(0)),
            Step::Receive => {
                let n = result.filter(|n| *n > 0)?;
                self.step = Step::Send(n as usize);
                let (buf, len) = (self.buf.as_ptr(), n as u32);
                let send = match self.registered {
                    None => opcode::Send::new(Fd(self.connection.as_raw_fd()), buf, len),
                    Some(index) => opcode::Send::new(Fixed(index), buf, len),
                };
                Some(send.flags(libc::MSG_WAITALL | libc::MSG_NOSIGNAL).build())
            }
            Step::Send(n) => {
                assert_eq!(result, Some(n as i32), "a send");
                Some(self.receive(POLL_FIRST))
            }
        }
    }
}

/// Serves with plain descriptors.
pub fn serve(connections: Vec<TcpStream>, size: usize) -> Option<u64> {
    serve_with(connections, size, false)
}

/// Serves with registered descriptors.
pub fn serve_registered(connections: Vec<TcpStream>, size: usize) -> Option<u64> {
    serve_with(connections, size, true)
}

fn serve_with(connections: Vec<TcpStream>, size: usize, register: bool) -> Option<u64> {
    let mut ring = Ring::new().expect("a ring");
    if register {
        let fds: Vec<_> = connections.iter().map(AsRawFd::as_raw_fd).collect();
        ring.register_files(&fds).expect("a table of descriptors");
    }
    let mut slots: Vec<Slot> = connections
        .into_iter()
        .zip(0..)
        .map(|(connection, index)| Slot {
            connection,
            registered: register.then_some(index),
            buf: vec![0; size],
            step: Step::Start,
        })
        .collect();
    let mut enters = 0;
    let count = slots.len() as u64;
    // SAFETY: each slot has its own buffer, which nothing accesses while a request of the slot is in the ring, and
    // which is dropped after `drive` returns.
    unsafe {
        ring.drive(count, &mut enters, |slot, result| slots[slot].next(result));
    }
    Some(enters)
}
