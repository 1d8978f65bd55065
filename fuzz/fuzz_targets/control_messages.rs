//! Ancillary data from the kernel: any bytes are read as the reference reads them, and what is pushed is found again, also
//! by the C library's macros.

#![no_main]

use gimmal::net::fuzzing::{control_messages, push_control_message, udp_meta};
use libfuzzer_sys::fuzz_target;
use std::net::SocketAddr;

const HEADER: usize = 16;

type Messages<'a> = Vec<(i32, i32, &'a [u8])>;

/// Reads messages by positions, as `cmsg(3)` describes them.
fn reference(control: &[u8]) -> Messages<'_> {
    let mut found = Vec::new();
    let mut at = 0;
    while control.len() - at >= HEADER {
        let word = |from: usize| i32::from_ne_bytes(control[from..][..4].try_into().unwrap());
        let len = u64::from_ne_bytes(control[at..][..8].try_into().unwrap()) as usize;
        if len < HEADER || len > control.len() - at {
            break;
        }
        found.push((word(at + 8), word(at + 12), &control[at..][HEADER..len]));
        at = (at + len.next_multiple_of(8)).min(control.len());
    }
    found
}

/// Reads messages with the macros of the C library.
fn by_macros(control: &mut [u8]) -> Vec<(i32, i32, Vec<u8>)> {
    let mut found = Vec::new();
    // The macros need an aligned buffer.
    let mut words = vec![0_u64; control.len().div_ceil(8)];
    // SAFETY: there are as many bytes in `words`. A zeroed header is valid, and the messages are whole.
    unsafe {
        std::ptr::copy_nonoverlapping(control.as_ptr(), words.as_mut_ptr().cast(), control.len());
        let mut header: libc::msghdr = std::mem::zeroed();
        header.msg_control = words.as_mut_ptr().cast();
        header.msg_controllen = control.len();
        let mut message = libc::CMSG_FIRSTHDR(&raw const header);
        while let Some(at) = message.as_ref() {
            let len = at.cmsg_len - libc::CMSG_LEN(0) as usize;
            let data = std::slice::from_raw_parts(libc::CMSG_DATA(message), len);
            found.push((at.cmsg_level, at.cmsg_type, data.to_vec()));
            message = libc::CMSG_NXTHDR(&raw const header, message);
        }
    }
    found
}

fuzz_target!(|bytes: &[u8]| {
    let found: Messages<'_> = control_messages(bytes).collect();
    assert_eq!(found, reference(bytes));
    let from: SocketAddr = ([127, 0, 0, 1], 1).into();
    let meta = udp_meta(from, bytes);
    assert_eq!(meta.from, from);

    // The messages that were found, and then each byte's value as the length of another one.
    let mut pushed: Messages<'_> = found.clone();
    for (kind, len) in bytes.iter().take(16).enumerate() {
        pushed.push((1, kind as i32, &bytes[..bytes.len().min((*len).into())]));
    }
    let mut control = Vec::new();
    for (level, kind, data) in &pushed {
        push_control_message(&mut control, *level, *kind, data);
    }
    assert_eq!(control_messages(&control).collect::<Messages<'_>>(), pushed);
    let by_macros = by_macros(&mut control);
    assert!(
        by_macros
            .iter()
            .map(|(level, kind, data)| (*level, *kind, &data[..]))
            .eq(pushed)
    );
});
