//! Addresses and names: text with a port, paths and abstract names of Unix sockets, and addresses as the kernel returns
//! them. Whatever is accepted means what it says, and converts back.

#![no_main]

use gimmal::net::fuzzing::{ip_from_kernel, unix_from_kernel, unix_of_path, unix_to_kernel};
use gimmal::net::{Host, ToAddrs};
use libfuzzer_sys::fuzz_target;
use socket2::{SockAddr, SockAddrStorage};
use std::ffi::OsStr;
use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::SocketAddr as UnixAddr;
use std::path::Path;

/// The longest path, without its terminating zero.
const PATH_MAX: usize = 107;

fn text(text: &str) {
    let std = text.parse::<SocketAddr>();
    match text.target() {
        Ok(Host::Addrs(addrs)) => {
            let &[address] = &addrs[..] else {
                panic!("{text:?} is one address: {addrs:?}");
            };
            match std {
                Ok(std) => assert_eq!(address, std),
                // The interface may be a name.
                Err(_) if text.starts_with('[') => {
                    let inside = text[1..].split_once("]:").unwrap();
                    let (ip, interface) = inside.0.split_once('%').unwrap();
                    assert_eq!(address.ip(), ip.parse::<IpAddr>().unwrap());
                    assert!(!interface.is_empty());
                    assert_eq!(address.port(), port(inside.1));
                }
                Err(_) => {
                    let (ip, number) = text.rsplit_once(':').unwrap();
                    assert_eq!(address, SocketAddr::new(ip.parse().unwrap(), port(number)));
                }
            }
        }
        Ok(Host::Name(name, number)) => {
            assert!(std.is_err());
            let (before, after) = text.rsplit_once(':').unwrap();
            assert_eq!((&*name, number), (before, port(after)));
            assert!(!name.is_empty() && !name.contains(|c: char| c == '\0' || c.is_whitespace()));
        }
        Err(error) => {
            assert!(std.is_err(), "{text:?} is an address: {error}");
            assert!([ErrorKind::InvalidInput, ErrorKind::NotFound].contains(&error.kind()));
            assert!(error.to_string().contains(|c: char| c.is_alphabetic()));
        }
    }
}

/// A port in digits.
fn port(text: &str) -> u16 {
    assert!(text.bytes().all(|byte| byte.is_ascii_digit()), "{text:?}");
    text.parse().unwrap()
}

fn same(left: &UnixAddr, right: &UnixAddr) -> bool {
    left.as_pathname() == right.as_pathname() && left.as_abstract_name() == right.as_abstract_name()
}

fn path(bytes: &[u8]) {
    let is_valid = !bytes.is_empty() && !bytes.contains(&0) && bytes.len() <= PATH_MAX;
    let path = Path::new(OsStr::from_bytes(bytes));
    match unix_of_path(path) {
        Ok(address) => {
            assert!(is_valid);
            assert_eq!(address.as_pathname(), Some(path));
            let back = unix_from_kernel(&unix_to_kernel(&address).unwrap()).unwrap();
            assert!(same(&address, &back), "{address:?} {back:?}");
        }
        Err(error) => {
            assert!(!is_valid);
            assert_eq!(error.kind(), ErrorKind::InvalidInput);
        }
    }
}

fn abstract_name(bytes: &[u8]) {
    let Ok(address) = UnixAddr::from_abstract_name(bytes) else {
        assert!(bytes.len() > PATH_MAX);
        return;
    };
    let back = unix_from_kernel(&unix_to_kernel(&address).unwrap()).unwrap();
    assert_eq!(back.as_abstract_name(), Some(bytes));
}

/// The address that the kernel wrote, of this length.
fn from_kernel(bytes: &[u8]) {
    let mut storage = SockAddrStorage::zeroed();
    let len = bytes.len().min(storage.size_of() as usize);
    // SAFETY: the storage is plain bytes, and has room for `len` of them.
    let address = unsafe {
        let to = (&raw mut storage).cast::<u8>();
        std::ptr::copy_nonoverlapping(bytes.as_ptr(), to, len);
        SockAddr::new(storage, len as u32)
    };
    let bytes = &bytes[..len];
    // What the kernel did not write is zero.
    let family = u16::from_ne_bytes([0, 1].map(|at| bytes.get(at).copied().unwrap_or(0)));
    let unix = unix_from_kernel(&address);
    assert!(unix.is_err() || i32::from(family) == libc::AF_UNIX);
    if let Ok(unix) = unix {
        // `unix(7)`: a path ends with a zero byte, which counts; an abstract name begins with one.
        match bytes.get(2..).unwrap_or_default() {
            [] => assert!(unix.is_unnamed()),
            [0, name @ ..] => assert_eq!(unix.as_abstract_name(), Some(name)),
            [path @ .., _] => {
                let path = Path::new(OsStr::from_bytes(path));
                assert!(unix.as_pathname() == Some(path) || path.as_os_str().is_empty());
            }
        }
    }
    let is_ip = [libc::AF_INET, libc::AF_INET6].contains(&family.into());
    assert_eq!(ip_from_kernel(address).is_ok(), is_ip);
}

fuzz_target!(|bytes: &[u8]| {
    match bytes {
        [b't', rest @ ..] => text(&String::from_utf8_lossy(rest)),
        [b'p', rest @ ..] => path(rest),
        [b'a', rest @ ..] => abstract_name(rest),
        [_, rest @ ..] => from_kernel(rest),
        [] => {}
    }
});
