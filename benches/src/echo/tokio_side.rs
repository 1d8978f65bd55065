//! The server on tokio's single-threaded runtime: one task per connection.

use std::net::TcpStream;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// Serves with `read` and `write_all`.
pub fn serve(connections: Vec<TcpStream>, size: usize) -> Option<u64> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        let tasks: Vec<_> = connections
            .into_iter()
            .map(|connection| {
                connection.set_nonblocking(true).expect("a socket");
                let mut stream = tokio::net::TcpStream::from_std(connection).expect("a socket");
                tokio::spawn(async move {
                    let mut buf = vec![0; size];
                    while let Ok(n) = stream.read(&mut buf).await
                        && n > 0
                    {
                        stream.write_all(&buf[..n]).await.expect("send");
                    }
                })
            })
            .collect();
        for task in tasks {
            task.await.expect("no task panics");
        }
    });
    None
}
