//! An echo server: it sends back what a client sends, until the client closes its side. Ctrl-C shuts the server down in
//! order.
//!
//! ```text
//! cargo run --release --example echo -- [ADDRESS]
//! ```
//!
//! Try it with `nc 127.0.0.1 7777`. After Ctrl-C nothing more is accepted, and the connections have two seconds to
//! finish; then they are canceled. Without an address it demonstrates itself: server and clients in one process, on
//! loopback.

use gimmal::net::{self, Served, TcpListener, TcpStream};
use std::io;
use std::net::Shutdown;
use std::process::ExitCode;
use std::time::Duration;

/// How long connections may take to finish.
const DRAIN: Duration = Duration::from_secs(2);

const CONNECTIONS_MAX: usize = 10_000;

/// The size of one read.
const BUFFER: usize = 16 << 10;

const CLIENTS: usize = 4;

/// Far more than the sockets can buffer: a client that only writes and never reads would block forever.
const MESSAGE: usize = 20 << 20;

async fn echo(stream: TcpStream) -> io::Result<()> {
    let mut buffer = Vec::with_capacity(BUFFER);
    loop {
        let (n, full) = stream.read(buffer).await?;
        if n == 0 {
            return Ok(());
        }
        buffer = stream.write_all(full).await?;
    }
}

/// Serves until `stop` is ready.
async fn serve(
    listener: TcpListener,
    stop: impl Future<Output = io::Result<()>>,
) -> io::Result<Served> {
    println!("listening on {}", listener.local_addr()?);
    net::serve(&listener, async |stream, _peer| echo(stream).await)
        .until(stop)
        .drain(DRAIN)
        .limit(CONNECTIONS_MAX)
        .await
}

async fn until_interrupted() -> io::Result<()> {
    gimmal::signal::ctrl_c().await?;
    println!("stopping");
    Ok(())
}

/// Sends a long message and reads at the same time: the message comes back unchanged.
async fn client(number: usize, listener: std::net::SocketAddr) -> io::Result<usize> {
    let stream = TcpStream::connect(listener).await?;
    let message: Vec<u8> = (0..MESSAGE).map(|at| (at * 7 + number) as u8).collect();
    let send = async {
        let sent = stream.write_all(message).await?;
        stream.shutdown(Shutdown::Write)?;
        io::Result::Ok(sent)
    };
    let receive = async {
        let (_, received) = stream.read_to_end(Vec::new()).await?;
        io::Result::Ok(received)
    };
    let (sent, received) = gimmal::try_join((send, receive)).await?;
    if sent != received {
        return Err(io::Error::other("what came back is not what was sent"));
    }
    Ok(received.len())
}

/// Runs a few clients at once.
async fn clients(listener: std::net::SocketAddr) -> io::Result<()> {
    let echoed = gimmal::map(0..CLIENTS, CLIENTS, async |number| {
        client(number, listener).await
    })
    .await?;
    for (number, bytes) in echoed.into_iter().enumerate() {
        println!("client {number}: {bytes} bytes came back as they were sent");
    }
    Ok(())
}

async fn run(address: Option<String>) -> io::Result<()> {
    let served = match address {
        Some(address) => serve(TcpListener::bind(address).await?, until_interrupted()).await?,
        None => {
            let listener = TcpListener::bind("127.0.0.1:0").await?;
            let stop = clients(listener.local_addr()?);
            serve(listener, stop).await?
        }
    };
    println!(
        "served {} connections: {} failed, {} were cut short",
        served.accepted, served.failed, served.cut_short
    );
    Ok(())
}

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let address = arguments.next();
    if arguments.next().is_some() {
        eprintln!("echo: an ADDRESS to listen on, or nothing at all");
        return ExitCode::from(2);
    }
    match gimmal::run(run(address)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("echo: {error}");
            ExitCode::FAILURE
        }
    }
}
