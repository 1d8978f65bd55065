//! Limits of resources, named in the errors of what they refuse.

use crate::sys::error::{explain_as, with_context};
use std::io;

/// Adds a description to the error of a call that creates a descriptor; if none is left, with the limit that was hit
/// and a remedy.
pub(in crate::sys) fn no_descriptor(error: io::Error, wanted: &str) -> io::Error {
    let what = match error.raw_os_error() {
        Some(libc::EMFILE) => format!(
            "no descriptor left for {wanted}: RLIMIT_NOFILE is {}: raise it (ulimit -n) or close files",
            limit(libc::RLIMIT_NOFILE, "descriptors"),
        ),
        Some(libc::ENFILE) => {
            format!("no descriptor left in the whole system for {wanted}: raise fs.file-max")
        }
        _ => format!("create {wanted}"),
    };
    with_context(error, what)
}

/// Creates the error for a thread that could not be created, with the limits that may have been hit and a remedy. It is
/// not `WouldBlock`, although the kernel returns EAGAIN, because retrying is of no use.
#[cold]
pub(crate) fn no_thread(error: io::Error, wanted: &str) -> io::Error {
    let limit = limit(libc::RLIMIT_NPROC, "threads of the user");
    let what = format!(
        "no thread for {wanted}: RLIMIT_NPROC is {limit}: raise it (ulimit -u), or the pids.max of the cgroup"
    );
    explain_as(io::ErrorKind::QuotaExceeded, error, what)
}

/// Formats the soft limit of a resource.
pub(crate) fn limit(resource: libc::__rlimit_resource_t, unit: &str) -> String {
    match soft_limit(resource) {
        None => "unknown".to_owned(),
        Some(libc::RLIM_INFINITY) => "unlimited".to_owned(),
        Some(value) => format!("{value} {unit}"),
    }
}

pub(in crate::sys) fn soft_limit(resource: libc::__rlimit_resource_t) -> Option<u64> {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: `limit` is valid for writing for the length of the call, and nothing keeps its address.
    let failed = unsafe { libc::getrlimit(resource, &mut limit) } != 0;
    (!failed).then_some(limit.rlim_cur)
}
