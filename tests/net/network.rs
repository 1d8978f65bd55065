//! A network with delay and loss: two network namespaces joined by a virtual cable.
//!
//! Requires root and the tools `ip` and `tc`. `netem` adds the delay and the loss. If the kernel lacks it, a slow link
//! with a short queue (`tbf`) delays packets and drops those that do not fit. If neither is available, the test is
//! skipped.

use gimmal::net::{TcpListener, TcpStream};
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::process::Command;
use std::sync::mpsc::channel;
use std::time::Duration;

const CONNECTIONS: usize = 8;
const BYTES: usize = 256 << 10;

/// Two network namespaces, deleted on drop.
struct Cable {
    ends: [String; 2],
}

fn run(command: &str) -> Result<(), String> {
    let mut words = command.split(' ');
    let program = words.next().unwrap();
    let output = Command::new(program).args(words).output();
    let output = output.map_err(|error| format!("{program}: {error}"))?;
    match output.status.success() {
        true => Ok(()),
        false => {
            let said = String::from_utf8_lossy(&output.stderr);
            Err(format!("{command}: {}", said.trim()))
        }
    }
}

impl Cable {
    fn new() -> Result<Cable, String> {
        let own = std::process::id();
        let cable = Cable {
            ends: ["a", "b"].map(|end| format!("gimmal-{own}-{end}")),
        };
        let [a, b] = &cable.ends;
        for end in [a, b] {
            run(&format!("ip netns add {end}"))?;
            run(&format!("ip netns exec {end} ip link set lo up"))?;
        }
        run(&format!(
            "ip -n {a} link add cable type veth peer name cable netns {b}"
        ))?;
        for (end, address) in [(a, "10.77.0.1/24"), (b, "10.77.0.2/24")] {
            run(&format!("ip -n {end} addr add {address} dev cable"))?;
            run(&format!("ip -n {end} link set cable up"))?;
            let add = format!("ip netns exec {end} tc qdisc add dev cable root");
            run(&format!("{add} netem delay 3ms 2ms loss 2%")).or_else(|why| {
                run(&format!("{add} tbf rate 40mbit burst 4kb limit 12kb")).map(|()| {
                    common::skip!(
                        "no netem here ({why}): using a slow link with a short queue instead"
                    )
                })
            })?;
        }
        Ok(cable)
    }

    /// Runs a closure on a thread in one of the namespaces.
    fn inside<T: Send>(
        &self,
        end: usize,
        run: impl FnOnce() -> io::Result<T> + Send,
    ) -> io::Result<T> {
        let path = format!("/run/netns/{}", self.ends[end]);
        std::thread::scope(|threads| {
            let thread = threads.spawn(|| {
                let namespace = File::open(path)?;
                // SAFETY: no address is passed. The call changes only this thread, which exists for this.
                if unsafe { libc::setns(namespace.as_raw_fd(), libc::CLONE_NEWNET) } != 0 {
                    return Err(io::Error::last_os_error());
                }
                run()
            });
            thread.join().unwrap()
        })
    }
}

impl Drop for Cable {
    fn drop(&mut self) {
        for end in &self.ends {
            let _gone = run(&format!("ip netns del {end}"));
        }
    }
}

fn byte(at: usize) -> u8 {
    (at.wrapping_mul(0x9e37_79b9) >> 13) as u8
}

/// Reads numbered bytes until end of file, under timeouts that often expire first.
async fn read_all(stream: &TcpStream, seed: u64) -> io::Result<usize> {
    let (mut at, mut random) = (0, seed | 1);
    let mut buf = vec![0; 4096];
    loop {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        let limit = Duration::from_micros(random % 3000);
        match stream.read(buf).timeout(limit).await {
            Ok((0, _)) => return Ok(at),
            Ok((n, back)) => {
                for (place, got) in back[..n].iter().enumerate() {
                    assert_eq!(*got, byte(at + place), "byte {} of {seed}", at + place);
                }
                at += n;
                buf = back;
                buf.resize(4096, 0);
            }
            Err(error) if gimmal::is_timeout(&error) => buf = error.into_buf(),
            Err(error) => return Err(error.into()),
        }
    }
}

async fn write_all(stream: &TcpStream) -> io::Result<()> {
    let bytes: Vec<u8> = (0..BYTES).map(byte).collect();
    stream.write_all(bytes).await?;
    stream.shutdown(std::net::Shutdown::Write)
}

/// Reads and writes at once.
async fn talk(stream: TcpStream, seed: u64) -> io::Result<()> {
    let (written, read) = gimmal::join((write_all(&stream), read_all(&stream, seed))).await;
    written?;
    assert_eq!(read?, BYTES);
    Ok(())
}

#[test]
fn nothing_is_lost_and_nothing_hangs_when_packets_are_lost() {
    let cable = match Cable::new() {
        Ok(cable) => cable,
        Err(why) => return common::skip!("cannot set up two network namespaces here: {why}"),
    };
    let (tell, told) = channel();
    std::thread::scope(|threads| {
        let server = threads.spawn(|| {
            cable.inside(0, move || {
                gimmal::run(async {
                    let listener = TcpListener::bind("10.77.0.1:0").await?;
                    tell.send(listener.local_addr()?).unwrap();
                    gimmal::group(async |g| {
                        for seed in 0..CONNECTIONS {
                            let (stream, _) = listener.accept().await?;
                            drop(g.spawn(talk(stream, seed as u64)));
                        }
                        io::Result::Ok(())
                    })
                    .await?;
                    io::Result::Ok(())
                })
            })
        });
        let address = told.recv().unwrap();
        let client = cable.inside(1, move || {
            gimmal::run(async {
                gimmal::group(async |g| {
                    for seed in 0..CONNECTIONS {
                        drop(g.spawn(async move {
                            talk(TcpStream::connect(address).await?, !(seed as u64)).await
                        }));
                    }
                    io::Result::Ok(())
                })
                .await?;
                io::Result::Ok(())
            })
        });
        client.unwrap();
        server.join().unwrap().unwrap();
    });
}
