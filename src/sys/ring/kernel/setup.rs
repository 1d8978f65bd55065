//! Creating a ring: the ladder of flags, the sizes that fit, and the error message if there is no ring.

use crate::sys::os::{no_descriptor, soft_limit};
use crate::sys::ring::Sizes;
use crate::sys::ring::feature_mask::{
    FeatureMask, SETUP_COOP_TASKRUN, SETUP_DEFER_TASKRUN, SETUP_NO_SQARRAY, SETUP_SINGLE_ISSUER,
    SETUP_SUBMIT_ALL, SETUP_TASKRUN_FLAG,
};
use crate::sys::{Instant, limit, machine_now, with_context};
use io_uring::IoUring;
use std::io;
use std::thread;
use std::time::Duration;

/// Below this, a smaller ring is not tried: the ring's size would not be the problem.
const SUBMISSION_MIN: u32 = 4;

/// How long a build waits for the kernel to free closed rings. It frees them some 10 ms after the close, up to 350 ms
/// on a busy machine, and until then they count against the locked memory of their user (measured on 6.18).
const WAIT_MAX: Duration = Duration::from_secs(1);

/// The first pause between two tries, which doubles up to the longest.
const PAUSE_MIN: Duration = Duration::from_micros(100);
const PAUSE_MAX: Duration = Duration::from_millis(16);

const COOPERATIVE: u32 = SETUP_SUBMIT_ALL | SETUP_COOP_TASKRUN | SETUP_TASKRUN_FLAG;
const DEFERRED: u32 = COOPERATIVE | SETUP_SINGLE_ISSUER | SETUP_DEFER_TASKRUN;

/// The limit that the kernel clamps to.
const SUBMISSIONS_MAX: u32 = 1 << 15;
const COMPLETIONS_MAX: u32 = 1 << 16;

/// The flags to request, the best first. A kernel that does not know one returns EINVAL and gets the next set (the
/// number is the first kernel that knows them all).
const LADDER: [u32; 5] = [
    DEFERRED | SETUP_NO_SQARRAY, // 6.6
    DEFERRED,                    // 6.1
    COOPERATIVE,                 // 5.19
    SETUP_SUBMIT_ALL,            // 5.18
    0,                           // 5.5
];

/// Creates the best ring that the kernel supports and the mask allows, and returns it with its setup flags.
pub(super) fn build(sizes: Sizes, mask: &FeatureMask) -> io::Result<(IoUring, u32)> {
    let mut patience = Patience::new();
    let mut last = None;
    for flags in LADDER {
        if mask.setup & flags != 0 {
            continue;
        }
        match build_with(sizes, flags, &mut patience) {
            Ok(ring) => return Ok((ring, flags)),
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) => last = Some(error),
            Err(error) => return Err(remedy(error, sizes)),
        }
    }
    let error = last.unwrap_or_else(|| io::Error::from_raw_os_error(libc::EINVAL));
    Err(remedy(error, sizes))
}

/// Creates a ring with these flags. If the kernel has no memory for it, waits for one of this size, where that can
/// succeed; then tries smaller ones.
fn build_with(mut sizes: Sizes, flags: u32, patience: &mut Patience) -> io::Result<IoUring> {
    loop {
        match request(sizes, flags) {
            Err(error) if error.raw_os_error() == Some(libc::ENOMEM) => {
                if may_fit(sizes, flags) && patience.pause() {
                    continue;
                }
                if sizes.submission <= SUBMISSION_MIN {
                    return Err(error);
                }
                sizes.submission /= 2;
                sizes.completion = (sizes.completion / 2).max(sizes.submission);
            }
            outcome => return outcome,
        }
    }
}

/// The time that one build may still wait.
struct Patience {
    until: Option<Instant>,
    pause: Duration,
}

impl Patience {
    fn new() -> Patience {
        Patience {
            until: None,
            pause: PAUSE_MIN,
        }
    }

    /// Waits for a while. Returns false if no time is left. The thread has to sleep: its own closed rings wait for it
    /// to release them, which it does in the kernel.
    fn pause(&mut self) -> bool {
        let now = machine_now();
        let until = *self.until.get_or_insert(now + WAIT_MAX);
        let left = until.saturating_duration_since(now);
        thread::sleep(self.pause.min(left));
        self.pause = (self.pause * 2).min(PAUSE_MAX);
        !left.is_zero()
    }
}

/// Whether a ring of this size fits into the limit of locked memory once nothing else counts against it.
fn may_fit(sizes: Sizes, flags: u32) -> bool {
    match soft_limit(libc::RLIMIT_MEMLOCK) {
        // Without a limit, locked memory is not the problem.
        None | Some(libc::RLIM_INFINITY) => false,
        Some(limit) => locked_bytes(sizes, flags) <= limit,
    }
}

/// Returns the locked memory of a ring: two regions of whole pages. One contains the completions, behind a header of
/// 320 bytes, and the index array if there is one; the other the submissions.
fn locked_bytes(sizes: Sizes, flags: u32) -> u64 {
    const HEADER: u64 = 320;
    const COMPLETION: u64 = 16;
    const SUBMISSION: u64 = 64;
    let entries = |asked: u32, max: u32| u64::from(asked.min(max).next_power_of_two());
    let submissions = entries(sizes.submission, SUBMISSIONS_MAX);
    let completions = entries(sizes.completion, COMPLETIONS_MAX);
    let index = match flags & SETUP_NO_SQARRAY {
        0 => 4,
        _ => 0,
    };
    // SAFETY: sysconf reads a constant of the system.
    let page = unsafe { libc::sysconf(libc::_SC_PAGESIZE) } as u64;
    let rings = HEADER + COMPLETION * completions + index * submissions;
    rings.next_multiple_of(page) + (SUBMISSION * submissions).next_multiple_of(page)
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

/// Adds the cause, the limit that was hit, and a remedy to an error.
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
            "no memory for a ring, tried from {} and {} entries down to {SUBMISSION_MIN}, also after closed rings had \
             time to go: the rings of a user count against RLIMIT_MEMLOCK, here {}: raise it (ulimit -l) or ask for fewer entries",
            sizes.submission,
            sizes.completion,
            limit(libc::RLIMIT_MEMLOCK, "bytes"),
        ),
        Some(libc::EMFILE | libc::ENFILE) => return no_descriptor(error, "a ring"),
        Some(libc::EINVAL) => format!(
            "the kernel rejects a ring of {} and {} entries: both must be at least 1, and there must be at \
             least as many completion entries as submission entries",
            sizes.submission, sizes.completion,
        ),
        _ => "io_uring_setup".to_owned(),
    };
    with_context(error, what)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::process::Command;

    const CHILD: &str = "GIMMAL_TEST_CHILD_OF_SETUP";
    const SKIPPED: &str = "skipped";

    /// Whether a user with this limit of locked memory gets the ring, perhaps only once earlier ones are freed.
    fn fits(sizes: Sizes, flags: u32, limit: u64, mut patience: Patience) -> bool {
        let limit = libc::rlimit {
            rlim_cur: limit,
            rlim_max: 8 << 20,
        };
        // SAFETY: the pointer is to a valid limit, which is only read during the call.
        assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_MEMLOCK, &limit) }, 0);
        loop {
            match request(sizes, flags) {
                Ok(_) => return true,
                Err(error) => assert_eq!(error.raw_os_error(), Some(libc::ENOMEM)),
            }
            if !patience.pause() {
                return false;
            }
        }
    }

    #[test]
    fn the_locked_memory_of_a_ring_is_what_the_kernel_counts() {
        const TEST: &str = "sys::ring::kernel::setup::tests::the_locked_memory_of_a_ring_is_what_the_kernel_counts";
        if std::env::var_os(CHILD).is_none() {
            let mut child = Command::new(std::env::current_exe().unwrap());
            let child = child.args(["--exact", TEST, "--nocapture"]).env(CHILD, "1");
            let output = child.output().unwrap();
            assert!(output.status.success(), "{output:?}");
            let stdout = String::from_utf8_lossy(&output.stdout);
            assert!(stdout.contains("1 passed"), "{TEST} was not run: {stdout}");
            if stdout.contains(SKIPPED) {
                // The harness captures the output of the print macros, but not this.
                let _ = writeln!(
                    io::stderr(),
                    "\n{SKIPPED}: {TEST}: needs root and a kernel that counts rings"
                );
            }
            return;
        }
        let tiny = Sizes {
            submission: 1,
            completion: 2,
        };
        let is_known = |flags: &u32| request(tiny, *flags).is_ok();
        let known: Vec<u32> = LADDER[..2].iter().copied().filter(is_known).collect();
        let user = 1_000_000 + std::process::id();
        // SAFETY: no address is passed.
        let is_user = unsafe { libc::geteuid() == 0 && libc::setuid(user) == 0 };
        let none = || Patience {
            until: Some(machine_now()),
            ..Patience::new()
        };
        if !is_user || known.is_empty() || known.iter().any(|flags| fits(tiny, *flags, 0, none())) {
            println!("{SKIPPED}");
            return;
        }
        for flags in known {
            for (submission, completion) in [(256, 4096), (128, 2048), (5, 9), (1000, 1000)] {
                let sizes = Sizes {
                    submission,
                    completion,
                };
                let bytes = locked_bytes(sizes, flags);
                let what = format!("{sizes:?} {flags:#x}");
                assert!(!fits(sizes, flags, bytes - 1, none()), "{what}");
                assert!(fits(sizes, flags, bytes, Patience::new()), "{what}");
            }
        }
    }
}
