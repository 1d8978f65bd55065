//! What a thread may do and see, and what the kernel's workers of its ring may: they are as the documentation of the crate says.

#![expect(
    clippy::unwrap_used,
    reason = "a test that meets what it does not expect fails there"
)]

#[macro_use]
mod common;

use gimmal::fs::{self, File};
use std::ffi::CString;
use std::io::{self, ErrorKind};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::Path;
use std::ptr;
use std::thread;

/// Nobody has it.
const USER: libc::uid_t = 1_234_567;

fn succeeds(result: impl Into<i64>) -> io::Result<()> {
    match result.into() {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Runs a test on a thread of its own, whose state it changes, and with a directory.
fn on_a_thread(test: impl FnOnce(&Path) + Send) {
    // SAFETY: no address is passed.
    if unsafe { libc::geteuid() } != 0 {
        return skip!("only root can change what a thread may do and see");
    }
    let directory = common::directory();
    thread::scope(|scope| scope.spawn(|| test(directory.path())).join().unwrap());
}

/// Has the kernel make workers for the ring of this thread: a file that is made needs one.
async fn make_workers(directory: &Path) -> io::Result<()> {
    for n in 0..4 {
        fs::write(directory.join(format!("before{n}")), "x").await?;
    }
    Ok(())
}

/// Users and capabilities go with each request, also to workers that were made before.
#[test]
fn workers_act_as_the_user_that_their_thread_is_now() {
    on_a_thread(|path| {
        let (ours, theirs) = (path.join("ours"), path.join("theirs"));
        for directory in [&ours, &theirs] {
            std::fs::create_dir(directory).unwrap();
            std::fs::set_permissions(directory, PermissionsExt::from_mode(0o700)).unwrap();
        }
        if let Err(error) = chown(&theirs, Some(USER), Some(USER)) {
            return skip!("root of a container has no such user: {error}");
        }
        // Above it there may be directories that are root's alone: the test has them open.
        let theirs = std::fs::File::open(&theirs).unwrap();
        let ours = std::fs::File::open(&ours).unwrap();
        let name = |of: &std::fs::File, name: &str| {
            use std::os::fd::AsRawFd;
            format!("/proc/self/fd/{}/{name}", of.as_raw_fd())
        };
        gimmal::run(async {
            make_workers(path).await?;
            // SAFETY: no address is passed. The plain system call changes this thread alone.
            let changed = unsafe {
                succeeds(libc::syscall(libc::SYS_setresgid, USER, USER, USER))?;
                libc::syscall(libc::SYS_setresuid, USER, USER, USER)
            };
            succeeds(changed)?;
            let made = File::create(name(&theirs, "made")).await?;
            made.write_all("text").await?;
            let metadata = std::fs::metadata(name(&theirs, "made"))?;
            assert_eq!((metadata.uid(), metadata.gid()), (USER, USER));
            let error = File::create(name(&ours, "made")).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::PermissionDenied, "{error}");
            io::Result::Ok(())
        })
        .unwrap();
    });
}

/// Changes what this thread sees: its working directory, its umask and what is mounted at `mount` are its own then.
fn see_something_else(directory: &Path, mount: &Path) -> io::Result<()> {
    let c_string = |path: &Path| CString::new(path.as_os_str().as_bytes()).unwrap();
    let (directory, mount) = (c_string(directory), c_string(mount));
    // SAFETY: the addresses are of strings that end with a zero byte, or null where the call allows it.
    unsafe {
        // With its mounts a thread has its own root, working directory and umask.
        succeeds(libc::unshare(libc::CLONE_NEWNS))?;
        succeeds(libc::mount(
            ptr::null(),
            c"/".as_ptr(),
            ptr::null(),
            libc::MS_REC | libc::MS_PRIVATE,
            ptr::null(),
        ))?;
        let name = c"tmpfs".as_ptr();
        succeeds(libc::mount(name, mount.as_ptr(), name, 0, ptr::null()))?;
        succeeds(libc::chdir(directory.as_ptr()))?;
        libc::umask(0o077);
    }
    Ok(())
}

/// A thread that is started after the change, or builds its first runtime after it, has workers that know it.
#[test]
fn workers_see_what_their_thread_saw_before_its_first_runtime() {
    async fn sees_it(name: &str, mount: &Path) -> io::Result<()> {
        let made = File::create(name).await?;
        made.write_all("text").await?;
        let metadata = std::fs::metadata(name)?;
        assert_eq!((metadata.len(), metadata.mode() & 0o777), (4, 0o600));
        let inside = mount.join(name);
        fs::write(&inside, "inside").await?;
        assert_eq!(
            std::fs::metadata(&inside)?.dev(),
            std::fs::metadata(mount)?.dev()
        );
        Ok(())
    }

    on_a_thread(|path| {
        let mount = path.join("mount");
        std::fs::create_dir(&mount).unwrap();
        if let Err(error) = see_something_else(path, &mount) {
            return skip!("this thread cannot have mounts of its own: {error}");
        }
        gimmal::run(sees_it("first", &mount)).unwrap();

        // Another one has had a runtime before.
        let inner = mount.join("inner");
        std::fs::create_dir(&inner).unwrap();
        gimmal::run(make_workers(path)).unwrap();
        see_something_else(path, &inner).unwrap();
        let after = thread::spawn(move || {
            gimmal::run(sees_it("second", &inner)).unwrap();
        });
        after.join().unwrap();
        assert_eq!(std::fs::read_dir(&mount).unwrap().count(), 2);
    });
}
