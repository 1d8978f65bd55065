//! The load generator: an epoll loop that keeps one request per connection in flight.

use super::epoll::Epoll;
use std::io::{self, Read, Write};
use std::net::TcpStream;

/// The client's ends of the connections.
#[derive(Debug)]
pub struct Client {
    epoll: Epoll,
    connections: Vec<(TcpStream, usize)>,
    message: Vec<u8>,
    buf: Vec<u8>,
}

impl Client {
    /// Creates a client that sends messages of `size` bytes.
    pub fn new(connections: Vec<TcpStream>, size: usize) -> io::Result<Client> {
        let epoll = Epoll::new()?;
        for (index, connection) in connections.iter().enumerate() {
            connection.set_nonblocking(true)?;
            epoll.add(connection, index)?;
        }
        Ok(Client {
            epoll,
            connections: connections.into_iter().map(|c| (c, 0)).collect(),
            message: vec![7; size],
            buf: vec![0; size],
        })
    }

    /// Sends requests, and returns when all of them are answered.
    pub fn drive(&mut self, requests: u64) -> io::Result<()> {
        let mut left = requests;
        let mut open = 0;
        for index in 0..self.connections.len() {
            if left > 0 {
                left -= 1;
                open += 1;
                self.send(index)?;
            }
        }
        let mut ready = Vec::new();
        while open > 0 {
            self.epoll.wait(&mut ready)?;
            for &index in &ready {
                if !self.receive(index)? {
                    continue;
                }
                if left > 0 {
                    left -= 1;
                    self.send(index)?;
                } else {
                    open -= 1;
                }
            }
        }
        Ok(())
    }

    fn send(&mut self, index: usize) -> io::Result<()> {
        let mut sent = 0;
        while sent < self.message.len() {
            match (&self.connections[index].0).write(&self.message[sent..]) {
                Ok(n) => sent += n,
                // The server keeps reading, so this does not spin for long.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => std::thread::yield_now(),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Receives what is available, and returns whether the answer is complete.
    fn receive(&mut self, index: usize) -> io::Result<bool> {
        let (connection, received) = &mut self.connections[index];
        match (&*connection).read(&mut self.buf[*received..]) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(n) => *received += n,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
            Err(error) => return Err(error),
        }
        if *received < self.message.len() {
            return Ok(false);
        }
        *received = 0;
        Ok(true)
    }
}
