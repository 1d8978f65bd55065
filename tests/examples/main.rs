//! The examples, run as a user runs them: their output, their error messages, and how they end.

#![expect(clippy::unwrap_used, reason = "a test fails on an unexpected error")]

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::UdpSocket;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// Far less than the grace period of a runtime. It counts from the last output of an example, since the time that its
/// work takes depends on the machine.
const PROMPT: Duration = Duration::from_secs(4);

/// The examples are built next to the tests by `cargo test`.
fn example(name: &str) -> Command {
    let test = std::env::current_exe().unwrap();
    let path = test.ancestors().nth(2).unwrap().join("examples").join(name);
    assert!(
        path.exists(),
        "{} is missing: `cargo test` builds the examples, but `cargo test --test examples` alone does not; \
         run `cargo build --examples` with the same flags first",
        path.display()
    );
    Command::new(path)
}

fn run<A: AsRef<OsStr>>(name: &str, arguments: impl IntoIterator<Item = A>) -> Output {
    let mut command = example(name);
    command.args(arguments).stdin(Stdio::null());
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let (out, err) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
    let err = thread::spawn(|| all_of(err));
    let (stdout, out_at) = all_of(out);
    let (stderr, err_at) = err.join().unwrap();
    let status = child.wait().unwrap();
    let last_words = out_at.max(err_at);
    assert!(
        last_words.elapsed() < PROMPT,
        "{command:?} took too long to end"
    );
    Output {
        status,
        stdout,
        stderr,
    }
}

/// All output until the end, and when the last of it arrived.
fn all_of(mut pipe: impl Read) -> (Vec<u8>, Instant) {
    let (mut all, mut last) = (Vec::new(), Instant::now());
    let mut buffer = [0; 4096];
    loop {
        match pipe.read(&mut buffer).unwrap() {
            0 => return (all, last),
            n => all.extend_from_slice(&buffer[..n]),
        }
        last = Instant::now();
    }
}

fn directory() -> TempDir {
    tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap()
}

fn out(output: &Output) -> &str {
    std::str::from_utf8(&output.stdout).unwrap()
}

fn err(output: &Output) -> &str {
    std::str::from_utf8(&output.stderr).unwrap()
}

#[track_caller]
fn assert_exit(output: &Output, code: i32) {
    assert_eq!(output.status.code(), Some(code), "{}", err(output));
}

/// Waits until the process has a handler for SIGINT, which would kill it before that.
fn wait_for_handler(child: &Child) {
    let path = format!("/proc/{}/status", child.id());
    loop {
        let status = fs::read_to_string(&path).unwrap();
        let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:"));
        let caught = u64::from_str_radix(caught.unwrap().trim(), 16).unwrap();
        if caught & 1 << (libc::SIGINT - 1) != 0 {
            return;
        }
        thread::yield_now();
    }
}

/// Content longer than several buffers, whose bytes differ by position.
fn content(len: usize) -> Vec<u8> {
    (0..len).map(|at| (at / 251 + at) as u8).collect()
}

fn fifo(path: &Path) {
    let status = Command::new("mkfifo").arg(path).status().unwrap();
    assert!(status.success());
}

fn interrupt(child: &Child) {
    // SAFETY: no address is passed. The child has not been waited for, so the process ID is still its own.
    assert_eq!(unsafe { libc::kill(child.id() as i32, libc::SIGINT) }, 0);
}

#[test]
fn cat_prints_files_in_order() {
    let directory = directory();
    let (a, b) = (directory.path().join("a"), directory.path().join("b"));
    let (first, second) = (content(1_000_000), content(5));
    fs::write(&a, &first).unwrap();
    fs::write(&b, &second).unwrap();
    let output = run("cat", [&a, &b, &a]);
    assert_exit(&output, 0);
    assert!(output.stdout == [&first[..], &second, &first].concat());
}

#[test]
fn cat_reads_standard_input_by_name_and_by_default() {
    let directory = directory();
    let path = directory.path().join("input");
    fs::write(&path, "from a file\n").unwrap();
    for arguments in [&[][..], &["-"], &["-", "-"]] {
        let output = example("cat")
            .args(arguments)
            .stdin(File::open(&path).unwrap())
            .output()
            .unwrap();
        assert_exit(&output, 0);
        assert_eq!(out(&output), "from a file\n", "{arguments:?}");
    }
}

#[test]
fn cat_names_what_it_cannot_read_and_prints_the_rest() {
    let directory = directory();
    let good = directory.path().join("good");
    let missing = directory.path().join("missing");
    fs::write(&good, "good\n").unwrap();
    let output = run("cat", [&good, &missing, directory.path(), &good]);
    assert_exit(&output, 1);
    assert_eq!(out(&output), "good\ngood\n");
    let complaints: Vec<&str> = err(&output).lines().collect();
    assert_eq!(complaints.len(), 2, "{complaints:?}");
    assert!(
        complaints[0].contains("missing: No such file"),
        "{complaints:?}"
    );
    assert!(complaints[1].contains("Is a directory"), "{complaints:?}");
    assert!(complaints[1].contains(&*directory.path().to_string_lossy()));
}

#[test]
fn cat_reads_proc_files_of_unknown_size() {
    let output = run("cat", ["/proc/filesystems"]);
    assert_exit(&output, 0);
    assert_eq!(output.stdout, fs::read("/proc/filesystems").unwrap());
}

#[test]
fn cat_streams_a_fifo() {
    let directory = directory();
    let path = directory.path().join("fifo");
    fifo(&path);
    let mut cat = example("cat")
        .arg(&path)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut writer = File::options().write(true).open(&path).unwrap();
    let mut reader = cat.stdout.take().unwrap();
    // The second line is only written once the first one has arrived.
    for line in [b"one\n", b"two\n"] {
        writer.write_all(line).unwrap();
        let mut got = [0; 4];
        reader.read_exact(&mut got).unwrap();
        assert_eq!(&got, line);
    }
    drop(writer);
    assert_eq!(reader.read_to_end(&mut Vec::new()).unwrap(), 0);
    assert!(cat.wait().unwrap().success());
}

#[test]
fn cat_ends_quietly_when_its_reader_is_closed_during_a_read() {
    // Dropped before the writer is passed on: a child process that another test starts meanwhile inherits all
    // descriptors open at that moment, until it executes its program.
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let mut cat = example("cat")
        .stdin(Stdio::piped())
        .stdout(writer)
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // This end stays open, so the next read of `cat` would wait forever.
    let mut input = cat.stdin.take().unwrap();
    input.write_all(b"nobody reads this\n").unwrap();
    let start = Instant::now();
    let output = cat.wait_with_output().unwrap();
    assert!(start.elapsed() < PROMPT);
    drop(input);
    assert_exit(&output, 0);
    assert_eq!(err(&output), "");
}

#[test]
fn cat_reports_a_failed_write() {
    let directory = directory();
    let path = directory.path().join("file");
    fs::write(&path, "text").unwrap();
    let full = File::options().write(true).open("/dev/full").unwrap();
    let output = example("cat").arg(&path).stdout(full).output().unwrap();
    assert_exit(&output, 1);
    assert!(err(&output).contains("No space left on device"));
}

/// The part that fits is written, in order, and the rest is an error.
#[test]
fn cat_stops_at_the_size_limit_of_a_file() {
    let directory = directory();
    let path = directory.path().join("file");
    let text: Vec<u8> = (0..200_000u32).map(|n| (n % 251) as u8).collect();
    fs::write(&path, &text).unwrap();
    let out = directory.path().join("out");
    let program = example("cat").get_program().to_owned();
    // 40 blocks of 1024 bytes. An append starts at the end, wherever the cursor is.
    for (redirect, before) in [(">", 0), (">>", 0), (">>", 1000)] {
        fs::write(&out, vec![b'.'; before]).unwrap();
        let script = format!("trap '' XFSZ; ulimit -f 40; \"$0\" \"$1\" {redirect} \"$2\"");
        let mut bash = Command::new("bash");
        bash.arg("-c")
            .arg(script)
            .args([&program, path.as_os_str(), out.as_os_str()]);
        let output = bash.output().unwrap();
        assert_exit(&output, 1);
        assert!(err(&output).contains("File too large"), "{}", err(&output));
        let written = fs::read(&out).unwrap();
        assert_eq!(written.len(), 40 << 10, "{redirect}");
        assert!(
            written[before..] == text[..written.len() - before],
            "{redirect}"
        );
    }
}

#[test]
fn cat_streams_a_large_file_in_little_memory() {
    let directory = directory();
    let path = directory.path().join("sparse");
    let len = 256 << 20;
    File::create(&path).unwrap().set_len(len).unwrap();
    let mut cat = example("cat")
        .arg(&path)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut reader = cat.stdout.take().unwrap();
    let mut buffer = vec![0; 1 << 20];
    let mut got = 0;
    // The last bytes stay in the pipe until the memory use was checked.
    let until = len - (1 << 20);
    while got < until {
        got += reader.read(&mut buffer).unwrap() as u64;
    }
    let peak = peak_kib(cat.id());
    loop {
        match reader.read(&mut buffer).unwrap() {
            0 => break,
            n => got += n as u64,
        }
    }
    assert_eq!(got, len);
    assert!(cat.wait().unwrap().success());
    assert!(peak < limit_kib(32 << 10), "{peak} KiB");
}

/// The peak memory use of a process so far.
fn peak_kib(process: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:"));
    let word = line.unwrap().split_whitespace().nth(1).unwrap();
    word.parse().unwrap()
}

/// AddressSanitizer keeps a shadow of all memory, and delays the reuse of freed memory.
fn limit_kib(limit: u64) -> u64 {
    let flags = std::env::var("RUSTFLAGS").unwrap_or_default();
    if flags.contains("sanitizer") {
        limit * 16
    } else {
        limit
    }
}

/// Creates directories with files under `root`, and returns their total size.
fn create_tree(root: &Path, directories: usize, files: usize) -> usize {
    let mut bytes = 0;
    for directory in 0..directories {
        let path = root.join(format!("directory {directory}"));
        fs::create_dir(&path).unwrap();
        for file in 0..files {
            let len = file * 997 % 200_000;
            fs::write(path.join(file.to_string()), vec![b'x'; len]).unwrap();
            bytes += len;
        }
    }
    bytes
}

/// The number before these words in a report.
#[track_caller]
fn figure(line: &str, words: &str) -> usize {
    let before = line.split(words).next().unwrap();
    let digits = before.rsplit(' ').next().unwrap();
    match digits.parse() {
        Ok(number) => number,
        Err(_) => panic!("no number before {words:?} in {line:?}"),
    }
}

#[test]
fn readall_reads_every_file_with_as_many_reads_in_flight_as_tasks() {
    let directory = directory();
    let bytes = create_tree(directory.path(), 8, 60);
    for tasks in [1, 7, 64] {
        let root = directory.path().as_os_str();
        let output = run(
            "readall",
            [root, "--tasks".as_ref(), tasks.to_string().as_ref()],
        );
        assert_exit(&output, 0);
        assert_eq!(err(&output), "", "progress is only shown on a terminal");
        assert_eq!(figure(out(&output), " files,"), 8 * 60);
        assert_eq!(figure(out(&output), " bytes,"), bytes);
        assert!(out(&output).contains(" files/s, ") && out(&output).contains(" MB/s"));
        assert_eq!(figure(out(&output), " at most"), tasks, "{}", out(&output));
        assert!(out(&output).contains("unreadable: 0"));
    }
}

#[test]
fn readall_compares_with_std_on_the_same_files() {
    let directory = directory();
    let bytes = create_tree(directory.path(), 3, 30);
    let output = run(
        "readall",
        [directory.path().as_os_str(), "--compare".as_ref()],
    );
    assert_exit(&output, 0);
    let passes: Vec<&str> = out(&output)
        .lines()
        .filter(|line| line.contains(" files/s, "))
        .collect();
    let names: Vec<&str> = passes
        .iter()
        .filter_map(|line| line.split(':').next())
        .collect();
    assert_eq!(
        names,
        ["gimmal, 64 tasks", "gimmal, 64 tasks", "std", "std"]
    );
    for pass in &passes {
        assert_eq!(
            (figure(pass, " files,"), figure(pass, " bytes,")),
            (90, bytes)
        );
    }
    let with_cpu = passes.iter().filter(|pass| pass.contains(", CPU 0."));
    assert_eq!(with_cpu.count(), 3, "{passes:?}");

    let output = run(
        "readall",
        [
            directory.path().as_os_str(),
            "--compare".as_ref(),
            "--evict".as_ref(),
        ],
    );
    assert_exit(&output, 0);
    let passes = out(&output).lines().filter(|line| line.contains(", CPU "));
    let read: Vec<_> = passes.map(|pass| figure(pass, " bytes,")).collect();
    assert_eq!(read, [bytes; 6]);
}

#[test]
fn readall_lists_what_it_cannot_read_and_reads_the_rest() {
    let directory = directory();
    let root = directory.path();
    create_tree(root, 1, 10);
    let secret = root.join("secret file");
    fs::write(&secret, "unread").unwrap();
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o000)).unwrap();
    let locked = root.join("locked directory");
    fs::create_dir(&locked).unwrap();
    fs::set_permissions(&locked, fs::Permissions::from_mode(0o000)).unwrap();
    let missing = root.join("missing path");
    let output = run("readall", [root, &missing]);
    // The superuser can read everything.
    let may_all = fs::read_dir(&locked).is_ok();
    fs::set_permissions(&locked, fs::Permissions::from_mode(0o700)).unwrap();

    assert_exit(&output, 1);
    let mut unread = vec!["missing path: No such file"];
    if !may_all {
        unread.extend([
            "secret file: Permission denied",
            "locked directory: Permission denied",
        ]);
    }
    for reason in &unread {
        assert_eq!(err(&output).matches(reason).count(), 1, "{}", err(&output));
    }
    assert_eq!(err(&output).lines().count(), unread.len());
    assert!(out(&output).contains(&format!("unreadable: {};", unread.len())));
    assert_eq!(
        figure(out(&output), " files,"),
        if may_all { 11 } else { 10 }
    );
}

#[test]
fn readall_names_a_file_that_opens_but_fails_to_read() {
    let output = run("readall", ["/proc/self/mem", "/proc/self/cmdline"]);
    assert_exit(&output, 1);
    assert!(
        err(&output).contains("/proc/self/mem: Input/output error"),
        "{}",
        err(&output)
    );
    assert_eq!(figure(out(&output), " files,"), 1);
}

#[test]
fn readall_skips_special_files_and_follows_only_links_given_as_arguments() {
    let directory = directory();
    let root = directory.path().join("root");
    fs::create_dir(&root).unwrap();
    create_tree(&root, 1, 5);
    fifo(&root.join("fifo"));
    // The path of a socket is limited to 107 bytes, so it is created elsewhere.
    let elsewhere = tempfile::tempdir().unwrap();
    let socket = elsewhere.path().join("socket");
    let _listener = UnixListener::bind(&socket).unwrap();
    symlink(&socket, root.join("link to a socket")).unwrap();
    symlink(".", root.join("link to itself")).unwrap();
    symlink("nowhere", root.join("broken link")).unwrap();
    let link = directory.path().join("link to the root");
    symlink(&root, &link).unwrap();
    for root in [&root, &link] {
        let output = run("readall", [root, &socket]);
        assert_exit(&output, 0);
        assert_eq!(figure(out(&output), " files,"), 5);
        assert!(
            out(&output).contains("skipped, not regular files: 5"),
            "{}",
            out(&output)
        );
    }
    let file = root.join("directory 0/3");
    let output = run("readall", [&file]);
    assert_exit(&output, 0);
    assert_eq!(figure(out(&output), " bytes,"), 3 * 997);
}

#[test]
fn readall_holds_no_whole_file_in_memory() {
    let directory = directory();
    let path = directory.path().join("sparse");
    let len = 256 << 20;
    File::create(&path).unwrap().set_len(len).unwrap();
    let mut command = example("readall");
    command.arg(&path);
    // The file does not fit into this memory.
    let status = limited(command, 64 << 10);
    assert_exit(&status, 0);
    assert_eq!(figure(out(&status), " bytes,") as u64, len);
}

/// Runs a command with a limit on its data size, except under a sanitizer, which needs more.
fn limited(command: Command, kib: u64) -> Output {
    let mut shell = Command::new("sh");
    let is_sanitized = limit_kib(1) > 1;
    let limit = if is_sanitized {
        "unlimited".into()
    } else {
        kib.to_string()
    };
    shell.args(["-c", "ulimit -d \"$0\"; exec \"$@\"", &limit]);
    shell.arg(command.get_program()).args(command.get_args());
    shell.stdin(Stdio::null()).output().unwrap()
}

#[test]
fn readall_explains_invalid_arguments() {
    for (arguments, reason) in [
        (&[][..], "usage: readall"),
        (&[".", "--tasks"], "--tasks needs a number"),
        (&[".", "--tasks", "0"], "not \"0\""),
        (&[".", "--tasks", "many"], "not \"many\""),
        (&[".", "--fast"], "no option --fast"),
        (&[".", "--evict"], "--evict needs --compare"),
    ] {
        let output = run("readall", arguments);
        assert_exit(&output, 2);
        assert!(err(&output).contains(reason), "{}", err(&output));
        assert_eq!(out(&output), "");
    }
}

#[test]
fn sleep_sort_sorts() {
    // Long enough for all timers to be armed by then, even if the machine delays the program.
    let output = run(
        "sleep_sort",
        ["930", "900", "912", "911", "910", "930", "901"],
    );
    assert_exit(&output, 0);
    assert_eq!(out(&output), "900\n901\n910\n911\n912\n930\n930\n");
    assert_eq!(out(&run("sleep_sort", [""; 0])), "");
}

#[test]
fn sleep_sort_names_the_argument_that_is_not_a_number() {
    for bad in ["x", "-5", "1.5", ""] {
        let output = run("sleep_sort", ["1", bad]);
        assert_exit(&output, 2);
        assert!(
            err(&output).contains(&format!("{bad:?} is not a number")),
            "{}",
            err(&output)
        );
        assert_eq!(out(&output), "");
    }
}

#[test]
fn task_group_digests_every_file() {
    let directory = directory();
    let names: Vec<_> = (0..10)
        .map(|n| {
            let name = directory.path().join(n.to_string());
            fs::write(&name, content(n * 1000)).unwrap();
            name
        })
        .collect();
    for workers in [1, 3, 10, 50] {
        let mut arguments: Vec<_> = names
            .iter()
            .map(|name| name.as_os_str().to_owned())
            .collect();
        arguments.extend(["--workers".into(), workers.to_string().into()]);
        let output = run("task_group", arguments);
        assert_exit(&output, 0);
        let lines: Vec<&str> = out(&output).lines().collect();
        let (last, lines) = lines.split_last().unwrap();
        assert_eq!(*last, "all done");
        assert!(lines.len() <= workers && lines[0].starts_with("worker 0: "));
        let sum = |words| lines.iter().map(|line| figure(line, words)).sum::<usize>();
        assert_eq!(sum(" of "), 10);
        assert_eq!(sum(" files,"), 10);
        assert_eq!(sum(" bytes,"), 45_000);
    }
    // Without arguments, it runs a demonstration.
    let output = run("task_group", [""; 0]);
    assert_exit(&output, 0);
    assert!(out(&output).ends_with("all done\n"));
}

#[test]
fn task_group_stops_the_rest_when_a_file_is_missing() {
    let directory = directory();
    let good = directory.path().join("good");
    fs::write(&good, "good").unwrap();
    // It never completes, since nobody opens the other end.
    let waits = directory.path().join("fifo");
    fifo(&waits);
    let writer = File::options().read(true).write(true).open(&waits).unwrap();
    let missing = directory.path().join("missing");
    let output = run(
        "task_group",
        [&good, &missing, &good, &waits, &good, &waits, &good, &good],
    );
    drop(writer);
    assert_exit(&output, 1);
    let lines: Vec<&str> = out(&output).lines().collect();
    assert_eq!(figure(lines[0], " of 2 files"), 1, "{lines:?}");
    assert_eq!(figure(lines[1], " of 2 files"), 1, "{lines:?}");
    assert_eq!(figure(lines[2], " of 2 files"), 1, "{lines:?}");
    assert!(lines[4].starts_with("stopped by: ") && lines[4].contains("missing"));
    assert!(figure(lines[5], " workers") >= 2, "{lines:?}");
}

#[test]
fn task_group_explains_invalid_arguments() {
    for number in ["0", "many", "-1"] {
        let output = run("task_group", ["Cargo.toml", "--workers", number]);
        assert_exit(&output, 2);
        assert!(err(&output).contains("--workers needs a number"));
    }
    assert_exit(&run("task_group", ["--workers"]), 2);
}

#[test]
fn timeout_reads_to_the_last_byte() {
    for lines in [0, 1, 100, 300] {
        let output = run("timeout", [lines.to_string()]);
        assert_exit(&output, 0);
        assert!(out(&output).contains("every line is there, once and in order"));
        let bytes: usize = (0..lines).map(|n| format!("line {n}\n").len()).sum();
        assert_eq!(figure(out(&output), ", bytes read"), bytes);
        // Each pause is three times as long as the reader's timeout, but a busy machine may delay the reader meanwhile.
        let timeouts = figure(out(&output), ", the buffer");
        assert!(lines < 300 || timeouts > 0, "{}", out(&output));
    }
    assert_exit(&run("timeout", ["some"]), 2);
}

#[test]
fn cancel_cleanup_continues_where_it_stopped() {
    let directory = directory();
    let state = directory.path().join("state");
    // Long enough to start even on a busy machine.
    let arguments = || [state.as_os_str(), "200".as_ref()];
    let mut before = 0;
    for _ in 0..3 {
        let output = run("cancel_cleanup", arguments());
        assert_exit(&output, 0);
        let lines: Vec<&str> = out(&output).lines().collect();
        assert_eq!(lines[0], format!("beginning at step {before}"));
        let text = fs::read_to_string(&state).unwrap();
        let steps: u64 = text.trim().parse().unwrap();
        assert!(steps >= before);
        assert_eq!(lines[1], format!("canceled at step {steps}"));
        assert_eq!(lines[2], "without a shield nothing is written any more");
        assert!(lines[3].starts_with(&format!("under a shield it is: step {steps} ")));
        assert_eq!(lines[4], "the task has ended: the time is over");
        before = steps;
    }
    // It cannot continue from this, and reports an error.
    fs::write(&state, "words").unwrap();
    let output = run("cancel_cleanup", arguments());
    assert_exit(&output, 1);
    assert!(err(&output).contains("invalid digit"), "{}", err(&output));
    assert_eq!(fs::read_to_string(&state).unwrap(), "words");
    // Nor can it write there.
    let nowhere = directory.path().join("no directory").join("state");
    let output = run("cancel_cleanup", [nowhere.as_os_str(), "200".as_ref()]);
    assert_exit(&output, 1);
    assert!(out(&output).contains("canceled at step"));
    assert_exit(
        &run("cancel_cleanup", [state.as_os_str(), "soon".as_ref()]),
        2,
    );
}

/// Parses the line of a client: by how many microseconds the server's clock is ahead, and the round trip time.
fn times(line: &str) -> (f64, f64) {
    let line = line.strip_prefix("the clock there is ").unwrap();
    let (ahead, line) = line.split_once(" µs ahead, there and back takes ").unwrap();
    let way = line.strip_suffix(" µs").unwrap();
    (ahead.parse().unwrap(), way.parse().unwrap())
}

#[test]
fn udp_time_shows_that_one_machine_has_one_clock() {
    let output = run("udp_time", [""; 0]);
    assert_exit(&output, 0);
    let lines: Vec<&str> = out(&output).lines().collect();
    let [first, middle @ .., last] = &lines[..] else {
        panic!("{lines:?}")
    };
    assert!(first.starts_with("serving on 127.0.0.1:"), "{lines:?}");
    assert_eq!((middle.len(), *last), (3, "answered 3"));
    for line in middle {
        // To within half of the round trip.
        let (ahead, way) = times(line);
        assert!(way >= 0.0 && ahead.abs() <= way / 2.0 + 0.2, "{line}");
    }
}

#[test]
fn udp_time_answers_clients_until_ctrl_c() {
    for address in ["127.0.0.1:0", "[::1]:0", "localhost:0"] {
        if address.starts_with('[') && UdpSocket::bind(address).is_err() {
            common::skip!("there is no IPv6 on loopback here");
            continue;
        }
        let mut server = example("udp_time")
            .arg(address)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(server.stdout.take().unwrap()).lines();
        let line = lines.next().unwrap().unwrap();
        let (_, line) = line.split_once("serving on ").unwrap();
        let (address, _) = line.split_once(", until Ctrl-C").unwrap();
        // It ignores packets that it does not understand.
        let stranger = UdpSocket::bind(if address.starts_with('[') {
            "[::1]:0"
        } else {
            "127.0.0.1:0"
        })
        .unwrap();
        for junk in [&b""[..], b"time?", b"time?123456789", &[b't'; 1000]] {
            stranger.send_to(junk, address).unwrap();
        }
        for _ in 0..3 {
            let output = run("udp_time", ["--ask", address]);
            assert_exit(&output, 0);
            times(out(&output).trim_end());
        }
        interrupt(&server);
        assert_eq!(lines.next().unwrap().unwrap(), "answered 3");
        assert!(server.wait().unwrap().success());
    }
}

#[test]
fn udp_time_explains_invalid_addresses() {
    for bad in ["nonsense", "127.0.0.1:99999", "::1:80", "127.0.0.1"] {
        for arguments in [&[bad][..], &["--ask", bad]] {
            let output = run("udp_time", arguments);
            assert_exit(&output, 2);
            assert!(
                err(&output).contains(&format!("{bad:?}")),
                "{}",
                err(&output)
            );
        }
    }
    for arguments in [&["--ask"][..], &["-h"], &["127.0.0.1:0", "127.0.0.1:0"]] {
        assert_exit(&run("udp_time", arguments), 2);
    }
    let taken = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let output = run("udp_time", [&address]);
    assert_exit(&output, 1);
    assert!(err(&output).contains(&address) && err(&output).contains("in use"));
    drop(taken);
    let output = run("udp_time", ["--ask", &address]);
    assert_exit(&output, 1);
    assert!(err(&output).contains(&address) && err(&output).contains("refused"));
}

#[test]
fn echo_demonstrates_itself() {
    let output = run("echo", [""; 0]);
    assert_exit(&output, 0);
    let lines: Vec<&str> = out(&output).lines().collect();
    assert!(lines[0].starts_with("listening on 127.0.0.1:"));
    assert_eq!(lines.len(), 6);
    for (n, line) in lines[1..5].iter().enumerate() {
        assert!(line.starts_with(&format!("client {n}: ")) && line.ends_with("as they were sent"));
    }
    assert_eq!(lines[5], "served 4 connections: 0 failed, 0 were cut short");
}

#[test]
fn echo_serves_until_it_is_interrupted_and_ends_in_order() {
    use std::io::{BufRead, BufReader};
    use std::net::TcpStream;

    let mut echo = example("echo")
        .arg("127.0.0.1:0")
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = BufReader::new(echo.stdout.take().unwrap()).lines();
    let mut next_line = || said.next().unwrap().unwrap();
    let address = next_line().split_off("listening on ".len());
    let talk = |client: &mut TcpStream, text: &str| {
        client.write_all(text.as_bytes()).unwrap();
        let mut answer = vec![0; text.len()];
        client.read_exact(&mut answer).unwrap();
        assert_eq!(answer, text.as_bytes());
    };
    let mut first = TcpStream::connect(&address).unwrap();
    let mut idle = TcpStream::connect(&address).unwrap();
    talk(&mut first, "one");
    talk(&mut idle, "two");
    interrupt(&echo);
    assert_eq!(next_line(), "stopping");
    // A connection continues until it is closed or the drain time has passed.
    talk(&mut first, "three");
    drop(first);
    assert_eq!(idle.read(&mut [0; 1]).unwrap(), 0);
    assert_eq!(
        next_line(),
        "served 2 connections: 0 failed, 1 were cut short"
    );
    assert!(echo.wait().unwrap().success());
    // The port is free at once.
    std::net::TcpListener::bind(&address).unwrap();
}

#[test]
fn echo_explains_invalid_addresses() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = taken.local_addr().map(|addr| (taken, addr)).unwrap();
    for (address, why) in [
        (taken.1.to_string(), "Address already in use"),
        ("127.0.0.1".to_owned(), "it has no port"),
        ("127.0.0.1:port".to_owned(), "its port is no number"),
        (
            "192.0.2.1:7777".to_owned(),
            "Cannot assign requested address",
        ),
    ] {
        let output = run("echo", [&address]);
        assert_exit(&output, 1);
        assert!(err(&output).starts_with("echo: "), "{}", err(&output));
        assert!(
            err(&output).contains(&address) && err(&output).contains(why),
            "{}",
            err(&output)
        );
        assert_eq!(out(&output), "");
    }
    let output = run("echo", ["127.0.0.1:0", "127.0.0.1:0"]);
    assert_exit(&output, 2);
    assert!(err(&output).contains("ADDRESS"), "{}", err(&output));
}

#[test]
fn pipe_reports_a_failed_write() {
    let full = File::options().write(true).open("/dev/full").unwrap();
    let output = example("pipe")
        .arg("Cargo.toml")
        .stdout(full)
        .output()
        .unwrap();
    assert_exit(&output, 1);
    let expected = "pipe: writing to standard output: No space left on device";
    assert!(err(&output).starts_with(expected), "{}", err(&output));
}

#[test]
fn pipe_counts_lines_and_bytes() {
    let directory = directory();
    let (text, binary) = (directory.path().join("text"), directory.path().join("bin"));
    fs::write(&text, "one\ntwo\r\n\nno end").unwrap();
    let bytes = content(3_000_000);
    fs::write(&binary, &bytes).unwrap();
    let lines = bytes.iter().filter(|byte| **byte == b'\n').count();
    let output = run("pipe", [&text, &binary]);
    assert_exit(&output, 0);
    let expected = format!(
        "3 16 {}\n{lines} 3000000 {}\n{} 3000016 total\n",
        text.display(),
        binary.display(),
        lines + 3
    );
    assert_eq!(out(&output), expected);
    let output = example("pipe")
        .stdin(File::open(&text).unwrap())
        .output()
        .unwrap();
    assert_exit(&output, 0);
    assert_eq!(out(&output), "3 16 -\n");
    // This file reports a size of zero.
    let output = run("pipe", ["/proc/filesystems"]);
    assert_exit(&output, 0);
    let expected = fs::read("/proc/filesystems").unwrap().len();
    assert!(out(&output).contains(&format!(" {expected} /proc")));
}

#[test]
fn pipe_names_what_it_cannot_read_and_counts_the_rest() {
    let directory = directory();
    let good = directory.path().join("good");
    fs::write(&good, "good\n").unwrap();
    let missing = directory.path().join("missing");
    let output = run("pipe", [&missing, directory.path(), &good]);
    assert_exit(&output, 1);
    let expected = format!("1 5 {}\n1 5 total\n", good.display());
    assert_eq!(out(&output), expected);
    let complaints: Vec<&str> = err(&output).lines().collect();
    assert_eq!(complaints.len(), 2, "{complaints:?}");
    assert!(complaints[0].contains("missing: No such file"));
    assert!(complaints[1].contains("Is a directory"), "{complaints:?}");
    assert!(complaints[1].contains(&*directory.path().to_string_lossy()));
}

#[test]
fn ctrl_c_ends_an_example_with_130() {
    let directory = directory();
    // It never completes, since nobody opens the other end.
    let waits = directory.path().join("fifo");
    fifo(&waits);
    let _writer = File::options().read(true).write(true).open(&waits).unwrap();
    // Takes minutes to read.
    let long = directory.path().join("long");
    File::create(&long).unwrap().set_len(1 << 40).unwrap();
    for (name, arguments) in [
        ("cat", [waits.as_os_str()]),
        ("pipe", [waits.as_os_str()]),
        ("readall", [long.as_os_str()]),
        ("sleep_sort", ["600000".as_ref()]),
        ("task_group", [waits.as_os_str()]),
        ("timeout", ["1000000".as_ref()]),
    ] {
        let mut command = example(name);
        command.args(arguments);
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let child = command.spawn().unwrap();
        wait_for_handler(&child);
        interrupt(&child);
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(130), "{name}: {output:?}");
        assert_eq!(err(&output), "", "{name}");
    }
}

#[test]
fn cancel_cleanup_saves_its_state_even_after_ctrl_c() {
    let directory = directory();
    let state = directory.path().join("state");
    let mut command = example("cancel_cleanup");
    command.args([state.as_os_str(), "600000".as_ref()]);
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert_eq!(lines.next().unwrap().unwrap(), "beginning at step 0");
    interrupt(&child);
    let rest: Vec<String> = lines.map(Result::unwrap).collect();
    assert_eq!(child.wait().unwrap().code(), Some(130), "{rest:?}");
    let steps = fs::read_to_string(&state).unwrap();
    assert_eq!(rest[0], format!("canceled at step {}", steps.trim()));
}
