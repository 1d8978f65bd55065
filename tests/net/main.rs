//! Connections, listeners, datagrams, names and options of sockets.

#![expect(clippy::unwrap_used, reason = "a test fails on an unexpected error")]

mod connecting;
mod listening;
mod names;
mod network;
mod serving;
mod socket_options;
mod udp;
mod unix_connecting;
mod unix_datagrams;
mod unix_passing;
