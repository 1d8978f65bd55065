//! A program whose size is measured (`benches/size`): an echo server.

use gimmal::net::{TcpListener, TcpStream};
use std::io;

async fn echo(stream: TcpStream) -> io::Result<()> {
    let mut buffer = Vec::with_capacity(16 << 10);
    loop {
        let (n, full) = stream.read(buffer).await?;
        if n == 0 {
            return Ok(());
        }
        buffer = stream.write_all(full).await?;
    }
}

fn main() -> io::Result<()> {
    gimmal::run(async {
        let listener = TcpListener::bind("127.0.0.1:7777").await?;
        loop {
            let (stream, _) = listener.accept().await?;
            drop(gimmal::spawn(echo(stream)));
        }
    })
}
