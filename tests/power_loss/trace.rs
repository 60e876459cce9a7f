//! What a process did to its files, read from strace.
//!
//! Owns the calls that matter, in the order they began and returned; two threads' calls overlap, and the trace says so.
//! Absent on purpose: what they mean for a disk, which is `replay.rs`.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

/// Every call by which a process can change a file, or learn that it is synced. One that is traced and not read by
/// [`operation`] fails the test where it touches a file of the store.
const TRACED: &str = "trace=openat,open,creat,close,dup,dup2,dup3,fcntl,lseek,write,writev,pwrite64,pwritev,pwritev2,\
    ftruncate,truncate,fallocate,copy_file_range,sendfile,fsync,fdatasync,ioctl,rename,renameat,renameat2,unlink,unlinkat,\
    rmdir,mkdir,mkdirat,link,linkat,symlink,symlinkat";

/// Longer than any write of a story.
const STRING_BYTES_MAX: &str = "16777216";

pub type Fd = i64;

/// A call that may change a disk, or says what is on it.
#[derive(Debug)]
pub enum Operation {
    Open {
        path: PathBuf,
        creates: bool,
        truncates: bool,
        appends: bool,
    },
    Close(Fd),
    Duplicate(Fd),
    Seek(Fd),
    /// At an offset, or where the file stands.
    Write(Fd, Option<u64>, Arc<[u8]>),
    Length(Fd, u64),
    Room(Fd, u64),
    Sync(Fd),
    WriteThrough(Fd),
    Rename(PathBuf, PathBuf),
    Remove(PathBuf),
    MakeDir(PathBuf),
    Nothing,
    /// None that is known: it must not touch what is watched.
    Other(String),
}

/// A call and what it answered; nothing if the process ended in it.
pub struct Call {
    pub operation: Operation,
    pub answer: Option<i64>,
}

/// A call begins, or has returned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    Begin(usize),
    End(usize),
}

/// Calls by number, and how they overlap. Calls that failed changed nothing and are left out.
pub struct Trace {
    pub calls: Vec<Call>,
    pub steps: Vec<Step>,
}

/// `command` as a traced one, whose trace goes to `file`.
pub fn traced(command: &Command, file: &Path) -> Command {
    let mut traced = Command::new("strace");
    traced.args(["-f", "-q", "-xx", "-s", STRING_BYTES_MAX, "-e", TRACED, "-e", "signal=none", "-o"]);
    traced.arg(file).arg(command.get_program()).args(command.get_args());
    for (name, value) in command.get_envs() {
        if let Some(value) = value {
            traced.env(name, value);
        }
    }
    traced
}

impl Trace {
    /// Whether a write at an offset returns in this step.
    pub fn ends_write(&self, step: Step) -> bool {
        let Step::End(number) = step else { return false };
        matches!(self.calls[number].operation, Operation::Write(_, Some(_), _))
    }

    /// The call of a step, cut short, for a message.
    pub fn told(&self, step: Step) -> String {
        let (when, number) = match step {
            Step::Begin(number) => ("beginning", number),
            Step::End(number) => ("after", number),
        };
        let call = format!("{:?}", self.calls[number].operation);
        format!("{when} {}", call.get(..160).unwrap_or(&call))
    }

    pub fn read(text: &str) -> Trace {
        let mut trace = Trace { calls: Vec::new(), steps: Vec::new() };
        let mut open: HashMap<&str, usize> = HashMap::new();
        for line in text.lines() {
            let (thread, line) = line.split_once(' ').unwrap();
            let line = line.trim_start();
            if line.starts_with("+++") || line.starts_with("---") {
                continue;
            }
            let number = if line.starts_with("<... ") {
                open.remove(thread).unwrap()
            } else {
                let (name, rest) = line.split_once('(').unwrap();
                let arguments = rest.split(" <unfinished ...>").next().unwrap();
                let arguments = arguments.rsplit_once(" = ").map_or(arguments, |(arguments, _)| arguments);
                let arguments: Vec<&str> = arguments.trim_end_matches([')', ' ']).split(", ").collect();
                trace.calls.push(Call { operation: operation(name, &arguments), answer: None });
                trace.steps.push(Step::Begin(trace.calls.len() - 1));
                trace.calls.len() - 1
            };
            match line.rsplit_once(" = ").filter(|_| !line.ends_with(" <unfinished ...>")) {
                Some((_, answer)) => {
                    trace.calls[number].answer = answer.split(' ').next().unwrap().parse().ok();
                    trace.steps.push(Step::End(number));
                }
                None => {
                    open.insert(thread, number);
                }
            }
        }
        let calls = &trace.calls;
        trace.steps.retain(|(Step::Begin(number) | Step::End(number))| {
            calls[*number].answer.is_none_or(|answer| answer >= 0)
        });
        trace
    }
}

fn operation(name: &str, arguments: &[&str]) -> Operation {
    let fd = |nth: usize| arguments[nth].parse().unwrap();
    let number = |nth: usize| arguments[nth].parse::<u64>().unwrap();
    let path = |nth: usize| PathBuf::from(String::from_utf8(bytes(arguments[nth])).unwrap());
    let here = |nth: usize| arguments[nth] == "AT_FDCWD";
    let other = || Operation::Other(format!("{name}({})", arguments.join(", ")));
    match name {
        "openat" if here(0) => {
            let has = |flag: &str| arguments[2].split('|').any(|set| set == flag);
            Operation::Open {
                path: path(1),
                creates: has("O_CREAT"),
                truncates: has("O_TRUNC"),
                appends: has("O_APPEND"),
            }
        }
        "close" => Operation::Close(fd(0)),
        "fcntl" if arguments[1].starts_with("F_DUPFD") => Operation::Duplicate(fd(0)),
        "lseek" => Operation::Seek(fd(0)),
        "write" => Operation::Write(fd(0), None, bytes(arguments[1]).into()),
        "pwrite64" => Operation::Write(fd(0), Some(number(3)), bytes(arguments[1]).into()),
        "ftruncate" => Operation::Length(fd(0), number(1)),
        "fallocate" if arguments[1] == "0" => Operation::Room(fd(0), number(2) + number(3)),
        "fsync" | "fdatasync" => Operation::Sync(fd(0)),
        "ioctl" if arguments[1] == "FS_IOC_SETFLAGS" && arguments[2].contains("FS_SYNC_FL") => {
            Operation::WriteThrough(fd(0))
        }
        "fcntl" | "ioctl" => Operation::Nothing,
        "rename" => Operation::Rename(path(0), path(1)),
        "unlink" => Operation::Remove(path(0)),
        "mkdir" => Operation::MakeDir(path(0)),
        _ => other(),
    }
}

/// The bytes of a string of which strace wrote every one as `\x2f`.
fn bytes(argument: &str) -> Vec<u8> {
    assert!(argument.ends_with('"'), "a string longer than {STRING_BYTES_MAX} bytes is cut off");
    let digits = argument.trim_matches('"').as_bytes();
    let digit = |digit: u8| if digit <= b'9' { digit - b'0' } else { digit - b'a' + 10 };
    digits.chunks_exact(4).map(|byte| digit(byte[2]) << 4 | digit(byte[3])).collect()
}

#[test]
fn overlapping_calls_begin_and_end_in_their_order() {
    use Step::{Begin, End};
    let trace = Trace::read(
        "7 openat(AT_FDCWD, \"\\x2f\\x61\", O_RDWR|O_CREAT|O_CLOEXEC, 0666) = 3\n\
         7 pwrite64(3, \"\\x00\\xff\", 2, 512 <unfinished ...>\n\
         8 fdatasync(3 <unfinished ...>\n\
         7 <... pwrite64 resumed>) = 2\n\
         7 fsync(4)                = -1 EBADF (Bad file descriptor)\n\
         8 <... fdatasync resumed>) = 0\n\
         8 close(3 <unfinished ...>\n\
         7 +++ exited with 0 +++\n",
    );
    assert_eq!(trace.steps, [Begin(0), End(0), Begin(1), Begin(2), End(1), End(2), Begin(4)]);
    assert_eq!(trace.calls[0].answer, Some(3));
    let operations: Vec<_> = trace.calls.iter().map(|call| format!("{:?}", call.operation)).collect();
    assert_eq!(operations[0], r#"Open { path: "/a", creates: true, truncates: false, appends: false }"#);
    assert_eq!(operations[1], "Write(3, Some(512), [0, 255])");
    assert_eq!(operations[2], "Sync(3)");
    assert_eq!(trace.calls[4].answer, None);
}
