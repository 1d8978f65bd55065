//! Sending over TCP on loopback: by `write_all`, which copies, and by `write_zero_copy`, in interleaved chunks.
//!
//! `send [--pairs N]`

use gimmal::buf::IoBufMut;
use gimmal::net::{TcpListener, TcpStream};
use gimmal_benches::meter::{thread, wall};
use gimmal_benches::ours;
use gimmal_benches::pairs::{self, Effort, Quartiles, Work};
use std::io;
use std::process::ExitCode;
use std::rc::Rc;
use std::time::Duration;

const PAIRS: usize = 31;
const CHUNK: Duration = Duration::from_millis(10);
const SIZES: [usize; 5] = [64, 4 << 10, 16 << 10, 64 << 10, 1 << 20];

struct Stand {
    ours: gimmal::Runtime,
    sender: Rc<TcpStream>,
    receiver: Rc<TcpStream>,
}

impl Stand {
    fn new() -> io::Result<Stand> {
        let mut ours = ours::runtime();
        let (sender, receiver) = ours.block_on(async {
            let listener = TcpListener::bind("127.0.0.1:0").await?;
            let sender = TcpStream::connect(listener.local_addr()?).await?;
            let (receiver, _) = listener.accept().await?;
            sender.set_nodelay(true)?;
            io::Result::Ok((Rc::new(sender), Rc::new(receiver)))
        })?;
        Ok(Stand {
            ours,
            sender,
            receiver,
        })
    }

    /// Sends so many messages of that size, while another task receives them.
    fn send(&mut self, size: usize, zero_copy: bool, ops: u64) {
        let (sender, receiver) = (self.sender.clone(), self.receiver.clone());
        self.ours.block_on(async {
            let receiving = gimmal::spawn(async move {
                let mut room = vec![0; size.max(64 << 10)];
                let mut left = size as u64 * ops;
                while left > 0 {
                    let (n, back) = receiver.read(room).await.expect("bytes");
                    left -= n as u64;
                    room = back;
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
            receiving.await.expect("it does not panic");
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
    let mut stand = Stand::new()?;
    println!("zero copy / copied, a message:    wall              CPU of the thread       ns, ns");
    for size in SIZES {
        let mut works: [Work<Stand>; 2] = [
            Box::new(move |s: &mut Stand, n| s.send(size, true, n)),
            Box::new(move |s: &mut Stand, n| s.send(size, false, n)),
        ];
        let effort = Effort {
            rounds,
            chunk: CHUNK,
        };
        let samples = pairs::take_turns(&mut stand, &mut works, effort);
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
