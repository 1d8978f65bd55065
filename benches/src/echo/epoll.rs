//! A bare epoll loop: what most servers do, without anything above it.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

/// Events that one wait brings at most.
const EVENTS: usize = 1024;

/// An epoll descriptor.
#[derive(Debug)]
pub struct Epoll {
    fd: OwnedFd,
}

impl Epoll {
    /// An empty one.
    pub fn new() -> io::Result<Epoll> {
        // SAFETY: the call has no pointers.
        let fd = unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(Epoll {
            // SAFETY: the call has just made it, and nobody else has it.
            fd: unsafe { OwnedFd::from_raw_fd(fd) },
        })
    }

    /// Tells when this can be read, by its place. Level-triggered.
    pub fn add(&self, what: &TcpStream, place: usize) -> io::Result<()> {
        let mut event = libc::epoll_event {
            events: libc::EPOLLIN as u32,
            u64: place as u64,
        };
        // SAFETY: both descriptors are open, and `event` is only read during the call.
        let failed = unsafe {
            libc::epoll_ctl(
                self.fd.as_raw_fd(),
                libc::EPOLL_CTL_ADD,
                what.as_raw_fd(),
                &mut event,
            )
        };
        if failed != 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(())
    }

    /// Waits until something can be read, and gives the places.
    pub fn wait(&self, ready: &mut Vec<usize>) -> io::Result<()> {
        let mut events = [libc::epoll_event { events: 0, u64: 0 }; EVENTS];
        // SAFETY: there is room for so many events, which the kernel writes during the call.
        let n = unsafe {
            libc::epoll_wait(self.fd.as_raw_fd(), events.as_mut_ptr(), EVENTS as i32, -1)
        };
        ready.clear();
        match usize::try_from(n) {
            Ok(n) => ready.extend(events[..n].iter().map(|event| event.u64 as usize)),
            Err(_) => {
                let error = io::Error::last_os_error();
                if error.kind() != io::ErrorKind::Interrupted {
                    return Err(error);
                }
            }
        }
        Ok(())
    }
}

/// Serves by one read and one write for each piece that arrives.
pub fn serve(connections: Vec<TcpStream>, size: usize) -> Option<u64> {
    let epoll = Epoll::new().expect("an epoll descriptor");
    for (place, connection) in connections.iter().enumerate() {
        connection.set_nonblocking(true).expect("a socket");
        epoll.add(connection, place).expect("a socket");
    }
    let mut calls = 0;
    let mut open = connections.len();
    let mut room = vec![0; size];
    let mut ready = Vec::new();
    let mut connections: Vec<Option<TcpStream>> = connections.into_iter().map(Some).collect();
    while open > 0 {
        epoll.wait(&mut ready).expect("a wait");
        calls += 1;
        for &place in &ready {
            let Some(connection) = &connections[place] else {
                continue;
            };
            let read = (&*connection).read(&mut room);
            calls += 1;
            match read {
                Ok(n) if n > 0 => {
                    let mut sent = 0;
                    while sent < n {
                        calls += 1;
                        match (&*connection).write(&room[sent..n]) {
                            Ok(n) => sent += n,
                            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                                std::thread::yield_now();
                            }
                            Err(error) => panic!("send: {error}"),
                        }
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                _ => {
                    connections[place] = None;
                    open -= 1;
                }
            }
        }
    }
    Some(calls)
}
