//! A traced process told again, call by call, to a [`Disk`].

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use super::disk::{ChangeId, Disk, FileChange, NameChange, Node, name};
use super::trace::{Call, Fd, Operation, Step};

/// The start of a line by which the process says what it acknowledges.
pub const ACKNOWLEDGED: &str = "acknowledged ";

const STDOUT: Fd = 1;

/// Where sled's files are, and what says that a checkpoint has ended; below the root.
const TABLE: &str = "store/table";
const MARK: &str = "store/checkpoint";

/// An open file; duplicates have a position of their own here, which nobody needs to be shared.
#[derive(Clone)]
struct Open {
    path: PathBuf,
    node: Node,
    position: u64,
    appends: bool,
}

/// What a call that has begun does when it returns.
enum Under {
    Change(Node, ChangeId),
    Sync(Node, Vec<ChangeId>),
    WriteThrough(Node),
    Open(Open),
}

/// The state of the told process and of its disk, of which only what is below `root` is watched.
pub struct Replay {
    root: PathBuf,
    pub disk: Disk,
    /// The last number it told.
    pub acknowledged: Option<u64>,
    /// Whether a checkpoint has ended, and nothing was written to the table since.
    pub at_rest: bool,
    open: HashMap<Fd, Open>,
    under_way: HashMap<usize, Vec<Under>>,
}

impl Replay {
    /// `disk` is what was below `root` when the process began.
    pub fn new(root: &Path, disk: Disk) -> Replay {
        Replay {
            root: root.to_owned(),
            disk,
            acknowledged: None,
            at_rest: false,
            open: HashMap::new(),
            under_way: HashMap::new(),
        }
    }

    /// Takes the next step; answers whether a cut of the power after it may leave something else than before it.
    pub fn step(&mut self, step: Step, calls: &[Call]) -> bool {
        match step {
            Step::Begin(number) => {
                let begun = self.begin(&calls[number]);
                let matters = begun.iter().any(|begun| matches!(begun, Under::Change(..)));
                self.under_way.insert(number, begun);
                matters || matches!(calls[number].operation, Operation::Write(STDOUT, ..))
            }
            Step::End(number) => {
                let begun = self.under_way.remove(&number).unwrap();
                let matters = begun.iter().any(|begun| matches!(begun, Under::Sync(..)));
                for begun in begun {
                    self.end(begun, &calls[number]);
                }
                if let Operation::Seek(fd) = calls[number].operation
                    && let Some(open) = self.open.get_mut(&fd)
                {
                    open.position = u64::try_from(calls[number].answer.unwrap()).unwrap();
                }
                matters
            }
        }
    }

    fn begin(&mut self, call: &Call) -> Vec<Under> {
        let watched = |fd: &Fd| self.open.get(fd).map(|open| open.node);
        self.at_rest = self.is_at_rest_after(&call.operation);
        match &call.operation {
            Operation::Open { path, creates, truncates, appends } => {
                let Some(path) = self.below_root(path) else { return Vec::new() };
                self.begin_open(&path, *creates, *truncates, *appends)
            }
            // From here on the number may name another file.
            Operation::Close(fd) => {
                self.open.remove(fd);
                Vec::new()
            }
            Operation::Duplicate(fd) => self.open.get(fd).cloned().map(Under::Open).into_iter().collect(),
            Operation::Seek(_) | Operation::Nothing => Vec::new(),
            Operation::Write(STDOUT, _, bytes) => {
                let text = String::from_utf8_lossy(bytes);
                if let Some(number) = text.trim_end().strip_prefix(ACKNOWLEDGED) {
                    self.acknowledged = Some(number.parse().unwrap());
                }
                Vec::new()
            }
            Operation::Write(fd, at, bytes) => {
                let Some(open) = self.open.get_mut(fd) else { return Vec::new() };
                // A write that returned short wrote no more than it says.
                let bytes =
                    &bytes[..call.answer.map_or(bytes.len(), |answer| usize::try_from(answer).unwrap())];
                let at = at.unwrap_or_else(|| {
                    let at = if open.appends { self.disk.length(open.node) } else { open.position };
                    open.position = at + bytes.len() as u64;
                    at
                });
                let node = open.node;
                vec![self.change_file(node, FileChange::Write(at, bytes.into()))]
            }
            Operation::Length(fd, length) => {
                let node = watched(fd);
                node.map(|node| self.change_file(node, FileChange::Length(*length))).into_iter().collect()
            }
            Operation::Room(fd, room) => {
                let node = watched(fd);
                node.map(|node| self.change_file(node, FileChange::Room(*room))).into_iter().collect()
            }
            Operation::Sync(fd) => {
                let node = watched(fd);
                node.map(|node| Under::Sync(node, self.disk.begin_sync(node))).into_iter().collect()
            }
            Operation::WriteThrough(fd) => {
                let node = watched(fd);
                node.map(Under::WriteThrough).into_iter().collect()
            }
            Operation::Rename(from, to) => {
                let Some((from, to)) = self.below_root(from).zip(self.below_root(to)) else {
                    return Vec::new();
                };
                assert_eq!(from.parent(), to.parent(), "a rename between directories is not modelled");
                let node = self.disk.find(&from).unwrap();
                vec![self.change_dir(&from, NameChange::Rename(name(&from), name(&to), node))]
            }
            Operation::Remove(path) => {
                let path = self.below_root(path);
                path.map(|path| self.change_dir(&path, NameChange::Remove(name(&path)))).into_iter().collect()
            }
            Operation::MakeDir(path) => {
                let Some(path) = self.below_root(path) else { return Vec::new() };
                let node = self.disk.new_dir(self.parent(&path));
                vec![self.change_dir(&path, NameChange::Add(name(&path), node))]
            }
            Operation::Other(text) => {
                let fd = text.split(['(', ',']).nth(1).and_then(|fd| fd.parse().ok());
                assert!(fd.is_none_or(|fd| watched(&fd).is_none()), "{text}");
                Vec::new()
            }
        }
    }

    fn begin_open(&mut self, path: &Path, creates: bool, truncates: bool, appends: bool) -> Vec<Under> {
        let mut begun = Vec::new();
        let known = self.disk.find(path);
        if known.is_none() && !creates {
            // Another thread removes it at the same time; what is synced of it then leaves nothing.
            return begun;
        }
        let node = known.unwrap_or_else(|| {
            let node = self.disk.new_file(self.parent(path));
            begun.push(self.change_dir(path, NameChange::Add(name(path), node)));
            node
        });
        if truncates {
            begun.push(self.change_file(node, FileChange::Length(0)));
        }
        begun.push(Under::Open(Open { path: path.to_owned(), node, position: 0, appends }));
        begun
    }

    fn end(&mut self, begun: Under, call: &Call) {
        match begun {
            Under::Change(node, id) => self.disk.end(node, id),
            Under::Sync(node, covered) => self.disk.end_sync(node, &covered),
            Under::WriteThrough(node) => self.disk.write_through(node),
            Under::Open(open) => {
                self.open.insert(call.answer.unwrap(), open);
            }
        }
    }

    fn change_file(&mut self, node: Node, change: FileChange) -> Under {
        Under::Change(node, self.disk.begin_file(node, change))
    }

    fn change_dir(&mut self, path: &Path, change: NameChange) -> Under {
        let dir = self.parent(path);
        Under::Change(dir, self.disk.begin_dir(dir, change))
    }

    fn parent(&self, path: &Path) -> Node {
        self.disk.find(path.parent().unwrap()).unwrap()
    }

    fn is_at_rest_after(&self, operation: &Operation) -> bool {
        let touched = match operation {
            Operation::Write(fd, ..) | Operation::Length(fd, _) | Operation::Room(fd, _) => {
                self.open.get(fd).map(|open| open.path.clone())
            }
            Operation::Open { path, creates: true, .. }
            | Operation::Remove(path)
            | Operation::MakeDir(path) => self.below_root(path),
            Operation::Rename(_, to) if self.below_root(to).is_some_and(|to| to == Path::new(MARK)) => {
                return true;
            }
            Operation::Rename(_, to) => self.below_root(to),
            Operation::Open { .. }
            | Operation::Close(_)
            | Operation::Duplicate(_)
            | Operation::Seek(_)
            | Operation::Sync(_)
            | Operation::WriteThrough(_)
            | Operation::Nothing
            | Operation::Other(_) => None,
        };
        self.at_rest && touched.is_none_or(|path| !path.starts_with(TABLE))
    }

    /// `path` as seen from the root; `None` if it is elsewhere.
    fn below_root(&self, path: &Path) -> Option<PathBuf> {
        path.strip_prefix(&self.root).ok().map(Path::to_owned)
    }
}
