//! The server on gimmal: one task per connection, with reads into one buffer or with chunks.

use crate::gimmal_side;
use gimmal::Runtime;
use gimmal::buf::IoBufMut;
use gimmal::net::TcpStream as Stream;
use std::net::TcpStream;

/// Serves with `read` and `write_all`.
pub fn serve(connections: Vec<TcpStream>, size: usize) -> Option<u64> {
    serve_on(gimmal_side::runtime(), connections, size)
}

/// Serves with `read` and `write_all`, without direct calls.
pub fn serve_ring_only(connections: Vec<TcpStream>, size: usize) -> Option<u64> {
    serve_on(gimmal_side::ring_only_runtime(), connections, size)
}

fn serve_on(mut runtime: Runtime, connections: Vec<TcpStream>, size: usize) -> Option<u64> {
    runtime.block_on(async {
        let tasks: Vec<_> = connections
            .into_iter()
            .map(|connection| {
                gimmal::spawn(async move { answer(&Stream::from_std(connection), size).await })
            })
            .collect();
        for task in tasks {
            task.await.expect("no task panics");
        }
    });
    Some(gimmal_side::system_calls(&runtime.handle()))
}

/// Sends back what a connection receives, until it ends.
pub async fn answer(stream: &Stream, size: usize) {
    let mut buf = vec![0; size];
    loop {
        buf = match stream.read(buf).await {
            Ok((n, back)) if n > 0 => {
                let part = stream.write_all(back.slice(..n)).await.expect("send");
                part.into_inner()
            }
            _ => return,
        };
    }
}

/// Sends back what a connection receives in chunks, until it ends.
pub async fn answer_chunks(stream: &Stream) {
    let mut chunks = stream.chunks();
    while let Ok(Some(chunk)) = chunks.next().await {
        stream.write_all(chunk).await.expect("send");
    }
}

/// Serves with `chunks`: each chunk is sent from the buffer in which the runtime received it.
pub fn serve_chunks(connections: Vec<TcpStream>, _size: usize) -> Option<u64> {
    let mut runtime = gimmal_side::runtime();
    runtime.block_on(async {
        let tasks: Vec<_> = connections
            .into_iter()
            .map(|connection| {
                gimmal::spawn(async move { answer_chunks(&Stream::from_std(connection)).await })
            })
            .collect();
        for task in tasks {
            task.await.expect("no task panics");
        }
    });
    Some(gimmal_side::system_calls(&runtime.handle()))
}
