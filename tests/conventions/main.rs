//! The conventions of the code, as tests. Each rule is also broken once, on purpose, to show that it detects a
//! violation.

#![expect(
    clippy::unwrap_used,
    reason = "a test fails if it cannot read a source"
)]

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

/// Each module of `src/`, its level, and for the lowest levels what it may import. A module imports only from lower
/// levels.
const MODULES: [(&str, u32, Option<&[&str]>); 20] = [
    ("threading", 0, Some(&[])),
    ("sys", 0, Some(&["threading"])),
    ("table", 0, Some(&[])),
    ("error", 0, Some(&[])),
    ("wait_queue", 1, Some(&[])),
    ("buf", 1, Some(&["error", "sys"])),
    ("timer", 1, Some(&["table"])),
    ("scope", 1, Some(&["table"])),
    ("tasks", 1, Some(&["table", "threading"])),
    ("driver", 2, Some(&["sys", "table"])),
    ("runtime", 3, None),
    ("op", 4, None),
    ("cancel", 4, None),
    ("time", 5, None),
    ("concurrent", 5, None),
    ("group", 6, None),
    ("io", 7, None),
    ("fs", 8, None),
    ("net", 8, None),
    ("signal", 8, None),
];

/// The only files that may contain `unsafe`: the kernel interface, lent memory, the four waker functions, and the
/// storage of groups.
const UNSAFE_FILES: &[&str] = &[
    "src/sys/provided.rs",
    "src/sys/direct.rs",
    "src/sys/os/clock.rs",
    "src/sys/os/eventfd.rs",
    "src/sys/os/fd.rs",
    "src/sys/os/fork.rs",
    "src/sys/os/interface.rs",
    "src/sys/os/limits.rs",
    "src/sys/ring/kernel/mod.rs",
    "src/sys/os/path.rs",
    "src/sys/os/peer_cred.rs",
    "src/sys/os/prefetch.rs",
    "src/sys/ring/kernel/registration.rs",
    "src/sys/ring/kernel/setup.rs",
    "src/sys/ring/kernel/sqe.rs",
    "src/sys/os/signal.rs",
    "src/sys/os/sockopt.rs",
    "src/buf/aligned.rs",
    "src/buf/io_buf.rs",
    "src/buf/io_bufs.rs",
    "src/buf/lend.rs",
    "src/buf/slice.rs",
    "src/tasks/waker.rs",
    "src/error/ask.rs",
    "src/group/child_set.rs",
    "src/group/child.rs",
    "src/group/nursery.rs",
    "src/group/child_cell.rs",
    "src/op/future/owned_op.rs",
    "src/op/datagram/header.rs",
    "src/op/datagram/recv_message.rs",
    "src/op/file/open.rs",
    "src/op/file/read_write.rs",
    "src/op/socket/accept.rs",
    "src/op/stream/chunk.rs",
    "src/op/stream/fds.rs",
    "src/op/stream/recv.rs",
    "src/op/stream/recv_multishot.rs",
];

/// The only other uses of the word: the declarations of the contracts of operations and buffers, and the operations
/// that implement theirs.
const UNSAFE_WORDS: [(&str, &str); 3] = [
    ("src/op/", " Operation for "),
    ("src/op/operation.rs", "pub unsafe trait Operation"),
    ("src/buf/mod.rs", "unsafe"),
];

/// Modules that only decide. They must forbid `unsafe`.
const PURE_FILES: [&str; 7] = [
    "src/table/mod.rs",
    "src/timer/mod.rs",
    "src/scope/mod.rs",
    "src/driver/mod.rs",
    "src/tasks/rows.rs",
    "src/tasks/state.rs",
    "src/wait_queue.rs",
];

/// Identifiers that were renamed, or that would be a second word for something that has a name. The glossary in
/// ARCHITECTURE.md has the terms to use.
const RENAMED: &[&str] = &[
    // Internal.
    "brood",
    "Brood",
    "stow",
    "Stowed",
    "Alias",
    "insert_name",
    "Pulse",
    "Told",
    "told",
    "tell",
    "Rank",
    "charges",
    "Aside",
    "set_aside",
    "put_back",
    "standing",
    "stand_down",
    "cutoff",
    "must_end",
    "may_pass",
    "Pass",
    "Gate",
    "gate",
    "Spot",
    "spot",
    "arrival",
    "try_first",
    "Together",
    "is_alone",
    "Again",
    "young",
    "grow_older",
    "life",
    "Life",
    "Landed",
    "Abandoned",
    "Asks",
    "Owners",
    "lend_owners",
    "Lent",
    "several",
    "Bell",
    "seat",
    "Seat",
    "has_mail",
    "fall_asleep",
    "region",
    "Region",
    "receiving",
    "Collects",
    "spill",
    "hurry",
    "serial",
    "ChildTurn",
    "Seen",
    "How",
    "Stop",
    "explain",
    "at_path",
    "fail_at_once",
    "ObjectOp",
    "Gated",
    "RecvMany",
    "NotHanded",
    "enter_ring",
    "leave_ring",
    "start_otherwise",
    // Public.
    "InScope",
    "was_caught",
    "RunAny",
    "drain_within",
    "echoes",
    "Mask",
    "ALWAYS",
    "start_again",
    "proves_nothing_happened",
    "Prepared",
    "Timed",
    "errors_into",
    "cancellable",
    "Cancellable",
];

struct Source {
    path: String,
    text: String,
}

impl Source {
    /// The lines of code with their numbers, without comments and tests.
    fn code(&self) -> impl Iterator<Item = (usize, &str)> {
        let is_test = self.path.ends_with("tests.rs") || self.path.ends_with("models.rs");
        self.text
            .lines()
            .enumerate()
            .take_while(move |(_, line)| !is_test && !line.starts_with("mod tests"))
            .filter(|(_, line)| !line.trim_start().starts_with("//"))
            .map(|(number, line)| (number + 1, line))
    }

    fn module(&self) -> &str {
        let inner = self.path.strip_prefix("src/").unwrap_or(&self.path);
        let name = inner.split('/').next().unwrap_or(inner);
        name.strip_suffix(".rs").unwrap_or(name)
    }

    fn lines(&self) -> Vec<&str> {
        self.text.lines().collect()
    }
}

/// Whether the line contains the word, not just as a part of another word.
fn has_word(line: &str, word: &str) -> bool {
    line.match_indices(word).any(|(at, _)| {
        let part = |c: char| c.is_alphanumeric() || c == '_';
        !line[..at].ends_with(part) && !line[at + word.len()..].starts_with(part)
    })
}

fn imports_point_down(source: &Source, faults: &mut Vec<String>) {
    let level = |name: &str| MODULES.iter().find(|(module, ..)| *module == name);
    let own = source.module();
    if own == "lib" {
        return;
    }
    let Some((_, own_level, allowed)) = level(own) else {
        faults.push(format!(
            "{}: module {own} has no level: give it one",
            source.path
        ));
        return;
    };
    for (number, line) in source.code() {
        for (at, _) in line.match_indices("crate::") {
            let name: String = line[at + "crate::".len()..]
                .chars()
                .take_while(|c| c.is_alphanumeric() || *c == '_')
                .collect();
            if name == own {
                continue;
            }
            let down = match (level(&name), allowed) {
                (Some(_), Some(allowed)) => allowed.contains(&name.as_str()),
                (Some((_, level, _)), None) => level < own_level,
                (None, _) => false,
            };
            if !down {
                faults.push(format!(
                    "{}:{number}: {own} must not import {name}",
                    source.path
                ));
            }
        }
    }
}

fn files_start_with_a_comment(source: &Source, faults: &mut Vec<String>) {
    if !source.text.starts_with("//! ") {
        faults.push(format!("{}:1: no //! comment at the top", source.path));
    }
}

fn unsafe_is_where_it_may_be(source: &Source, faults: &mut Vec<String>) {
    let path = source.path.as_str();
    for (number, line) in source.code() {
        let excepted = |(at, words): &(&str, &str)| path.starts_with(at) && line.contains(words);
        if has_word(line, "unsafe")
            && !UNSAFE_FILES.contains(&path)
            && !UNSAFE_WORDS.iter().any(excepted)
        {
            faults.push(format!(
                "{path}:{number}: unsafe is not allowed in this file"
            ));
        }
    }
    if PURE_FILES.contains(&path) && !source.text.contains("#![forbid(unsafe_code)]") {
        faults.push(format!("{path}: a pure module must forbid unsafe code"));
    }
}

/// Each `unsafe {` and `unsafe impl` has a `// SAFETY:` right above it.
fn unsafe_is_explained(source: &Source, faults: &mut Vec<String>) {
    let lines = source.lines();
    for (number, line) in source.code() {
        if !(line.contains("unsafe {") || line.contains("unsafe impl")) {
            continue;
        }
        // Up over the lines of the same statement, then over the comment.
        let above = lines[..number - 1].iter().rev().map(|line| line.trim());
        let explained = above
            .take_while(|line| !line.is_empty() && !line.ends_with('}'))
            .take(24)
            .any(|line| line.starts_with("// SAFETY:"));
        if !explained {
            faults.push(format!("{}:{number}: unsafe without SAFETY", source.path));
        }
    }
}

fn no_shortcuts(source: &Source, faults: &mut Vec<String>) {
    for (number, line) in source.code() {
        for word in [
            ".unwrap()",
            "todo!(",
            "unimplemented!(",
            "dbg!(",
            "println!(",
            "eprintln!(",
            "process::exit(",
        ] {
            if line.contains(word) {
                faults.push(format!("{}:{number}: {word}", source.path));
            }
        }
    }
}

/// All deadlines use the clock of the port.
fn one_clock(source: &Source, faults: &mut Vec<String>) {
    for (number, line) in source.code() {
        if line.contains("std::time::") && has_word(line, "Instant") {
            faults.push(format!("{}:{number}: std's Instant", source.path));
        }
    }
}

/// A doc comment with a section on cancel safety is followed by a comment that names the test that proves it, and that
/// file exists. Each public function that is async or returns an operation has such a section. The docs, which are for
/// users, name no test.
fn cancel_safety_is_tested(source: &Source, faults: &mut Vec<String>) {
    let lines: Vec<&str> = source.text.lines().map(str::trim_start).collect();
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let is_doc = |line: &&&str| line.starts_with("///");
    let mut fault = |number: usize, what: &str| {
        faults.push(format!("{}:{}: {what}", source.path, number + 1));
    };
    for (number, line) in lines.iter().enumerate() {
        if *line == "/// # Cancel safety" {
            let after_docs = lines[number..].iter().find(|line| !is_doc(line));
            let test = after_docs.and_then(|line| line.strip_prefix("// Test: "));
            if !test.is_some_and(|test| test.starts_with("tests/") && root.join(test).is_file()) {
                fault(number, "cancel safety without a test");
            }
        }
        if is_doc(&line) && line.contains("tests/") {
            fault(number, "docs that name a test");
        }
        let last = lines[number..]
            .iter()
            .position(|line| line.ends_with(['{', '}', ';']));
        let signature = &lines[number..][..=last.unwrap_or_default()];
        // Except for the methods of `Op`, such as `submit`.
        let returns_op = |line: &&str| line.contains("-> Op<") && !line.contains("-> Op<O>");
        if line.starts_with("pub async fn")
            || line.starts_with("pub fn") && signature.iter().any(returns_op)
        {
            let above = lines[..number].iter().rev();
            let documented = above
                .take_while(|line| line.starts_with("//") || line.starts_with("#["))
                .any(|line| *line == "/// # Cancel safety");
            if !documented {
                fault(number, "an async function without # Cancel safety");
            }
        }
    }
}

/// Docs that refer to the function with the example, for a type that is only a function's future, argument or
/// operation.
const EXAMPLE_ELSEWHERE: [&str; 3] = [
    "/// The future of [`",
    "/// The argument of [`",
    "/// The operation of [`",
];

/// Public items that users cannot name, or that are hidden where they are exported.
const NOT_FOR_USERS: [(&str, &str); 16] = [
    ("src/net/fuzzing.rs", "pub fn"),
    ("src/error/probe.rs", "pub "),
    ("src/concurrent/branches.rs", "pub "),
    ("src/concurrent/race.rs", "pub struct Racer"),
    ("src/concurrent/try_join.rs", "pub struct Failed"),
    ("src/tasks/cell.rs", "pub enum TaskCell"),
    ("src/op/datagram/message.rs", "pub struct Message"),
    ("src/op/file/offset.rs", "pub struct AtCursor"),
    ("src/op/stream/splice.rs", "pub struct Outlet"),
    ("src/io/dyn_io.rs", "pub trait AnyBuf"),
    ("src/buf/lend.rs", "pub "),
    ("src/op/datagram/header.rs", "pub "),
    ("src/op/datagram/with_fds.rs", "pub struct WithFds"),
    ("src/op/file/read_write.rs", "pub struct File"),
    ("src/op/stream/recv.rs", "pub struct StreamRecv"),
    ("src/op/stream/send.rs", "pub struct StreamSend"),
];

/// Each public type, each public free function, and each item with a section on cancel safety (that is, everything that
/// can be awaited) has a runnable example. The lint `unreachable_pub` ensures that `pub` means public.
fn users_get_examples(source: &Source, faults: &mut Vec<String>) {
    let lines = source.lines();
    let is_doc = |line: &str| line.trim_start().starts_with("///");
    let mut end = 0;
    while let Some(skipped) = lines[end..].iter().position(|line| is_doc(line)) {
        let start = end + skipped;
        let len = lines[start..]
            .iter()
            .take_while(|line| is_doc(line))
            .count();
        end = start + len;
        let docs = || lines[start..end].iter().map(|line| line.trim_start());
        // The item, which follows attributes and comments.
        let mut below = lines[end..].iter().take_while(|line| !line.is_empty());
        let item = below.find(|line| line.contains("pub ")).copied();
        let item = item.unwrap_or_default();
        let is_hidden = lines
            .get(end)
            .is_some_and(|line| line.trim_start() == "#[doc(hidden)]");
        let is_excepted = is_hidden
            || NOT_FOR_USERS
                .iter()
                .any(|(path, start)| *path == source.path && item.trim_start().starts_with(start));
        let is_type = ["struct", "enum", "union", "trait", "unsafe trait", "type"]
            .iter()
            .any(|kind| item.trim_start().starts_with(&format!("pub {kind} ")));
        let is_function = ["pub fn ", "pub const fn ", "pub unsafe fn "]
            .iter()
            .any(|function| item.starts_with(function));
        let is_awaited = docs().any(|line| line == "/// # Cancel safety");
        let is_elsewhere = EXAMPLE_ELSEWHERE
            .iter()
            .any(|first| lines[start].trim_start().starts_with(first));
        let needs_example = is_awaited || is_function || is_type && !is_elsewhere;
        // A bare fence opens a runnable example, or closes any block.
        let mut fences = docs().filter_map(|line| line.strip_prefix("/// ```"));
        let mut opened = std::iter::from_fn(|| {
            let opens = fences.next();
            fences.next();
            opens
        });
        if needs_example && !is_excepted && !opened.any(str::is_empty) {
            faults.push(format!("{}:{}: no example", source.path, start + 1));
        }
    }
}

/// Neither British spellings of "canceled" nor stilted phrases, in code, comments and Markdown. asyncio has a
/// `CancelledError`, and a `doc(alias)` helps those who search for the other spelling.
fn words_are_plain(source: &Source, faults: &mut Vec<String>) {
    const AVOIDED: [&str; 5] = [
        "cancelled",
        "cancelling",
        "cancellable",
        "whoever",
        "so many",
    ];
    for (number, line) in source.text.lines().enumerate() {
        if line.contains("#[doc(alias") {
            continue;
        }
        let text = line.replace("CancelledError", "").to_lowercase();
        for word in AVOIDED {
            // Identifiers contain words, but "also many" is not "so many".
            let found = match word.contains(' ') {
                true => has_word(&text, word),
                false => text.contains(word),
            };
            if found {
                faults.push(format!("{}:{}: {word}", source.path, number + 1));
            }
        }
    }
}

/// Each file with a queue stands in the table of bounds.
fn queues_are_bounded(source: &Source, faults: &mut Vec<String>) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let text = fs::read_to_string(root.join("ARCHITECTURE.md")).unwrap();
    let bounds = text.split("\n## ").find(|part| part.starts_with("Bounds"));
    let path = source.path.strip_prefix("src/").unwrap_or(&source.path);
    let is_listed = bounds.unwrap().contains(&format!("`{path}`"));
    for (number, line) in source.code() {
        let is_field = line.starts_with("    ") && line.ends_with(',') && line.contains(": ");
        let is_queue = ["VecDeque<", "WaitQueue<", "BinaryHeap<"]
            .iter()
            .any(|queue| line.contains(queue));
        if is_field && is_queue && !is_listed {
            faults.push(format!(
                "{}:{number}: a queue that is not in the table of bounds",
                source.path
            ));
        }
    }
}

fn names_are_current(source: &Source, faults: &mut Vec<String>) {
    for (number, line) in source.code() {
        // Strings are prose.
        let code = line.split('"').step_by(2);
        for part in code {
            for name in RENAMED.iter().filter(|name| has_word(part, name)) {
                faults.push(format!("{}:{number}: {name} has a new name", source.path));
            }
        }
    }
}

/// The names of the types and traits that the code declares, with the numbers of the lines. Of type aliases, only those
/// of modules: an associated type has the name that its trait gives it.
fn declared(source: &Source) -> impl Iterator<Item = (usize, &str)> {
    source.code().filter_map(|(number, line)| {
        let inner = line.trim_start();
        let item = match inner.strip_prefix("pub(") {
            Some(rest) => rest.split_once(") ")?.1,
            None => inner.strip_prefix("pub ").unwrap_or(inner),
        };
        let item = item.strip_prefix("unsafe ").unwrap_or(item);
        let (kind, rest) = item.split_once(' ')?;
        let declares = match kind {
            "struct" | "enum" | "trait" | "union" => true,
            "type" => inner.len() == line.len(),
            _ => false,
        };
        let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_');
        let name = &rest[..end.unwrap_or(rest.len())];
        // In a macro, the name may be an argument.
        (declares && !name.is_empty()).then_some((number, name))
    })
}

/// No type or trait has the name of another: a reader who searches for it finds one. There is no exception so far; public
/// names that std or tokio have in several modules, such as `Sender`, would be one.
fn names_are_unique(source: &Source, faults: &mut Vec<String>) {
    static DECLARED: OnceLock<HashMap<String, Vec<String>>> = OnceLock::new();
    let everywhere = DECLARED.get_or_init(|| {
        let mut everywhere = HashMap::<_, Vec<_>>::new();
        for source in sources("src") {
            for (_, name) in declared(&source) {
                let paths = everywhere.entry(name.to_owned()).or_default();
                paths.push(source.path.clone());
            }
        }
        everywhere
    });
    for (number, name) in declared(source) {
        let mut paths = everywhere.get(name).into_iter().flatten();
        if let Some(other) = paths.find(|path| **path != source.path) {
            faults.push(format!(
                "{}:{number}: {name} is also declared in {other}",
                source.path
            ));
        }
    }
}

/// A file that a comment or a page names in backticks exists, relative to the root, to `src/`, or to its own folder:
/// except for the program that a reader of the README writes.
fn named_files_exist(source: &Source, faults: &mut Vec<String>) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let own = root.join(&source.path);
    let own_folder = own.parent().unwrap_or(root);
    let is_page = source.path.ends_with(".md");
    for (number, line) in source.text.lines().enumerate() {
        if !is_page && !line.trim_start().starts_with("//") {
            continue;
        }
        for name in line.split('`').skip(1).step_by(2) {
            let is_path = |c: char| c.is_ascii_alphanumeric() || "_/.-".contains(c);
            let is_file = [".rs", ".md", ".txt"].iter().any(|end| name.ends_with(end))
                && name != "src/main.rs";
            let places = [root, &root.join("src"), own_folder];
            if is_file
                && name.chars().all(is_path)
                && !places.iter().any(|at| at.join(name).exists())
            {
                faults.push(format!("{}:{}: no file {name}", source.path, number + 1));
            }
        }
    }
}

type Rule = fn(&Source, &mut Vec<String>);

const RULES: [Rule; 11] = [
    imports_point_down,
    files_start_with_a_comment,
    unsafe_is_where_it_may_be,
    unsafe_is_explained,
    no_shortcuts,
    one_clock,
    cancel_safety_is_tested,
    users_get_examples,
    names_are_current,
    queues_are_bounded,
    names_are_unique,
];

fn sources(folder: &str) -> Vec<Source> {
    files(folder, "rs")
}

/// The files below a folder with this extension.
fn files(folder: &str, extension: &str) -> Vec<Source> {
    fn walk(folder: &Path, extension: &str, found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap();
            if path.is_dir() && name != "target" && name != ".git" {
                walk(&path, extension, found);
            } else if path.extension().is_some_and(|found| found == extension) {
                found.push(path);
            }
        }
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut found = Vec::new();
    walk(&root.join(folder), extension, &mut found);
    found.sort();
    found
        .into_iter()
        .map(|path| Source {
            text: fs::read_to_string(&path).unwrap(),
            path: path.strip_prefix(root).unwrap().display().to_string(),
        })
        .collect()
}

#[test]
fn the_sources_follow_the_conventions() {
    let sources = sources("src");
    assert!(sources.len() > 40, "only {} files found", sources.len());
    let mut faults = Vec::new();
    for source in &sources {
        for rule in RULES {
            rule(source, &mut faults);
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    for listed in UNSAFE_FILES.iter().chain(&PURE_FILES) {
        assert!(
            sources.iter().any(|source| source.path == *listed),
            "{listed} is listed but does not exist"
        );
    }
    for (path, item) in NOT_FOR_USERS {
        assert!(
            sources
                .iter()
                .any(|source| source.path == path && source.text.contains(item)),
            "{path} is listed for {item}, which is not there"
        );
    }
}

#[test]
fn the_words_are_plain_and_name_files_that_exist() {
    let folders = ["src", "tests", "examples", "benches"].map(sources);
    let sources = folders.into_iter().flatten().chain(files("", "md"));
    let mut faults = Vec::new();
    // This file names the words.
    for source in sources.filter(|source| source.path != "tests/conventions/main.rs") {
        words_are_plain(&source, &mut faults);
        named_files_exist(&source, &mut faults);
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

/// The table of layers in ARCHITECTURE.md is the list above.
#[test]
fn the_layers_are_the_documented_ones() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let text = fs::read_to_string(root.join("ARCHITECTURE.md")).unwrap();
    let layers = text.split("\n## ").find(|part| part.starts_with("Layers"));
    let mut documented = Vec::new();
    for row in layers.unwrap().lines() {
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        if let [_, level, modules, _, uses, _] = cells[..]
            && let Ok(level) = level.parse::<u32>()
        {
            let quoted = |cell: &str| {
                let names = cell.split('`').skip(1).step_by(2);
                names.map(str::to_owned).collect::<Vec<_>>()
            };
            let uses = (uses != "all lower levels").then(|| quoted(uses));
            let modules = quoted(modules);
            documented.extend(modules.into_iter().map(|name| (name, level, uses.clone())));
        }
    }
    let expected = MODULES.map(|(name, level, uses)| {
        let uses = uses.map(|uses| uses.iter().map(|name| (*name).to_owned()).collect());
        (name.to_owned(), level, uses)
    });
    assert_eq!(documented, expected);
}

/// The largest modules have an overview: what they consist of is at most a dozen folders and files.
#[test]
fn the_large_modules_have_few_entries() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for module in ["src/op", "src/runtime"] {
        let entries = fs::read_dir(root.join(module)).unwrap().count();
        assert!(entries <= 12, "{module} has {entries} entries at its top");
    }
}

/// The harness captures a printed skip, which then looks like a pass.
#[test]
fn tests_skip_only_by_the_macro() {
    let printed: Vec<_> = sources("tests")
        .iter()
        .flat_map(|source| {
            let is_skip =
                |line: &str| line.contains("print") && line.to_lowercase().contains("(\"skip");
            let lines = source.code().filter(move |(_, line)| is_skip(line));
            lines.map(|(number, _)| format!("{}:{number}", source.path))
        })
        .collect();
    assert!(printed.is_empty(), "skipped without skip!: {printed:?}");
}

#[test]
fn a_broken_rule_is_noticed() {
    let broken: [(Rule, &str, &str); 28] = [
        (
            named_files_exist,
            "CHANGELOG.md",
            "See `tests/of_nothing.rs`, and `lib.rs`.",
        ),
        (
            named_files_exist,
            "src/op/mod.rs",
            "// As in `file/fsync.rs` and `file/nothing.rs`.\nlet name = \"`nothing.rs`\";",
        ),
        (
            users_get_examples,
            "src/fs/file.rs",
            "/// An open file.\n#[derive(Debug)]\npub struct File {}\n",
        ),
        (
            users_get_examples,
            "src/time/timeout.rs",
            "/// Limits a future.\n///\n/// ```text\n/// a drawing\n/// ```\npub fn timeout() {}\n",
        ),
        (
            users_get_examples,
            "src/fs/file.rs",
            "    /// Reads.\n    ///\n    /// # Cancel safety\n    pub async fn read() {}\n",
        ),
        (
            users_get_examples,
            "src/op/file/fsync.rs",
            "/// The operation of [`sync_all`].\npub struct Fsync;\n\n/// Flushes.\npub struct Flush;\n",
        ),
        (
            queues_are_bounded,
            "src/op/nop.rs",
            "struct Requests {\n    waiting: VecDeque<u64>,\n}",
        ),
        (
            names_are_unique,
            "src/op/nop.rs",
            "struct Nop;\n\npub(crate) unsafe trait Payload<T> {}\n\n    type Chunk = ();\n",
        ),
        (
            names_are_current,
            "src/group/group.rs",
            "let brood = 1; let text = \"told\";",
        ),
        (
            imports_point_down,
            "src/driver/mod.rs",
            "use crate::runtime::Core;",
        ),
        (
            imports_point_down,
            "src/timer/mod.rs",
            "use crate::tasks::Name;",
        ),
        (imports_point_down, "src/attic.rs", "use crate::table::Key;"),
        (files_start_with_a_comment, "src/op/nop.rs", "use std::io;"),
        (
            unsafe_is_where_it_may_be,
            "src/runtime/turn/mod.rs",
            "let x = unsafe { *p };",
        ),
        (
            unsafe_is_where_it_may_be,
            "src/op/nop.rs",
            "unsafe impl Send for Nop {}",
        ),
        (unsafe_is_where_it_may_be, "src/table/mod.rs", "//! rows\n"),
        (
            unsafe_is_explained,
            "src/sys/os/fd.rs",
            "// SAFETY: of the other\nunsafe { a() };\n\nunsafe { b() };",
        ),
        (no_shortcuts, "src/op/nop.rs", "let n = x.unwrap();"),
        (one_clock, "src/time/sleep.rs", "use std::time::Instant;"),
        (
            cancel_safety_is_tested,
            "src/fs/file.rs",
            "/// # Cancel safety\n///\n/// Loses nothing.\n// Test: tests/of_nothing.rs\n",
        ),
        (
            cancel_safety_is_tested,
            "src/fs/file.rs",
            "/// # Cancel safety\n///\n/// Loses nothing.\npub fn read() {}\n",
        ),
        (
            cancel_safety_is_tested,
            "src/fs/file.rs",
            "/// Loses nothing (`tests/operations/lifecycle.rs`).\n",
        ),
        (
            cancel_safety_is_tested,
            "src/fs/file.rs",
            "/// Reads.\npub async fn read() {}\n",
        ),
        (
            cancel_safety_is_tested,
            "src/fs/file.rs",
            "/// Reads.\npub fn read(\n    &self,\n) -> Op<Read> {\n",
        ),
        (
            words_are_plain,
            "tests/tasks/main.rs",
            "fn it_is_cancelled() {}",
        ),
        (words_are_plain, "README.md", "Whoever waits is woken."),
        (
            words_are_plain,
            "src/lib.rs",
            "/// Also many, but not so many.",
        ),
        (
            words_are_plain,
            "src/op/nop.rs",
            "#[doc(alias = \"is_cancelled\")]\n// CancelledError, uncancellable\n",
        ),
    ];
    for (rule, path, text) in broken {
        let source = Source {
            path: path.to_owned(),
            text: text.to_owned(),
        };
        let mut faults = Vec::new();
        rule(&source, &mut faults);
        assert_eq!(faults.len(), 1, "{path}: {text:?} caused {faults:?}");
    }
}
