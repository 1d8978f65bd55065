//! The command line's arguments.

use std::ffi::OsString;
use std::path::PathBuf;

const USAGE: &str = "usage: readall PATH… [--tasks N] [--compare [--evict]]";
/// The default of `--tasks`.
const TASKS: usize = 64;
/// Each task has a file open, and the limits of most processes are far below this.
const TASKS_MAX: usize = 65536;

pub(crate) struct Request {
    pub(crate) roots: Vec<PathBuf>,
    pub(crate) tasks: usize,
    pub(crate) compare: bool,
    pub(crate) evict: bool,
}

impl Request {
    pub(crate) fn from_arguments(
        mut arguments: impl Iterator<Item = OsString>,
    ) -> Result<Request, String> {
        let mut request = Request {
            roots: Vec::new(),
            tasks: TASKS,
            compare: false,
            evict: false,
        };
        while let Some(argument) = arguments.next() {
            match argument.to_str() {
                Some("--compare") => request.compare = true,
                Some("--evict") => request.evict = true,
                Some("--tasks") => request.tasks = number(arguments.next())?,
                Some(option) if option.starts_with("--") => {
                    return Err(format!(
                        "there is no option {option}: write ./{option} if it is a path"
                    ));
                }
                _ => request.roots.push(argument.into()),
            }
        }
        if request.roots.is_empty() {
            return Err(USAGE.into());
        }
        if request.evict && !request.compare {
            return Err(format!("--evict needs --compare ({USAGE})"));
        }
        Ok(request)
    }
}

fn number(argument: Option<OsString>) -> Result<usize, String> {
    let Some(argument) = argument else {
        return Err("--tasks needs a number behind it".into());
    };
    let number = argument.to_str().and_then(|text| text.parse().ok());
    number
        .filter(|number| (1..=TASKS_MAX).contains(number))
        .ok_or_else(|| format!("--tasks takes a number from 1 to {TASKS_MAX}, not {argument:?}"))
}
