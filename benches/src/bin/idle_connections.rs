//! Ten thousand connections at once, from a client in another process to a gimmal server in this one: the heap memory
//! of an idle connection, and the cost of a request when all are busy.
//!
//! `idle_connections [CONNECTIONS]`

use gimmal::buf::IoBufMut;
use gimmal::net::TcpListener;
use gimmal_benches::echo::client::Client;
use gimmal_benches::gimmal_side;
use gimmal_benches::meter::{Counting, Times};
use std::cell::Cell;
use std::io::{self, BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, ExitCode, Stdio};
use std::rc::Rc;

#[global_allocator]
static HEAP: Counting = Counting;

const CONNECTIONS: usize = 10_000;
/// The size of a message, and of the buffer of a connection.
const SIZE: usize = 64;
/// The number of requests of each connection.
const REQUESTS: u64 = 20;

fn main() -> io::Result<ExitCode> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let done = match words[..] {
        [] => serve(CONNECTIONS),
        ["--client", address, count] => match (address.parse(), count.parse()) {
            (Ok(address), Ok(count)) => run_client(address, count),
            _ => return usage(),
        },
        [count] => match count.parse() {
            Ok(count) => serve(count),
            Err(_) => return usage(),
        },
        _ => return usage(),
    };
    done.map(|()| ExitCode::SUCCESS)
}

fn usage() -> io::Result<ExitCode> {
    eprintln!("usage: idle_connections [CONNECTIONS]");
    Ok(ExitCode::FAILURE)
}

/// The other process: prints a line when all connections are open, then waits for a line before it sends requests.
fn run_client(address: SocketAddr, count: usize) -> io::Result<()> {
    let streams: io::Result<Vec<TcpStream>> =
        (0..count).map(|_| TcpStream::connect(address)).collect();
    let mut client = Client::new(streams?, SIZE)?;
    println!("connected");
    let mut line = String::new();
    io::stdin().read_line(&mut line)?;
    client.drive(REQUESTS * count as u64)?;
    println!("answered");
    Ok(())
}

fn start_client(address: SocketAddr, count: usize) -> io::Result<Child> {
    Command::new(std::env::current_exe()?)
        .args(["--client", &address.to_string(), &count.to_string()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
}

fn serve(count: usize) -> io::Result<()> {
    let mut runtime = gimmal_side::runtime();
    let enters = {
        let handle = runtime.handle();
        move || gimmal_side::system_calls(&handle)
    };
    runtime.block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let mut client = start_client(listener.local_addr()?, count)?;
        let output = client.stdout.take().expect("it is piped");
        let mut output = BufReader::new(output).lines();
        let ended = Rc::new(Cell::new(0));

        Counting::start();
        let mut incoming = listener.incoming();
        let mut tasks = Vec::with_capacity(count);
        for _ in 0..count {
            let stream = incoming.next().await?;
            let ended = ended.clone();
            tasks.push(gimmal::spawn(async move {
                let mut buf = vec![0; SIZE];
                while let Ok((n, back)) = stream.read(buf).await
                    && n > 0
                {
                    let sent = stream.write_all(back.slice(..n)).await.expect("send");
                    buf = sent.into_inner();
                }
                ended.set(ended.get() + 1);
            }));
        }
        // By then, all of them wait in their first read.
        gimmal::sleep(std::time::Duration::from_millis(100)).await?;
        let bytes = Counting::stop();
        println!(
            "{count} idle connections: {} bytes of heap each, including a task, its handle and a {SIZE}-byte buffer",
            bytes / count as i64,
        );

        expect(&mut output, "connected");
        let (before, entered) = (Times::now(), enters());
        let mut input = client.stdin.take().expect("it is piped");
        input.write_all(b"go\n")?;
        for task in tasks {
            task.await?;
        }
        let took = Times::now() - before;
        expect(&mut output, "answered");
        assert!(client.wait()?.success());
        assert_eq!(ended.get(), count);
        let requests = REQUESTS * count as u64;
        println!(
            "{requests} requests of {SIZE} bytes over all: {:.0} requests/s; each: {:.0} ns of CPU time, {:.3} system calls",
            requests as f64 / took.wall.as_secs_f64(),
            took.thread.as_nanos() as f64 / requests as f64,
            (enters() - entered) as f64 / requests as f64,
        );
        Ok(())
    })
}

fn expect(lines: &mut impl Iterator<Item = io::Result<String>>, word: &str) {
    let line = lines.next().expect("a line").expect("text");
    assert_eq!(line, word, "the client printed something else");
}
