//! Addresses and host names.

use crate::runtime::pool::spawn_abandonable;
use crate::runtime::proceed;
use crate::sys::{interface_index, with_context};
use socket2::SockAddr;
use std::ffi::CString;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6, ToSocketAddrs};

/// A target to connect to, listen on, or send to: one address, several, or a name with a port.
///
/// | type | example |
/// |---|---|
/// | an address | `SocketAddr`, `(IpAddr, u16)`, `([127, 0, 0, 1], 80)` |
/// | several | `&[SocketAddr]`, `[SocketAddr; N]`, `Vec<SocketAddr>` |
/// | text | `"127.0.0.1:80"`, `"[::1]:80"`, `"[fe80::1%eth0]:80"`, `"localhost:80"`, `("localhost", 80)` |
/// | a reference to one of these | `&SocketAddr`, `&String`, `&("localhost", 80)` |
///
/// Text that is not an address is a name, which is looked up on a thread of the pool.
///
/// ```
/// use gimmal::net::{Host, TcpListener, TcpStream, ToAddrs};
/// use std::io;
///
/// /// A line of a configuration file.
/// struct Server {
///     host: String,
///     port: u16,
/// }
///
/// impl ToAddrs for &Server {
///     fn target(self) -> io::Result<Host> {
///         (self.host.as_str(), self.port).target()
///     }
/// }
///
/// # fn main() -> io::Result<()> {
/// gimmal::run(async {
///     let listener = TcpListener::bind(([127, 0, 0, 1], 0)).await?;
///     let port = listener.local_addr()?.port();
///     let server = Server { host: "127.0.0.1".into(), port };
///     let stream = TcpStream::connect(&server).await?;
///     assert_eq!(stream.peer_addr()?, listener.local_addr()?);
///     Ok(())
/// })
/// # }
/// ```
pub trait ToAddrs {
    /// Converts the value to a [`Host`], without looking up names.
    ///
    /// # Errors
    ///
    /// `InvalidInput`, with the text, if it is neither an address nor a name with a port. `NotFound`, with the
    /// interface's name, for an address with an interface that does not exist.
    fn target(self) -> io::Result<Host>;

    /// Returns the address if this is exactly one, so that no list is needed.
    #[doc(hidden)]
    #[inline]
    fn address(&self) -> Option<SocketAddr> {
        None
    }
}

/// Addresses, or a name that is still to be looked up.
///
/// ```
/// use gimmal::net::{Host, ToAddrs};
///
/// # fn main() -> std::io::Result<()> {
/// let address = ([127, 0, 0, 1], 80).into();
/// assert_eq!("127.0.0.1:80".target()?, Host::Addrs(vec![address]));
/// assert_eq!("localhost:80".target()?, Host::Name("localhost".into(), 80));
/// assert!("localhost".target().is_err());
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Host {
    /// Addresses, in the order in which to try them.
    Addrs(Vec<SocketAddr>),
    /// A name and a port.
    Name(String, u16),
}

impl Host {
    /// Returns the text for errors.
    pub(super) fn describe(&self) -> String {
        match self {
            Host::Name(name, port) => format!("{name}:{port}"),
            Host::Addrs(addrs) => {
                let addrs: Vec<String> = addrs.iter().map(SocketAddr::to_string).collect();
                addrs.join(", ")
            }
        }
    }

    /// Returns the addresses, at least one.
    pub(super) async fn resolve(self) -> io::Result<Vec<SocketAddr>> {
        match self {
            Host::Addrs(addrs) if addrs.is_empty() => Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "the list of addresses is empty",
            )),
            Host::Addrs(addrs) => Ok(addrs),
            Host::Name(name, port) => look_up(name, port).await,
        }
    }
}

/// Looks up the addresses of a name with the system's resolver, and returns them in its order: `getaddrinfo(3)`, on a
/// thread of the pool.
///
/// ```
/// # fn main() -> std::io::Result<()> {
/// gimmal::run(async {
///     let addrs = gimmal::net::lookup_host("localhost:80").await?;
///     assert!(addrs.iter().all(|addr| addr.ip().is_loopback() && addr.port() == 80));
///     Ok(())
/// })
/// # }
/// ```
///
/// # Errors
///
/// `InvalidInput` for text that is neither an address nor a name with a port; `NotFound` for a name without addresses,
/// and otherwise the error of `getaddrinfo(3)`, with the name; `QuotaExceeded`, with the limits that were reached, if
/// no thread can be created; [`Canceled`](crate::Canceled).
///
/// # Cancel safety
///
/// Nothing is lost. A lookup that a thread has begun is abandoned: it runs on, but the wait for it ends at once.
// Test: tests/net/names.rs
pub async fn lookup_host(name: impl ToAddrs) -> io::Result<Vec<SocketAddr>> {
    proceed().await?;
    name.target()?.resolve().await
}

/// Tries the addresses in order, and returns the first success or the last error.
pub(super) async fn try_each<T>(
    to: impl ToAddrs,
    mut attempt: impl FnMut(SocketAddr) -> io::Result<T>,
) -> io::Result<T> {
    let mut last = None;
    for address in lookup_host(to).await? {
        match attempt(address) {
            Ok(done) => return Ok(done),
            Err(error) => last = Some(error),
        }
    }
    match last {
        Some(error) => Err(error),
        None => unreachable!("a target that was resolved has an address"),
    }
}

async fn look_up(name: String, port: u16) -> io::Result<Vec<SocketAddr>> {
    let asked = name.clone();
    // The closure owns everything it touches, and its result needs no cleanup, so the lookup may be abandoned (C10).
    let lookup = spawn_abandonable(
        move || {
            let addrs = (asked.as_str(), port).to_socket_addrs();
            addrs.map(Iterator::collect::<Vec<_>>)
        },
        drop,
    );
    let found = lookup.await?;
    let addrs = found.map_err(|error| with_context(error, format!("look up {name}")))?;
    if addrs.is_empty() {
        return Err(io::Error::new(
            io::ErrorKind::NotFound,
            format!("look up {name}: it has no address"),
        ));
    }
    Ok(addrs)
}

fn bad(text: &str, why: &str) -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidInput,
        format!("{text:?} is not an address: {why}"),
    )
}

/// Parses an IPv6 address with a zone, which is the name or index of an interface: `fe80::1%eth0` (RFC 4007). Returns
/// `None` if the text is not such an address.
fn scoped(text: &str, port: u16) -> Option<io::Result<Host>> {
    let (ip, interface) = text.split_once('%')?;
    let ip = ip.parse().ok().filter(|_| !interface.is_empty())?;
    let is_number = interface.bytes().all(|byte| byte.is_ascii_digit());
    let number = interface.parse().ok().filter(|_| is_number);
    let index = number.or_else(|| interface_index(&CString::new(interface).ok()?).ok());
    Some(match index {
        Some(index) => SocketAddrV6::new(ip, port, 0, index).target(),
        None => Err(io::Error::new(
            io::ErrorKind::NotFound,
            format!("{ip} is for the network interface {interface:?}, which does not exist"),
        )),
    })
}

/// Parses an IP address or a name.
fn host(name: &str, port: u16) -> io::Result<Host> {
    if let Ok(ip) = name.parse::<IpAddr>() {
        return Ok(Host::Addrs(vec![SocketAddr::new(ip, port)]));
    }
    if let Some(scoped) = scoped(name, port) {
        return scoped;
    }
    // Names that a resolver would silently misread or truncate.
    match name {
        "" => Err(bad(&format!(":{port}"), "the name is empty")),
        name if name.contains(|c: char| c == '\0' || c.is_whitespace() || "[]/@%".contains(c)) => {
            Err(bad(name, "a host name cannot contain such characters"))
        }
        name => Ok(Host::Name(name.to_owned(), port)),
    }
}

impl ToAddrs for &str {
    fn target(self) -> io::Result<Host> {
        if let Ok(addr) = self.parse::<SocketAddr>() {
            return Ok(Host::Addrs(vec![addr]));
        }
        let number = |port: &str| {
            // `parse` takes a sign, too.
            let digits = Some(port).filter(|port| !port.starts_with('+'));
            let number = digits.and_then(|digits| digits.parse().ok());
            number.ok_or_else(|| bad(self, "its port is no number from 0 to 65535"))
        };
        if let Some(bracketed) = self.strip_prefix('[') {
            let Some((ip, port)) = bracketed.split_once("]:") else {
                return Err(bad(self, "it has no port after the brackets"));
            };
            let scoped = scoped(ip, number(port)?);
            return scoped
                .unwrap_or_else(|| Err(bad(self, "the brackets do not contain an IPv6 address")));
        }
        let Some((name, port)) = self.rsplit_once(':') else {
            return Err(bad(self, "it has no port"));
        };
        if name.contains(':') {
            return Err(bad(
                self,
                "an IPv6 address stands in brackets, as in [::1]:80",
            ));
        }
        host(name, number(port)?).map_err(|_| bad(self, "its host name is not valid"))
    }
}

macro_rules! targets {
    ($($type:ty: $to:pat => $target:expr;)+) => {$(
        impl ToAddrs for $type {
            fn target(self) -> io::Result<Host> {
                let $to = self;
                $target
            }
        }
    )+};
}

targets! {
    String: text => text.as_str().target();
    (&str, u16): (name, port) => host(name, port);
    (&String, u16): (name, port) => host(name, port);
    (String, u16): (name, port) => host(&name, port);
    Host: host => Ok(host);
    Vec<SocketAddr>: addrs => Ok(Host::Addrs(addrs));
    &[SocketAddr]: addrs => Ok(Host::Addrs(addrs.to_vec()));
}

impl<const N: usize> ToAddrs for [SocketAddr; N] {
    fn target(self) -> io::Result<Host> {
        Ok(Host::Addrs(self.to_vec()))
    }
}

macro_rules! one_address {
    ($($type:ty,)+) => {$(
        impl ToAddrs for $type {
            fn target(self) -> io::Result<Host> {
                Ok(Host::Addrs(vec![self.into()]))
            }

            #[inline]
            fn address(&self) -> Option<SocketAddr> {
                Some((*self).into())
            }
        }
    )+};
}

one_address! {
    SocketAddr,
    SocketAddrV4,
    SocketAddrV6,
    (IpAddr, u16),
    (Ipv4Addr, u16),
    (Ipv6Addr, u16),
    ([u8; 4], u16),
    ([u16; 8], u16),
}

/// By reference, for targets that are used more than once.
impl<T: ToAddrs + Clone> ToAddrs for &T {
    fn target(self) -> io::Result<Host> {
        self.clone().target()
    }

    #[inline]
    fn address(&self) -> Option<SocketAddr> {
        (**self).address()
    }
}

/// Returns the address of an IP socket.
pub(super) fn to_ip(address: SockAddr) -> io::Result<SocketAddr> {
    address
        .as_socket()
        .ok_or_else(|| io::Error::other("the socket is not an IP socket"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> io::Result<Host> {
        text.target()
    }

    #[test]
    fn text_is_an_address_or_a_name_with_a_port() {
        let address = |text: &str| Host::Addrs(vec![text.parse().unwrap()]);
        assert_eq!(text("127.0.0.1:80").unwrap(), address("127.0.0.1:80"));
        assert_eq!(text("[::1]:80").unwrap(), address("[::1]:80"));
        let name = Host::Name("localhost".to_owned(), 8080);
        assert_eq!(text("localhost:8080").unwrap(), name);
        assert_eq!(("localhost", 8080).target().unwrap(), name);
        assert_eq!(("::1", 80).target().unwrap(), address("[::1]:80"));
    }

    #[test]
    fn an_address_in_brackets_may_name_an_interface() {
        let scoped = |scope_id| {
            let ip = "fe80::1".parse().unwrap();
            Host::Addrs(vec![SocketAddrV6::new(ip, 80, 0, scope_id).into()])
        };
        let lo = crate::sys::interface_index(c"lo").unwrap();
        assert_eq!(text("[fe80::1%lo]:80").unwrap(), scoped(lo));
        assert_eq!(text("[fe80::1%7]:80").unwrap(), scoped(7));
        assert_eq!(("fe80::1%lo", 80).target().unwrap(), scoped(lo));
        assert_eq!((&"fe80::1%7".to_owned(), 80).target().unwrap(), scoped(7));
    }

    #[test]
    fn the_error_of_a_missing_interface_names_it() {
        let long = "x".repeat(300);
        for name in ["nobody0", "an interface", "4294967296", "x\0", &long] {
            let error = text(&format!("[fe80::1%{name}]:80")).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::NotFound, "{name:?}: {error}");
            let said = error.to_string();
            assert!(said.contains("fe80::1"), "{said}");
            assert!(said.contains(&format!("interface {name:?}")), "{said}");
            let error = (format!("fe80::1%{name}"), 80).target().unwrap_err();
            assert!(error.to_string().contains(&format!("interface {name:?}")));
        }
    }

    #[test]
    fn addresses_and_names_may_be_owned_or_passed_by_reference() {
        let addr: SocketAddr = "127.0.0.1:80".parse().unwrap();
        let same = |to: &dyn Fn() -> io::Result<Host>, count: usize| {
            assert_eq!(to().unwrap(), Host::Addrs(vec![addr; count]));
        };
        let (text, several) = (addr.to_string(), vec![addr; 2]);
        same(&|| (&addr).target(), 1);
        same(&|| (&(Ipv4Addr::LOCALHOST, 80)).target(), 1);
        same(&|| (&text).target(), 1);
        same(&|| (&&*text).target(), 1);
        same(&|| (&several).target(), 2);
        same(&|| several[..].target(), 2);
        same(&|| [addr, addr].target(), 2);
        same(&|| (&[addr, addr]).target(), 2);
        let name = Host::Name("localhost".to_owned(), 80);
        let localhost = "localhost".to_owned();
        assert_eq!((&localhost, 80).target().unwrap(), name);
        assert_eq!((&("localhost", 80)).target().unwrap(), name);
        assert_eq!((&name).target().unwrap(), name);
    }

    #[test]
    fn anything_else_is_rejected_with_its_text() {
        for bad in [
            "",
            ":",
            ":80",
            "localhost",
            "localhost:",
            "localhost:http",
            "localhost:65536",
            "localhost:+80",
            "127.0.0.1:+80",
            "[::1%7]:+80",
            "::1:80",
            "a b:1",
            "127.0.0.1",
            "[::1]",
            "[nobody]:80",
            "x\0y:1",
            "http://localhost:80",
            "[::1%]:80",
            "[::1]80",
            "[::1]:",
            "[::1",
            "::1]:80",
            "[]:80",
            "[127.0.0.1]:80",
            "[localhost%lo]:80",
            "127.0.0.1%lo:80",
            "localhost%lo:80",
            "fe80::1%lo:80",
            "[fe80::1%lo]",
        ] {
            let error = text(bad).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidInput, "{bad:?}");
            assert!(error.to_string().contains(&format!("{bad:?}")), "{error}");
        }
        // Text with brackets gets no hint to add them.
        for bad in ["[::1%]:80", "[nobody]:80", "[::1::]:80"] {
            let error = text(bad).unwrap_err().to_string();
            assert!(!error.contains("stands in brackets"), "{error}");
        }
    }
}
