//! The user, capabilities and view of the file system of a thread, and those of the io_uring workers of its ring, as
//! the crate's documentation describes them.

use gimmal::fs::{self, File};
use std::ffi::CString;
use std::io::{self, ErrorKind};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::Path;
use std::ptr;
use std::thread;

/// A user ID that nobody has.
const USER: libc::uid_t = 1_234_567;

fn succeeds(result: impl Into<i64>) -> io::Result<()> {
    match result.into() {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Runs a test on its own thread, whose state it changes, with a temporary directory.
fn on_a_thread(test: impl FnOnce(&Path) + Send) {
    // SAFETY: no address is passed.
    if unsafe { libc::geteuid() } != 0 {
        return common::skip!("only root can change the user and the mounts of a thread");
    }
    let directory = common::directory();
    thread::scope(|scope| scope.spawn(|| test(directory.path())).join().unwrap());
}

/// Makes the kernel start workers for the ring of this thread: creating a file needs one.
async fn make_workers(directory: &Path) -> io::Result<()> {
    for n in 0..4 {
        fs::write(directory.join(format!("before{n}")), "x").await?;
    }
    Ok(())
}

/// Each request carries the thread's user and capabilities, even to workers that were started earlier.
#[test]
fn workers_act_as_the_current_user_of_their_thread() {
    on_a_thread(|path| {
        let (ours, theirs) = (path.join("ours"), path.join("theirs"));
        for directory in [&ours, &theirs] {
            std::fs::create_dir(directory).unwrap();
            std::fs::set_permissions(directory, PermissionsExt::from_mode(0o700)).unwrap();
        }
        if let Err(error) = chown(&theirs, Some(USER), Some(USER)) {
            return common::skip!("root of a container has no such user: {error}");
        }
        // Directories above may be accessible only to root, so the test opens these two first.
        let theirs = std::fs::File::open(&theirs).unwrap();
        let ours = std::fs::File::open(&ours).unwrap();
        let name = |of: &std::fs::File, name: &str| {
            use std::os::fd::AsRawFd;
            format!("/proc/self/fd/{}/{name}", of.as_raw_fd())
        };
        gimmal::run(async {
            make_workers(path).await?;
            // SAFETY: no address is passed. The bare system call changes only this thread.
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

/// Gives this thread its own working directory, umask and mount at `mount`.
fn change_view(directory: &Path, mount: &Path) -> io::Result<()> {
    let c_string = |path: &Path| CString::new(path.as_os_str().as_bytes()).unwrap();
    let (directory, mount) = (c_string(directory), c_string(mount));
    // SAFETY: the addresses are those of nul-terminated strings, or null where the call allows it.
    unsafe {
        // CLONE_NEWNS also gives the thread its own root, working directory and umask.
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

/// Workers have the new view if their thread was started after the change, or built its first runtime after it.
#[test]
fn workers_have_the_view_their_thread_had_before_its_first_runtime() {
    async fn has_new_view(name: &str, mount: &Path) -> io::Result<()> {
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
        if let Err(error) = change_view(path, &mount) {
            return common::skip!("this thread cannot have mounts of its own: {error}");
        }
        gimmal::run(has_new_view("first", &mount)).unwrap();

        // A thread whose parent already had a runtime.
        let inner = mount.join("inner");
        std::fs::create_dir(&inner).unwrap();
        gimmal::run(make_workers(path)).unwrap();
        change_view(path, &inner).unwrap();
        let after = thread::spawn(move || {
            gimmal::run(has_new_view("second", &inner)).unwrap();
        });
        after.join().unwrap();
        assert_eq!(std::fs::read_dir(&mount).unwrap().count(), 2);
    });
}
