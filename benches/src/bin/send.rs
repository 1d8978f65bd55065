//! Sending over TCP on loopback: `write_zero_copy` compared with `write_all`, which copies.
//!
//! `send [--pairs N]`

use gimmal::buf::IoBufMut;
use gimmal::net::{TcpListener, TcpStream};
use gimmal_benches::gimmal_side;
use gimmal_benches::interleave::{self, Effort, Quartiles, Work};
use gimmal_benches::meter::{thread, wall};
use std::io;
use std::process::ExitCode;
use std::rc::Rc;
use std::time::Duration;

const PAIRS: usize = 31;
const CHUNK: Duration = Duration::from_millis(10);
const SIZES: [usize; 5] = [64, 4 << 10, 16 << 10, 64 << 10, 1 << 20];

struct Fixtures {
    gimmal: gimmal::Runtime,
    sender: Rc<TcpStream>,
    receiver: Rc<TcpStream>,
}

impl Fixtures {
    fn new() -> io::Result<Fixtures> {
        let mut gimmal = gimmal_side::runtime();
        let (sender, receiver) = gimmal.block_on(async {
            let listener = TcpListener::bind("127.0.0.1:0").await?;
            let sender = TcpStream::connect(listener.local_addr()?).await?;
            let (receiver, _) = listener.accept().await?;
            sender.set_nodelay(true)?;
            io::Result::Ok((Rc::new(sender), Rc::new(receiver)))
        })?;
        Ok(Fixtures {
            gimmal,
            sender,
            receiver,
        })
    }

    /// Sends `ops` messages of `size` bytes, while another task receives them.
    fn send(&mut self, size: usize, zero_copy: bool, ops: u64) {
        let (sender, receiver) = (self.sender.clone(), self.receiver.clone());
        self.gimmal.block_on(async {
            let receiving = gimmal::spawn(async move {
                let mut buf = vec![0; size.max(64 << 10)];
                let mut left = size as u64 * ops;
                while left > 0 {
                    let (n, back) = receiver.read(buf).await.expect("bytes");
                    left -= n as u64;
                    buf = back;
                }
            });
            let mut message = vec![7u8; size];
            for _ in 0..ops {
                message = match zero_copy {
                    false => sender.write_all(message).await.expect("a write"),
                    true => {
                        let mut done = 0;
                        while done < size {
                            let part = message.slice(done..);
                            let (n, part) = sender.write_zero_copy(part).await.expect("a write");
                            done += n;
                            message = part.into_inner();
                        }
                        message
                    }
                };
            }
            receiving.await.expect("no task panics");
        });
    }
}

fn main() -> io::Result<ExitCode> {
    let mut arguments = std::env::args().skip(1);
    let rounds = match (arguments.next().as_deref(), arguments.next()) {
        (None, None) => Some(PAIRS),
        (Some("--pairs"), Some(n)) => n.parse().ok().filter(|n| *n > 0),
        _ => None,
    };
    let Some(rounds) = rounds else {
        eprintln!("usage: send [--pairs N]");
        return Ok(ExitCode::FAILURE);
    };
    let mut fixtures = Fixtures::new()?;
    println!(
        "{:>11}  {:>24} {:<15}  {:<21}  {:>9} {:>9}",
        "message", "wall", "[quartiles]", "CPU of the thread", "zero copy", "copy, ns"
    );
    for size in SIZES {
        let mut works: [Work<Fixtures>; 2] = [
            Box::new(move |s: &mut Fixtures, n| s.send(size, true, n)),
            Box::new(move |s: &mut Fixtures, n| s.send(size, false, n)),
        ];
        let effort = Effort {
            rounds,
            chunk: CHUNK,
        };
        let samples = interleave::take_turns(&mut fixtures, &mut works, effort);
        let (a, b) = (samples[0].ns(wall), samples[1].ns(wall));
        let by_wall = Quartiles::of_ratios(&a, &b);
        let by_cpu = Quartiles::of_ratios(&samples[0].ns(thread), &samples[1].ns(thread));
        println!(
            "{size:>9} B  {:>24.3} [{:.3} {:.3}]  {:.3} [{:.3} {:.3}]  {:>9.0} {:>9.0}",
            by_wall.median,
            by_wall.low,
            by_wall.high,
            by_cpu.median,
            by_cpu.low,
            by_cpu.high,
            Quartiles::of(a).median,
            Quartiles::of(b).median,
        );
    }
    Ok(ExitCode::SUCCESS)
}
