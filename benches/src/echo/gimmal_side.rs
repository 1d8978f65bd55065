//! gimmal: a task for each connection, by reads into one buffer or in chunks that the runtime provides.

use crate::ours;
use gimmal::Runtime;
use gimmal::buf::IoBufMut;
use gimmal::net::TcpStream as Stream;
use std::net::TcpStream;

/// Serves until every connection has ended.
pub fn serve(connections: Vec<TcpStream>, size: usize) -> Option<u64> {
    serve_on(ours::runtime(), connections, size)
}

/// The same by the ring alone.
pub fn serve_by_ring(connections: Vec<TcpStream>, size: usize) -> Option<u64> {
    serve_on(ours::runtime_of_ring(), connections, size)
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
    Some(ours::system_calls(&runtime.handle()))
}

/// Sends back what it receives, until the connection ends.
pub async fn answer(stream: &Stream, size: usize) {
    let mut room = vec![0; size];
    loop {
        room = match stream.read(room).await {
            Ok((n, back)) if n > 0 => {
                let part = stream.write_all(back.slice(..n)).await.expect("send");
                part.into_inner()
            }
            _ => return,
        };
    }
}

/// The same by chunks.
pub async fn answer_chunks(stream: &Stream) {
    let mut chunks = stream.chunks();
    while let Ok(Some(chunk)) = chunks.next().await {
        stream.write_all(chunk).await.expect("send");
    }
}

/// The same in chunks: what arrives is sent back out of the buffer that the runtime has received it in.
pub fn serve_chunks(connections: Vec<TcpStream>, _size: usize) -> Option<u64> {
    let mut runtime = ours::runtime();
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
    Some(ours::system_calls(&runtime.handle()))
}
