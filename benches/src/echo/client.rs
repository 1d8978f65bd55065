//! The load: an epoll loop that keeps one request of every connection under way.

use super::epoll::Epoll;
use std::io::{self, Read, Write};
use std::net::TcpStream;

/// The client's ends of some connections.
#[derive(Debug)]
pub struct Client {
    epoll: Epoll,
    connections: Vec<(TcpStream, usize)>,
    message: Vec<u8>,
    room: Vec<u8>,
}

impl Client {
    /// Sends messages of so many bytes.
    pub fn new(connections: Vec<TcpStream>, size: usize) -> io::Result<Client> {
        let epoll = Epoll::new()?;
        for (place, connection) in connections.iter().enumerate() {
            connection.set_nonblocking(true)?;
            epoll.add(connection, place)?;
        }
        Ok(Client {
            epoll,
            connections: connections.into_iter().map(|c| (c, 0)).collect(),
            message: vec![7; size],
            room: vec![0; size],
        })
    }

    /// Has so many requests answered.
    pub fn drive(&mut self, requests: u64) -> io::Result<()> {
        let mut left = requests;
        let mut open = 0;
        for place in 0..self.connections.len() {
            if left > 0 {
                left -= 1;
                open += 1;
                self.send(place)?;
            }
        }
        let mut ready = Vec::new();
        while open > 0 {
            self.epoll.wait(&mut ready)?;
            for &place in &ready {
                if !self.receive(place)? {
                    continue;
                }
                if left > 0 {
                    left -= 1;
                    self.send(place)?;
                } else {
                    open -= 1;
                }
            }
        }
        Ok(())
    }

    fn send(&mut self, place: usize) -> io::Result<()> {
        let mut sent = 0;
        while sent < self.message.len() {
            match (&self.connections[place].0).write(&self.message[sent..]) {
                Ok(n) => sent += n,
                // The peer reads as long as it lives: the buffers of a socket have room for more than one message.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => std::thread::yield_now(),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Whether the whole answer is there.
    fn receive(&mut self, place: usize) -> io::Result<bool> {
        let (connection, received) = &mut self.connections[place];
        match (&*connection).read(&mut self.room[*received..]) {
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
