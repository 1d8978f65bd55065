//! Ancillary data as bytes: the control messages that accompany a datagram (`cmsg(3)`).
//!
//! A control message is a header (its length including the header, 8 bytes; level and type, 4 bytes each), its data,
//! and padding to the next multiple of 8. That is the kernel's layout on every 64-bit machine, whatever a C library
//! declares.

use std::io;
use std::os::fd::{AsFd, AsRawFd};

/// The most descriptors that the kernel sends with one message: `SCM_MAX_FD`.
pub(super) const FDS_MAX: usize = 253;

/// The message with a pidfd of the sending process, if the socket has SO_PASSPIDFD (6.5).
pub(super) const SCM_PIDFD: i32 = 4;

/// The size of the length, the level and the type.
const HEADER: usize = 16;

/// Appends a message to the ancillary data of a send.
pub(crate) fn push_control(control: &mut Vec<u8>, level: i32, kind: i32, data: &[u8]) {
    control.extend((HEADER + data.len()).to_ne_bytes());
    control.extend(level.to_ne_bytes());
    control.extend(kind.to_ne_bytes());
    control.extend(data);
    control.resize(control.len().next_multiple_of(8), 0);
}

/// Returns the ancillary data that sends these descriptors (`unix(7)`, SCM_RIGHTS): empty if there are none.
pub(in crate::op) fn fds_control(fds: &[impl AsFd]) -> io::Result<Vec<u8>> {
    let count = fds.len();
    if count > FDS_MAX {
        let what =
            format!("{count} descriptors with one message: the kernel sends {FDS_MAX} at most");
        return Err(io::Error::new(io::ErrorKind::InvalidInput, what));
    }
    let mut control = Vec::new();
    let numbers = fds.iter().map(|fd| fd.as_fd().as_raw_fd());
    let numbers: Vec<u8> = numbers.flat_map(i32::to_ne_bytes).collect();
    if !numbers.is_empty() {
        push_control(&mut control, libc::SOL_SOCKET, libc::SCM_RIGHTS, &numbers);
    }
    Ok(control)
}

/// The received messages, as level, type and data. Ends where the rest is not a message.
#[derive(Clone, Debug)]
pub(crate) struct ControlMessages<'a>(pub(crate) &'a [u8]);

impl<'a> Iterator for ControlMessages<'a> {
    type Item = (i32, i32, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let (len, rest) = self.0.split_first_chunk()?;
        let (level, rest) = rest.split_first_chunk()?;
        let (kind, rest) = rest.split_first_chunk()?;
        let len = usize::from_ne_bytes(*len).checked_sub(HEADER)?;
        let data = rest.get(..len)?;
        self.0 = rest.get(len.next_multiple_of(8)..).unwrap_or_default();
        Some((i32::from_ne_bytes(*level), i32::from_ne_bytes(*kind), data))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pushed_messages_are_found_again() {
        let mut control = Vec::new();
        let data = [&b""[..], b"a", b"1234567", b"12345678", b"123456789"];
        for (kind, data) in data.iter().enumerate() {
            push_control(&mut control, -7, kind as i32, data);
        }
        let found: Vec<_> = ControlMessages(&control).collect();
        let pushed = data.iter().enumerate();
        assert_eq!(
            found,
            pushed
                .map(|(kind, data)| (-7, kind as i32, *data))
                .collect::<Vec<_>>()
        );
    }

    /// The last message may lack its padding, or be truncated.
    #[test]
    fn every_prefix_yields_its_complete_messages() {
        let mut control = Vec::new();
        push_control(&mut control, 1, 2, b"abc");
        push_control(&mut control, 3, 4, b"defgh");
        for len in 0..=control.len() {
            let whole = usize::from(len >= HEADER + 3) + usize::from(len >= 24 + HEADER + 5);
            assert_eq!(ControlMessages(&control[..len]).count(), whole, "{len}");
        }
    }

    #[test]
    fn invalid_lengths_end_the_iteration() {
        for len in [0, 1, 15, 17, usize::MAX, usize::MAX - 7] {
            let mut control = len.to_ne_bytes().to_vec();
            control.extend([0; 8]);
            assert_eq!(ControlMessages(&control).count(), 0, "{len}");
        }
    }
}
