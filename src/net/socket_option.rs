//! The options of sockets: the macro that makes a getter and a setter of each, and the options that several types have.

use super::{TcpListener, TcpSocket, TcpStream, UdpSocket, UnixDatagram, UnixListener, UnixStream};
use crate::sys::{option, set_option, with_context};
use socket2::{Domain, SockRef};
use std::io;
use std::os::fd::BorrowedFd;
use std::time::Duration;

/// The longest name of a network device, without the terminating zero of `IFNAMSIZ`. The kernel cuts off the rest.
const DEVICE_NAME_MAX: usize = libc::IFNAMSIZ - 1;

/// An option whose value is a number: `getsockopt(2)`.
#[derive(Clone, Copy, Debug)]
pub(super) struct SocketOption {
    pub(super) level: i32,
    pub(super) name: i32,
    /// The option's name, for error messages.
    pub(super) text: &'static str,
    /// The option of `IPPROTO_IPV6` that an IPv6 socket has as well. It is set too, and read instead.
    pub(super) v6: Option<i32>,
}

impl SocketOption {
    /// Returns the value.
    pub(super) fn get(self, socket: BorrowedFd<'_>) -> io::Result<i32> {
        let value = match self.v6 {
            Some(v6) if is_v6(socket)? => option(socket, libc::IPPROTO_IPV6, v6),
            _ => option(socket, self.level, self.name),
        };
        value.map_err(|error| with_context(error, format!("get {}", self.text)))
    }

    /// Sets the value, which must be in the range: the kernel takes -1 for its default.
    pub(super) fn set(
        self,
        socket: BorrowedFd<'_>,
        value: impl Into<i64>,
        (min, max): (u32, u32),
    ) -> io::Result<()> {
        let value = value.into();
        let explained = |error| with_context(error, format!("set {} to {value}", self.text));
        if value < min.into() || value > max.into() {
            let why = format!("it must be from {min} to {max}");
            return Err(explained(io::Error::new(io::ErrorKind::InvalidInput, why)));
        }
        let set = |level, name| set_option(socket, level, name, value as i32).map_err(explained);
        set(self.level, self.name)?;
        match self.v6 {
            Some(v6) if is_v6(socket)? => set(libc::IPPROTO_IPV6, v6),
            _ => Ok(()),
        }
    }
}

/// Whether this is an IPv6 socket.
pub(super) fn is_v6(socket: BorrowedFd<'_>) -> io::Result<bool> {
    let domain = option(socket, libc::SOL_SOCKET, libc::SO_DOMAIN)?;
    Ok(Domain::from(domain) == Domain::IPV6)
}

/// Generates the getter and the setter of an option, inside of an `impl`:
///
/// ```text
/// socket_option! {
///     type getter, setter: LEVEL NAME / IPV6_NAME in MIN..=MAX;
///     "what it is, as the object of `Sets`, or of `Whether` for a flag"
///     note "what else is to be known for setting it"
///     fails "errors of the getter" "errors of the setter"
/// }
/// ```
///
/// Only the first line up to `NAME` and the text are required. A type of `bool`, `u8` or `u32` sets the range; narrower
/// ones need `in`, and a sentence in `fails`.
macro_rules! socket_option {
    (
        $type:ident $get:ident, $set:ident: $level:ident $name:ident $(/ $v6:ident)? $(in $min:literal..=$max:literal)?;
        $what:literal $(note $note:literal)? $(fails $get_fails:literal $set_fails:literal)?
    ) => {
        #[doc = concat!(
            socket_option!(@get $type $what), ": `", stringify!($name), "`"
            $(, ", or `", stringify!($v6), "` on an IPv6 socket")?, "."
        )]
        ///
        /// # Errors
        ///
        #[doc = socket_option!(@fails "getsockopt(2)" $($get_fails)?)]
        pub fn $get(&self) -> std::io::Result<$type> {
            let value = socket_option!(@option $level $name $($v6)?).get(std::os::fd::AsFd::as_fd(self))?;
            Ok(socket_option!(@from $type value))
        }

        #[doc = concat!(
            socket_option!(@set $type $what), ": `", stringify!($name), "`"
            $(, ", and on an IPv6 socket also `", stringify!($v6), "`")?, "."
            $(, " ", $note)?
        )]
        ///
        /// # Errors
        ///
        #[doc = socket_option!(@fails "setsockopt(2)" $($set_fails)?)]
        pub fn $set(&self, value: $type) -> std::io::Result<()> {
            let option = socket_option!(@option $level $name $($v6)?);
            option.set(std::os::fd::AsFd::as_fd(self), value, socket_option!(@range $type $($min $max)?))
        }
    };
    (@option $level:ident $name:ident $($v6:ident)?) => {
        $crate::net::socket_option::SocketOption {
            level: libc::$level,
            name: libc::$name,
            text: stringify!($name),
            v6: None$(.or(Some(libc::$v6)))?,
        }
    };
    (@range $type:ident $min:literal $max:literal) => { ($min, $max) };
    (@range bool) => { (0, 1) };
    (@range u8) => { (0, 255) };
    (@range u32) => { (0, u32::MAX) };
    (@from bool $value:ident) => { $value != 0 };
    (@from $type:ident $value:ident) => { $value as $type };
    (@get bool $what:literal) => { concat!("Whether ", $what) };
    (@get $type:ident $what:literal) => { concat!("Returns ", $what) };
    (@set bool $what:literal) => { concat!("Sets whether ", $what) };
    (@set $type:ident $what:literal) => { concat!("Sets ", $what) };
    (@fails $call:literal) => {
        concat!("If `", $call, "` fails, which is not expected on an open socket of this type.")
    };
    (@fails $call:literal $fails:literal) => { $fails };
}

pub(super) use socket_option;

/// Generates the same methods for several types.
macro_rules! each {
    ([$($type:ident)+] $methods:tt) => {$( each! { @of $type $methods } )+};
    (@of $type:ident { $($methods:tt)* }) => { impl $type { $($methods)* } };
}

each! { [TcpSocket TcpStream TcpListener UdpSocket UnixStream UnixListener UnixDatagram] {
    /// Takes the error that the kernel has recorded for this socket and not reported yet: `SO_ERROR`. If an operation
    /// that was dropped has met an error, the next operation returns it instead.
    ///
    /// # Errors
    ///
    /// If `getsockopt(2)` fails, which is not expected on an open socket.
    pub fn take_error(&self) -> io::Result<Option<io::Error>> {
        SockRef::from(self).take_error()
    }
} }

each! { [TcpSocket TcpStream TcpListener UdpSocket] {
    socket_option! {
        u32 ttl, set_ttl: IPPROTO_IP IP_TTL / IPV6_UNICAST_HOPS in 1..=255;
        "the hop limit of outgoing unicast packets"
        fails "If `getsockopt(2)` fails, which is not expected on an open socket of this type."
            "`InvalidInput` for zero and for more than 255."
    }
    socket_option! {
        u8 tos, set_tos: IPPROTO_IP IP_TOS / IPV6_TCLASS;
        "the type of service of outgoing packets, or their traffic class, whose upper six bits are the DSCP"
        note "The lower two bits are ECN: on a TCP socket, the kernel keeps its own."
    }
} }

each! { [TcpSocket TcpStream] {
    socket_option! {
        bool nodelay, set_nodelay: IPPROTO_TCP TCP_NODELAY;
        "small writes are sent at once instead of being coalesced (Nagle's algorithm)"
    }
    socket_option! {
        bool keepalive, set_keepalive: SOL_SOCKET SO_KEEPALIVE;
        "the kernel sends keepalive probes to a silent peer"
        note "Set the idle time and the interval of the probes with `socket2::SockRef::set_tcp_keepalive`."
    }

    /// Returns how long closing waits for data that was sent to arrive, or `None` if it does not wait: `SO_LINGER`.
    ///
    /// # Errors
    ///
    /// If `getsockopt(2)` fails, which is not expected on an open TCP socket.
    pub fn linger(&self) -> io::Result<Option<Duration>> {
        SockRef::from(self).linger()
    }

    /// Sets how long closing waits for data that was sent to arrive, rounded up to seconds: `SO_LINGER`. By default
    /// (`None`), closing does not wait, and the kernel sends what is left.
    ///
    /// With a duration other than zero, closing blocks the whole thread, whether by a drop or by `close`. So close such
    /// a connection in a thread of its own: drop what `TcpStream::into_std` returns within
    /// [`spawn_blocking`](crate::task::spawn_blocking). A duration of zero does not block, and resets the connection:
    /// see [`set_zero_linger`](Self::set_zero_linger).
    ///
    /// # Errors
    ///
    /// If `setsockopt(2)` fails, which is not expected on an open TCP socket.
    pub fn set_linger(&self, linger: Option<Duration>) -> io::Result<()> {
        // The kernel counts in seconds, and zero means a reset.
        let rounded = linger.map(|linger| {
            let fraction = u64::from(linger.subsec_nanos() > 0);
            let seconds = linger.as_secs().saturating_add(fraction);
            Duration::from_secs(seconds.min(i32::MAX as u64))
        });
        SockRef::from(self).set_linger(rounded)
    }

    /// Makes closing reset the connection instead of ending it in order: data that was sent but has not arrived is
    /// discarded, and the peer's next read fails with `ConnectionReset`. This is `SO_LINGER` with a timeout of zero.
    ///
    /// # Errors
    ///
    /// If `setsockopt(2)` fails, which is not expected on an open TCP socket.
    pub fn set_zero_linger(&self) -> io::Result<()> {
        self.set_linger(Some(Duration::ZERO))
    }
} }

each! { [TcpSocket UdpSocket] {
    /// Returns the name of the network device that the socket is bound to, or `None`: `SO_BINDTODEVICE`.
    ///
    /// # Errors
    ///
    /// If `getsockopt(2)` fails, which is not expected on an open socket of this type.
    pub fn device(&self) -> io::Result<Option<Vec<u8>>> {
        SockRef::from(self).device()
    }

    /// Restricts the socket to a network device, such as `b"eth0"`, or to none: `SO_BINDTODEVICE`. It then sends
    /// through that device only, and receives only what arrives there.
    ///
    /// # Errors
    ///
    /// `PermissionDenied` without `CAP_NET_RAW`, if the socket is already bound to a device or the kernel is older than
    /// 5.7; `ENODEV` if there is no such device; `InvalidInput` for a name of more than 15
    /// bytes, or with a zero byte.
    pub fn bind_device(&self, device: Option<&[u8]>) -> io::Result<()> {
        let invalid = |what| Err(io::Error::new(io::ErrorKind::InvalidInput, what));
        let bound = match device {
            Some(name) if name.len() > DEVICE_NAME_MAX => invalid(format!(
                "the name has {} bytes, and the limit is {DEVICE_NAME_MAX}",
                name.len()
            )),
            // The kernel would stop there.
            Some(name) if name.contains(&0) => invalid("the name contains a zero byte".to_owned()),
            _ => SockRef::from(self).bind_device(device),
        };
        bound.map_err(|error| {
            let name = String::from_utf8_lossy(device.unwrap_or_default());
            with_context(error, format!("bind to the device {name:?}"))
        })
    }
} }
