//! Addresses of Unix sockets: a path, a name that is in no directory, or none.

use socket2::SockAddr;
use std::ffi::OsStr;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::SocketAddr;
use std::path::Path;

/// The bytes that the kernel has for a path and the zero behind it: those of `sun_path` (`unix(7)`).
const PATH_BYTES: usize = 108;

/// The address that a path is.
pub(super) fn of_path(path: &Path) -> io::Result<SocketAddr> {
    let bytes = path.as_os_str().as_bytes();
    let why = if bytes.is_empty() {
        "it is empty".to_owned()
    } else if bytes.contains(&0) {
        "it has a zero in it (a name that is in no directory is `SocketAddr::from_abstract_name`)"
            .to_owned()
    } else if bytes.len() >= PATH_BYTES {
        format!(
            "it has {} bytes, and {PATH_BYTES} is the limit, with the zero behind it",
            bytes.len()
        )
    } else {
        return SocketAddr::from_pathname(path);
    };
    Err(io::Error::new(
        io::ErrorKind::InvalidInput,
        format!("{path:?} is no path for a socket: {why}"),
    ))
}

/// As the kernel takes it.
pub(super) fn to_kernel(address: &SocketAddr) -> io::Result<SockAddr> {
    if let Some(path) = address.as_pathname() {
        return SockAddr::unix(path);
    }
    if let Some(name) = address.as_abstract_name() {
        let name = [&[0], name].concat();
        return SockAddr::unix(OsStr::from_bytes(&name));
    }
    Err(io::Error::new(
        io::ErrorKind::InvalidInput,
        "an address without a name: there is nothing to connect to or to listen on",
    ))
}

/// As std has it.
pub(super) fn from_kernel(address: &SockAddr) -> io::Result<SocketAddr> {
    if let Some(path) = address.as_pathname() {
        return SocketAddr::from_pathname(path);
    }
    match address.as_abstract_namespace() {
        Some(name) => SocketAddr::from_abstract_name(name),
        None if address.is_unix() => unnamed(),
        None => Err(io::Error::other("the socket is not one of Unix")),
    }
}

/// The address of a socket that was never given one.
pub(super) fn unnamed() -> io::Result<SocketAddr> {
    SocketAddr::from_pathname("")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_go_to_the_kernel_and_back() {
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
    fn what_is_no_path_for_a_socket_is_refused_with_the_reason() {
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
