//! A time server and a client over UDP, working like NTP, in one program.
//!
//! ```text
//! cargo run --release --example udp_time                     both, on loopback
//! cargo run --release --example udp_time -- ADDRESS          a server, until Ctrl-C
//! cargo run --release --example udp_time -- --ask ADDRESS    a client
//! ```
//!
//! A request is a word and a number. The answer is the number and two times: when the kernel received the request, and
//! when the answer was sent. Together with the client's own two times, these give the round-trip time and the
//! difference between the clocks. Datagrams may be lost: after a while the client asks again, with another number.

use gimmal::net::UdpSocket;
use gimmal::prelude::*;
use gimmal::{is_timeout, signal};
use std::cell::Cell;
use std::io::{self, ErrorKind};
use std::process::ExitCode;
use std::time::{Duration, SystemTime};

const WORD: &[u8] = b"time?";
/// The timeout for an answer.
const PATIENCE: Duration = Duration::from_millis(500);
const ATTEMPTS_MAX: u64 = 5;

/// Nanoseconds since 1970.
fn nanoseconds(time: SystemTime) -> i128 {
    match time.duration_since(SystemTime::UNIX_EPOCH) {
        Ok(since) => since.as_nanos() as i128,
        Err(before) => -(before.duration().as_nanos() as i128),
    }
}

/// Answers requests until it is canceled. Returns the number of answers.
async fn serve(socket: &UdpSocket, answered: &Cell<u64>) -> io::Result<()> {
    socket.set_recv_timestamp(true)?;
    let mut buffer = Vec::with_capacity(64);
    loop {
        let (meta, request) = socket.recv_msg(buffer).await?;
        if let Some(number) = request.strip_prefix(WORD)
            && number.len() == 8
            && !meta.is_truncated()
        {
            let now = SystemTime::now();
            let received = nanoseconds(meta.timestamp.unwrap_or(now));
            let mut answer = number.to_vec();
            answer.extend(received.to_le_bytes());
            answer.extend(nanoseconds(now).to_le_bytes());
            match socket.send_to(answer, meta.from).await {
                Ok(_) => answered.set(answered.get() + 1),
                // That client is unreachable; the others are not.
                Err(error) if error.error().raw_os_error().is_none() => return Err(error.into()),
                Err(error) => eprintln!("udp_time: {error}"),
            }
        }
        buffer = request;
    }
}

/// Returns by how many nanoseconds the server's clock is ahead, and the round-trip time.
async fn ask(server: impl gimmal::net::ToAddrs, own: &str) -> io::Result<(i128, i128)> {
    let socket = UdpSocket::bind(own).await?;
    socket.connect(server).await?;
    let peer = socket.peer_addr()?;
    for number in 0..ATTEMPTS_MAX {
        let sent = SystemTime::now();
        socket.send([WORD, &number.to_le_bytes()].concat()).await?;
        match answer(&socket, number).timeout(PATIENCE).await {
            Ok((received_there, sent_there)) => {
                let (sent, received) = (nanoseconds(sent), nanoseconds(SystemTime::now()));
                let ahead = ((received_there - sent) + (sent_there - received)) / 2;
                return Ok((ahead, (received - sent) - (sent_there - received_there)));
            }
            Err(error) if is_timeout(&error) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Err(io::Error::new(
        ErrorKind::TimedOut,
        format!("{peer} has not answered {ATTEMPTS_MAX} requests"),
    ))
}

/// Waits for the answer with this number, and ignores late answers to earlier requests.
async fn answer(socket: &UdpSocket, number: u64) -> io::Result<(i128, i128)> {
    loop {
        let (n, buffer) = socket.recv(vec![0; 64]).await?;
        if let Some(times) = buffer[..n].strip_prefix(&number.to_le_bytes())
            && let (Some((received, rest)), 32) = (times.split_first_chunk(), times.len())
            && let Some(sent) = rest.first_chunk()
        {
            return Ok((i128::from_le_bytes(*received), i128::from_le_bytes(*sent)));
        }
    }
}

fn show((ahead, way): (i128, i128)) {
    let (ahead, way) = (ahead as f64 / 1e3, way as f64 / 1e3);
    println!("the clock there is {ahead:+.1} µs ahead, there and back takes {way:.1} µs");
}

async fn serve_until_ctrl_c(address: &str) -> io::Result<()> {
    let socket = UdpSocket::bind(address).await?;
    println!("serving on {}, until Ctrl-C", socket.local_addr()?);
    let answered = Cell::new(0);
    gimmal::group(async |group| {
        group.spawn(serve(&socket, &answered));
        signal::ctrl_c().await?;
        group.cancel();
        io::Result::Ok(())
    })
    .await?;
    println!("answered {}", answered.get());
    Ok(())
}

/// Runs a server and a client that knows only the server's address.
async fn show_both() -> io::Result<()> {
    let socket = UdpSocket::bind("127.0.0.1:0").await?;
    let address = socket.local_addr()?;
    println!("serving on {address}");
    let answered = Cell::new(0);
    gimmal::group(async |group| {
        group.spawn(serve(&socket, &answered));
        for _ in 0..3 {
            show(ask(address, "127.0.0.1:0").await?);
        }
        group.cancel();
        io::Result::Ok(())
    })
    .await?;
    println!("answered {}", answered.get());
    Ok(())
}

async fn run(arguments: Vec<String>) -> io::Result<ExitCode> {
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        [] => show_both().await?,
        ["--ask", server] => {
            let server = gimmal::net::lookup_host(server).await?;
            let own = if server[0].is_ipv4() {
                "0.0.0.0:0"
            } else {
                "[::]:0"
            };
            show(ask(server[0], own).await?);
        }
        [address] if !address.starts_with('-') => serve_until_ctrl_c(address).await?,
        _ => {
            eprintln!("udp_time: an ADDRESS to serve on, or --ask ADDRESS, or nothing at all");
            return Ok(ExitCode::from(2));
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn main() -> ExitCode {
    let arguments = std::env::args().skip(1).collect();
    gimmal::run(run(arguments)).unwrap_or_else(|error: io::Error| {
        eprintln!("udp_time: {error}");
        match error.kind() {
            // The argument is not an address.
            ErrorKind::InvalidInput => ExitCode::from(2),
            _ => ExitCode::FAILURE,
        }
    })
}
