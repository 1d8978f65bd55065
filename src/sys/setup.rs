//! Making a ring: the ladder of flags, the sizes that fit, and what to say when there is no ring to be had.

use super::error::explain;
use super::mask::{
    Mask, SETUP_COOP_TASKRUN, SETUP_DEFER_TASKRUN, SETUP_NO_SQARRAY, SETUP_SINGLE_ISSUER,
    SETUP_SUBMIT_ALL, SETUP_TASKRUN_FLAG,
};
use io_uring::IoUring;
use std::io;

/// How many entries the two queues have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sizes {
    pub(crate) submission: u32,
    pub(crate) completion: u32,
}

/// Below this a smaller ring is not tried: it would not be what is short.
const SUBMISSION_MIN: u32 = 4;

const COOPERATIVE: u32 = SETUP_SUBMIT_ALL | SETUP_COOP_TASKRUN | SETUP_TASKRUN_FLAG;
const DEFERRED: u32 = COOPERATIVE | SETUP_SINGLE_ISSUER | SETUP_DEFER_TASKRUN;

/// The flags to ask for, the best first. A kernel that does not know one answers EINVAL and gets the next (the number is
/// the kernel that first knows them all).
const LADDER: [u32; 5] = [
    DEFERRED | SETUP_NO_SQARRAY, // 6.6
    DEFERRED,                    // 6.1
    COOPERATIVE,                 // 5.19
    SETUP_SUBMIT_ALL,            // 5.18
    0,                           // 5.5
];

/// Makes the best ring that the kernel gives and the mask allows, and says which setup flags it has.
pub(super) fn build(sizes: Sizes, mask: &Mask) -> io::Result<(IoUring, u32)> {
    let mut last = None;
    for flags in LADDER {
        if mask.hides_setup(flags) {
            continue;
        }
        match build_with(sizes, flags) {
            Ok(ring) => return Ok((ring, flags)),
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) => last = Some(error),
            Err(error) => return Err(remedy(error, sizes)),
        }
    }
    let error = last.unwrap_or_else(|| io::Error::from_raw_os_error(libc::EINVAL));
    Err(remedy(error, sizes))
}

/// A ring with these flags, smaller than asked for if the kernel has no memory for more.
fn build_with(mut sizes: Sizes, flags: u32) -> io::Result<IoUring> {
    loop {
        match request(sizes, flags) {
            Err(error)
                if error.raw_os_error() == Some(libc::ENOMEM)
                    && sizes.submission > SUBMISSION_MIN =>
            {
                sizes.submission /= 2;
                sizes.completion = (sizes.completion / 2).max(sizes.submission);
            }
            outcome => return outcome,
        }
    }
}

fn request(sizes: Sizes, flags: u32) -> io::Result<IoUring> {
    let mut builder = IoUring::builder();
    builder.setup_clamp().setup_cqsize(sizes.completion);
    if flags & SETUP_SUBMIT_ALL != 0 {
        builder.setup_submit_all();
    }
    if flags & SETUP_COOP_TASKRUN != 0 {
        builder.setup_coop_taskrun().setup_taskrun_flag();
    }
    if flags & SETUP_DEFER_TASKRUN != 0 {
        builder.setup_single_issuer().setup_defer_taskrun();
    }
    if flags & SETUP_NO_SQARRAY != 0 {
        builder.setup_no_sqarray();
    }
    builder.build(sizes.submission)
}

/// The same error, with its cause, the value that stands in the way, and what to do.
fn remedy(error: io::Error, sizes: Sizes) -> io::Error {
    let what = match error.raw_os_error() {
        Some(libc::ENOSYS) => "io_uring is not built into this kernel (CONFIG_IO_URING), or a \
             sandbox hides it: run on Linux 5.15 or later with io_uring enabled"
            .to_owned(),
        Some(libc::EPERM | libc::EACCES) => {
            let value = std::fs::read_to_string("/proc/sys/kernel/io_uring_disabled");
            match value.as_deref().map(str::trim) {
                Ok(value @ ("1" | "2")) => format!(
                    "io_uring is switched off by kernel.io_uring_disabled = {value}: set it to 0 with sysctl{}",
                    if value == "1" {
                        ", or run as a member of kernel.io_uring_group"
                    } else {
                        ""
                    }
                ),
                _ => "io_uring is forbidden by a seccomp filter (the default of Docker and containerd): run \
                      the container with a profile that allows io_uring_setup, io_uring_enter and io_uring_register"
                    .to_owned(),
            }
        }
        Some(libc::ENOMEM) => format!(
            "no memory for a ring, tried from {} and {} entries down to {SUBMISSION_MIN}: the rings of a user count \
             against RLIMIT_MEMLOCK, here {}: raise it (ulimit -l) or ask for fewer entries",
            sizes.submission,
            sizes.completion,
            limit(libc::RLIMIT_MEMLOCK, "bytes"),
        ),
        Some(libc::EMFILE | libc::ENFILE) => return no_descriptor(error, "a ring"),
        Some(libc::EINVAL) => format!(
            "the kernel takes no ring of {} and {} entries: each is at least 1, and there are no fewer \
             completion entries than submission entries",
            sizes.submission, sizes.completion,
        ),
        _ => "io_uring_setup".to_owned(),
    };
    explain(error, what)
}

/// The same error of whatever takes a descriptor; if there is none left, with the limit in the way and what to do.
pub(super) fn no_descriptor(error: io::Error, wanted: &str) -> io::Error {
    let what = match error.raw_os_error() {
        Some(libc::EMFILE) => format!(
            "no descriptor left for {wanted}: RLIMIT_NOFILE is {}: raise it (ulimit -n) or close files",
            limit(libc::RLIMIT_NOFILE, "descriptors"),
        ),
        Some(libc::ENFILE) => {
            format!("no descriptor left in the whole system for {wanted}: raise fs.file-max")
        }
        _ => format!("making {wanted}"),
    };
    explain(error, what)
}

/// The soft limit of a resource, in words.
fn limit(resource: libc::__rlimit_resource_t, unit: &str) -> String {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: `limit` is valid for writing for the length of the call, and nothing keeps its address.
    let failed = unsafe { libc::getrlimit(resource, &mut limit) } != 0;
    match limit.rlim_cur {
        _ if failed => "unknown".to_owned(),
        libc::RLIM_INFINITY => "unlimited".to_owned(),
        value => format!("{value} {unit}"),
    }
}
