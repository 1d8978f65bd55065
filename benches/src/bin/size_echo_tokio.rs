//! A program whose size is measured (`benches/size`): an echo server, with tokio.

use std::io;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

async fn echo(mut stream: TcpStream) -> io::Result<()> {
    let mut buffer = vec![0; 16 << 10];
    loop {
        let n = stream.read(&mut buffer).await?;
        if n == 0 {
            return Ok(());
        }
        stream.write_all(&buffer[..n]).await?;
    }
}

fn main() -> io::Result<()> {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    builder.enable_all().build()?.block_on(async {
        let listener = TcpListener::bind("127.0.0.1:7777").await?;
        loop {
            let (stream, _) = listener.accept().await?;
            drop(tokio::spawn(echo(stream)));
        }
    })
}
