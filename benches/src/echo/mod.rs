//! Echo servers. Each has its own thread and its own connections, and sends back what it receives.
//!
//! One load generator ([`client`]) drives them in turn. The benches compare the CPU time of the server's thread per
//! request, which excludes that of the generator.

pub mod client;
pub mod epoll;
pub mod gimmal_side;
pub mod ring;
pub mod tokio_side;

use std::io;
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc::channel;
use std::thread::JoinHandle;
use std::time::Duration;

/// Serves connections, with messages of this many bytes, until all have ended. Returns the number of system calls, if
/// the server counts them.
pub type Serve = fn(Vec<TcpStream>, usize) -> Option<u64>;

/// A running server.
#[derive(Debug)]
pub struct Server {
    clock: libc::clockid_t,
    thread: JoinHandle<Option<u64>>,
}

impl Server {
    /// Starts a server on its own thread, on the first CPU.
    pub fn start(serve: Serve, connections: Vec<TcpStream>, size: usize) -> Server {
        let (sender, receiver) = channel();
        let thread = std::thread::spawn(move || {
            pin(0);
            sender.send(own_clock()).expect("the bench waits for it");
            serve(connections, size)
        });
        Server {
            clock: receiver.recv().expect("a server sends its clock first"),
            thread,
        }
    }

    /// Returns the CPU time of the server's thread so far.
    pub fn cpu(&self) -> Duration {
        let mut time = libc::timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        // SAFETY: `time` is valid for writes during the call. The thread has not been joined, so its clock exists.
        let failed = unsafe { libc::clock_gettime(self.clock, &mut time) } != 0;
        assert!(!failed, "the clock of a server's thread");
        Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
    }

    /// Waits until the server has ended, which it does with its last connection.
    pub fn join(self) -> Option<u64> {
        self.thread.join().expect("a server does not panic")
    }
}

/// Opens connections over loopback, and returns the client's ends and the server's ends.
pub fn connections(count: usize) -> io::Result<(Vec<TcpStream>, Vec<TcpStream>)> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    let mut ends = (Vec::new(), Vec::new());
    for _ in 0..count {
        let client = TcpStream::connect(address)?;
        let (server, _) = listener.accept()?;
        client.set_nodelay(true)?;
        server.set_nodelay(true)?;
        ends.0.push(client);
        ends.1.push(server);
    }
    Ok(ends)
}

/// Pins this thread to one CPU, if the machine has it.
pub fn pin(cpu: usize) {
    // SAFETY: an all-zero set is valid, and both calls access it only while they run.
    unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        libc::CPU_SET(cpu, &mut set);
        libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &set);
    }
}

fn own_clock() -> libc::clockid_t {
    let mut clock = 0;
    // SAFETY: the thread is this one, and `clock` is valid for writes.
    let failed = unsafe { libc::pthread_getcpuclockid(libc::pthread_self(), &mut clock) } != 0;
    assert!(!failed, "the clock of this thread");
    clock
}
