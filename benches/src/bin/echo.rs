//! Echo over TCP on loopback: what a request costs a server of gimmal, beside tokio, a bare ring and a bare epoll loop.
//!
//! `echo [--rounds N] [--size BYTES]… [CONNECTIONS…]`

use gimmal::cancel::Scope;
use gimmal::net::{self, Listener, TcpStream as Stream};
use gimmal_benches::echo::ours::{answer, answer_chunks};
use gimmal_benches::echo::{self, Serve, Server, client::Client};
use gimmal_benches::ours;
use gimmal_benches::pairs::Quartiles;
use std::cell::RefCell;
use std::future::pending;
use std::io;
use std::net::TcpStream;
use std::process::ExitCode;
use std::time::Duration;

const ROUNDS: usize = 41;
/// What one server is driven for in a round.
const CHUNK: Duration = Duration::from_millis(20);

const SERVERS: [(&str, Serve); 9] = [
    ("gimmal", echo::ours::serve),
    ("by its ring", echo::ours::serve_by_ring),
    ("chunks", echo::ours::serve_chunks),
    ("served", served),
    ("served chunks", served_chunks),
    ("tokio", echo::peer::serve),
    ("ring", echo::ring::serve),
    ("ring, registered", echo::ring::serve_registered),
    ("epoll", echo::epoll::serve),
];

/// The goal for gimmal's time beside tokio's, for messages of 64 bytes.
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
        "processor's time of the server's thread a request: the median, and ratios round by round with quartiles"
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
        let (ours, theirs) = echo::connections(count)?;
        let server = Server::start(serve, theirs, size);
        let mut side = Side {
            name,
            server,
            client: Client::new(ours, size)?,
            chunk: count as u64,
            requests: 0,
            ns: Vec::new(),
        };
        // As many requests as fill a chunk.
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
    println!("{size} B, {count} connections");
    let ours = sides[0].ns.clone();
    for side in sides {
        let median = Quartiles::of(side.ns.clone()).median;
        let ratio = Quartiles::of_ratios(&ours, &side.ns);
        let goal = match (side.name, size) {
            ("tokio", 64) => GOALS.iter().find(|(connections, _)| *connections == count),
            _ => None,
        };
        drop(side.client);
        let calls = side.server.join().map_or_else(String::new, |calls| {
            let each = calls as f64 / side.requests as f64;
            format!("{each:.2} system calls a request")
        });
        println!(
            "  {:<16} {median:>8.0} ns   gimmal / {:<16} {:.3} [{:.3} {:.3}]  {}  {calls}",
            side.name,
            side.name,
            ratio.median,
            ratio.low,
            ratio.high,
            goal.map_or_else(String::new, |(_, goal)| format!("(at most {goal})")),
        );
    }
    Ok(())
}

/// Connections that are there already, for [`net::serve`].
struct There(RefCell<Vec<TcpStream>>);

impl Listener for There {
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

/// Children of [`net::serve`], by reads.
fn served(connections: Vec<TcpStream>, size: usize) -> Option<u64> {
    serve_by(connections, async |stream| answer(stream, size).await)
}

/// Children of [`net::serve`], in chunks, as the README has it.
fn served_chunks(connections: Vec<TcpStream>, _size: usize) -> Option<u64> {
    serve_by(connections, async |stream| answer_chunks(stream).await)
}

fn serve_by(connections: Vec<TcpStream>, echo: impl AsyncFn(&Stream)) -> Option<u64> {
    let mut runtime = ours::runtime();
    runtime.block_on(async {
        let left = RefCell::new(connections.len());
        let (listener, open) = (There(RefCell::new(connections)), Scope::new());
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
        served.until(until).await.expect("a listener of the bench");
    });
    Some(ours::system_calls(&runtime.handle()))
}
