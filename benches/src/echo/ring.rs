//! A bare loop over the io-uring crate: a receive or a send of every connection is in the ring.

use crate::ring::Ring;
use io_uring::opcode;
use io_uring::types::{Fd, Fixed};
use std::net::TcpStream;
use std::os::fd::AsRawFd;

/// `IORING_RECVSEND_POLL_FIRST`: after a send there is nothing to receive as yet.
const POLL_FIRST: u16 = 1;

enum Step {
    Begun,
    Receives,
    /// So many bytes are to be sent.
    Sends(usize),
}

struct Slot {
    connection: TcpStream,
    /// Its place among the registered descriptors, if they are.
    registered: Option<u32>,
    room: Vec<u8>,
    step: Step,
}

impl Slot {
    fn receive(&mut self, ioprio: u16) -> io_uring::squeue::Entry {
        self.step = Step::Receives;
        let (room, len) = (self.room.as_mut_ptr(), self.room.len() as u32);
        let receive = match self.registered {
            None => opcode::Recv::new(Fd(self.connection.as_raw_fd()), room, len),
            Some(place) => opcode::Recv::new(Fixed(place), room, len),
        };
        receive.ioprio(ioprio).build()
    }

    fn next(&mut self, result: Option<i32>) -> Option<io_uring::squeue::Entry> {
        match self.step {
            Step::Begun => Some(self.receive(0)),
            Step::Receives => {
                let n = result.filter(|n| *n > 0)?;
                self.step = Step::Sends(n as usize);
                let (room, len) = (self.room.as_ptr(), n as u32);
                let send = match self.registered {
                    None => opcode::Send::new(Fd(self.connection.as_raw_fd()), room, len),
                    Some(place) => opcode::Send::new(Fixed(place), room, len),
                };
                Some(send.flags(libc::MSG_WAITALL | libc::MSG_NOSIGNAL).build())
            }
            Step::Sends(n) => {
                assert_eq!(result, Some(n as i32), "a send");
                Some(self.receive(POLL_FIRST))
            }
        }
    }
}

/// Serves until every connection has ended.
pub fn serve(connections: Vec<TcpStream>, size: usize) -> Option<u64> {
    serve_by(connections, size, false)
}

/// The same with the descriptors registered in the ring.
pub fn serve_registered(connections: Vec<TcpStream>, size: usize) -> Option<u64> {
    serve_by(connections, size, true)
}

fn serve_by(connections: Vec<TcpStream>, size: usize, register: bool) -> Option<u64> {
    let mut ring = Ring::new().expect("a ring");
    if register {
        let fds: Vec<_> = connections.iter().map(AsRawFd::as_raw_fd).collect();
        ring.register_files(&fds).expect("places for descriptors");
    }
    let mut slots: Vec<Slot> = connections
        .into_iter()
        .zip(0..)
        .map(|(connection, place)| Slot {
            connection,
            registered: register.then_some(place),
            room: vec![0; size],
            step: Step::Begun,
        })
        .collect();
    let mut enters = 0;
    let count = slots.len() as u64;
    // SAFETY: each slot has a buffer of its own, which nobody looks at while a request of it is in the ring, and which goes
    // after `drive` has come back.
    unsafe {
        ring.drive(count, &mut enters, |slot, result| slots[slot].next(result));
    }
    Some(enters)
}
