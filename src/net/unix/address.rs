//! Addresses of Unix sockets: a path, an abstract name, or unnamed.

use socket2::SockAddr;
use std::ffi::OsStr;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::SocketAddr;
use std::path::Path;

/// The size of `sun_path` (`unix(7)`), which holds a path and its terminating zero.
const PATH_BYTES: usize = 108;

/// Returns the address of a path, or an error that says why the path is not valid.
pub(in crate::net) fn of_path(path: &Path) -> io::Result<SocketAddr> {
    let bytes = path.as_os_str().as_bytes();
    let why = if bytes.is_empty() {
        "it is empty".to_owned()
    } else if bytes.contains(&0) {
        "it contains a zero byte (for an abstract name use `SocketAddr::from_abstract_name`)"
            .to_owned()
    } else if bytes.len() >= PATH_BYTES {
        format!(
            "it has {} bytes, and the limit is {PATH_BYTES}, including the terminating zero",
            bytes.len()
        )
    } else {
        return SocketAddr::from_pathname(path);
    };
    Err(io::Error::new(
        io::ErrorKind::InvalidInput,
        format!("{path:?} is not a valid socket path: {why}"),
    ))
}

/// Converts an address from std's type to the kernel's.
pub(in crate::net) fn to_kernel(address: &SocketAddr) -> io::Result<SockAddr> {
    if let Some(path) = address.as_pathname() {
        return SockAddr::unix(path);
    }
    if let Some(name) = address.as_abstract_name() {
        let name = [&[0], name].concat();
        return SockAddr::unix(OsStr::from_bytes(&name));
    }
    Err(io::Error::new(
        io::ErrorKind::InvalidInput,
        "the address is unnamed: it cannot be connected to or listened on",
    ))
}

/// Converts an address from the kernel's type to std's.
pub(in crate::net) fn from_kernel(address: &SockAddr) -> io::Result<SocketAddr> {
    if let Some(path) = address.as_pathname() {
        return SocketAddr::from_pathname(path);
    }
    match address.as_abstract_namespace() {
        Some(name) => SocketAddr::from_abstract_name(name),
        None if address.is_unix() => unnamed(),
        None => Err(io::Error::other("the socket is not a Unix socket")),
    }
}

/// Returns the address of an unbound socket.
pub(in crate::net) fn unnamed() -> io::Result<SocketAddr> {
    SocketAddr::from_pathname("")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_convert_to_kernel_addresses_and_back() {
        let longest = "x".repeat(PATH_BYTES - 1);
        for address in [
            of_path(Path::new("/run/x.sock")).unwrap(),
            of_path(Path::new(&longest)).unwrap(),
            SocketAddr::from_abstract_name(b"a\0b").unwrap(),
            SocketAddr::from_abstract_name(b"").unwrap(),
            SocketAddr::from_abstract_name([b'y'; 107]).unwrap(),
        ] {
            let back = from_kernel(&to_kernel(&address).unwrap()).unwrap();
            assert_eq!(format!("{back:?}"), format!("{address:?}"));
        }
        assert!(unnamed().unwrap().is_unnamed());
        assert!(to_kernel(&unnamed().unwrap()).is_err());
    }

    #[test]
    fn an_invalid_socket_path_is_rejected_with_the_reason() {
        let long = "x".repeat(PATH_BYTES);
        for (path, why) in [("", "empty"), ("a\0b", "zero"), (&long, "108")] {
            let error = of_path(Path::new(path)).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
            let text = error.to_string();
            assert!(text.contains(&format!("{path:?}")), "{text}");
            assert!(text.contains(why), "{text}");
        }
    }
}
