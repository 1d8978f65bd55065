//! Echo over TCP on loopback: the CPU time of a gimmal server per request, compared with tokio, a bare ring and a bare
//! epoll loop.
//!
//! `echo [--rounds N] [--size BYTES]… [CONNECTIONS…]`

use gimmal::cancel::Scope;
use gimmal::net::{self, Listener, TcpStream as Stream};
use gimmal_benches::echo::gimmal_side::{answer, answer_chunks};
use gimmal_benches::echo::{self, Serve, Server, client::Client};
use gimmal_benches::gimmal_side;
use gimmal_benches::interleave::Quartiles;
use std::cell::RefCell;
use std::future::pending;
use std::io;
use std::net::TcpStream;
use std::process::ExitCode;
use std::time::Duration;

const ROUNDS: usize = 41;
/// How long each server is driven in a round.
const CHUNK: Duration = Duration::from_millis(20);

const SERVERS: [(&str, Serve); 9] = [
    ("gimmal", echo::gimmal_side::serve),
    ("gimmal, ring only", echo::gimmal_side::serve_ring_only),
    ("gimmal, chunks", echo::gimmal_side::serve_chunks),
    ("gimmal, serve", serve),
    ("gimmal, serve, chunks", serve_chunks),
    ("tokio", echo::tokio_side::serve),
    ("ring", echo::ring::serve),
    ("ring, registered", echo::ring::serve_registered),
    ("epoll", echo::epoll::serve),
];

/// The goals for the ratio of gimmal's time to tokio's, for messages of 64 bytes, by number of connections.
const GOALS: [(usize, f64); 3] = [(1, 1.0), (64, 0.85), (512, 0.88)];

fn main() -> io::Result<ExitCode> {
    let (mut rounds, mut sizes, mut counts) = (ROUNDS, Vec::new(), Vec::new());
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let mut number = || arguments.next().and_then(|n| n.parse().ok());
        let understood = match argument.as_str() {
            "--rounds" => number().map(|n| rounds = n),
            "--size" => number().map(|n| sizes.push(n)),
            count => count.parse().ok().map(|n| counts.push(n)),
        };
        if understood.is_none() || rounds == 0 {
            eprintln!("usage: echo [--rounds N] [--size BYTES]… [CONNECTIONS…]");
            return Ok(ExitCode::FAILURE);
        }
    }
    if sizes.is_empty() {
        sizes = vec![64, 16 << 10];
    }
    if counts.is_empty() {
        counts = GOALS.map(|(count, _)| count).to_vec();
    }
    echo::pin(1);
    println!(
        "TCP echo on loopback: CPU time of the server's thread per request. The servers take turns, {} ms each, in\n\
         {rounds} rounds. ratio: gimmal's time divided by the server's in the same round, as the median of all rounds\n\
         [quartiles]; below 1, gimmal takes less.",
        CHUNK.as_millis()
    );
    for size in sizes {
        for &count in &counts {
            compare(size, count, rounds)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

struct Side {
    name: &'static str,
    server: Server,
    client: Client,
    chunk: u64,
    requests: u64,
    ns: Vec<f64>,
}

impl Side {
    fn new(name: &'static str, serve: Serve, size: usize, count: usize) -> io::Result<Side> {
        let (client_ends, server_ends) = echo::connections(count)?;
        let server = Server::start(serve, server_ends, size);
        let mut side = Side {
            name,
            server,
            client: Client::new(client_ends, size)?,
            chunk: count as u64,
            requests: 0,
            ns: Vec::new(),
        };
        // Find the number of requests that take the time of a chunk.
        loop {
            let before = gimmal::time::Instant::now();
            side.drive()?;
            let took = before.elapsed();
            if took * 2 >= CHUNK {
                break;
            }
            side.chunk *= 2;
        }
        side.ns.clear();
        Ok(side)
    }

    fn drive(&mut self) -> io::Result<()> {
        let before = self.server.cpu();
        self.client.drive(self.chunk)?;
        let took = self.server.cpu() - before;
        self.requests += self.chunk;
        self.ns.push(took.as_nanos() as f64 / self.chunk as f64);
        Ok(())
    }
}

fn compare(size: usize, count: usize, rounds: usize) -> io::Result<()> {
    let mut sides = Vec::new();
    for (name, serve) in SERVERS {
        sides.push(Side::new(name, serve, size, count)?);
    }
    for _ in 0..rounds {
        for side in &mut sides {
            side.drive()?;
        }
    }
    println!(
        "\n{size} B, {count} connections\n{:<24} {:>8}  {:<22} {:>12}",
        "server", "ns", "ratio", "system calls"
    );
    let gimmal = sides[0].ns.clone();
    for side in sides {
        let median = Quartiles::of(side.ns.clone()).median;
        let ratio = Quartiles::of_ratios(&gimmal, &side.ns);
        let goal = match (side.name, size) {
            ("tokio", 64) => GOALS.iter().find(|(connections, _)| *connections == count),
            _ => None,
        };
        drop(side.client);
        let calls = side.server.join().map_or_else(String::new, |calls| {
            format!("{:.2}", calls as f64 / side.requests as f64)
        });
        println!(
            "{:<24} {median:>8.0}  {:<22} {calls:>12}  {}",
            side.name,
            format!("{:.3} [{:.3} {:.3}]", ratio.median, ratio.low, ratio.high),
            goal.map_or_else(String::new, |(_, goal)| format!("goal: ratio ≤ {goal}")),
        );
    }
    Ok(())
}

/// A listener for [`net::serve`] whose connections are already open.
struct OpenConnections(RefCell<Vec<TcpStream>>);

impl Listener for OpenConnections {
    type Stream = Stream;
    type Addr = &'static str;

    async fn accept(&self) -> io::Result<(Stream, &'static str)> {
        let next = self.0.borrow_mut().pop();
        match next {
            Some(connection) => Ok((Stream::from_std(connection), "loopback")),
            None => pending().await,
        }
    }

    async fn pause(&self) -> io::Result<()> {
        Ok(())
    }
}

/// Serves with `read` and `write_all`, as children of [`net::serve`].
fn serve(connections: Vec<TcpStream>, size: usize) -> Option<u64> {
    serve_with(connections, async |stream| answer(stream, size).await)
}

/// Serves with chunks, as children of [`net::serve`], as in the README.
fn serve_chunks(connections: Vec<TcpStream>, _size: usize) -> Option<u64> {
    serve_with(connections, async |stream| answer_chunks(stream).await)
}

fn serve_with(connections: Vec<TcpStream>, echo: impl AsyncFn(&Stream)) -> Option<u64> {
    let mut runtime = gimmal_side::runtime();
    runtime.block_on(async {
        let left = RefCell::new(connections.len());
        let (listener, open) = (OpenConnections(RefCell::new(connections)), Scope::new());
        let ended = open.handle();
        let served = net::serve(&listener, async |stream: Stream, _| {
            echo(&stream).await;
            *left.borrow_mut() -= 1;
            if *left.borrow() == 0 {
                ended.cancel();
            }
        });
        let until = async {
            let _canceled = open.run_any(pending::<()>()).await;
        };
        served.until(until).await.expect("accepting cannot fail");
    });
    Some(gimmal_side::system_calls(&runtime.handle()))
}
