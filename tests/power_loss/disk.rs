//! A disk that loses power. Of each file and each directory it keeps what is on it for certain, and the changes since,
//! which may be there, or not, or in part.
//!
//! What a sync promises is read as narrowly as POSIX allows: a sync of a file covers its content and length and not
//! its name; a name is there for certain only after a sync of its directory. A sync covers what had returned when it
//! began, and nothing until it has returned. Sectors of 512 bytes are written whole, each on its own.
//!
//! Absent on purpose: bytes that go bad, and disks that lie about a sync.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use proptest::prelude::{Rng as _, RngExt as _};
use proptest::test_runner::TestRng;

const SECTOR_BYTES: usize = 512;

/// A file or directory, whatever its name.
pub type Node = usize;

/// The directory everything is below.
pub const ROOT: Node = 0;

/// Numbers all changes in the order they began.
pub type ChangeId = u64;

/// A directory as it can be laid out: files with their bytes, directories with none.
pub type Tree = BTreeMap<PathBuf, Option<Vec<u8>>>;

type Names = BTreeMap<String, Node>;

/// A change of a file.
#[derive(Clone)]
pub enum FileChange {
    /// Bytes at an offset; beyond the end they make the file longer.
    Write(u64, Arc<[u8]>),
    /// Cut, or made longer with zeros.
    Length(u64),
    /// Made longer with zeros, never cut.
    Room(u64),
}

impl FileChange {
    fn apply(&self, content: &mut Vec<u8>) {
        let length = self.length(content.len());
        content.resize(length, 0);
        if let FileChange::Write(at, bytes) = self {
            content[index(*at)..][..bytes.len()].copy_from_slice(bytes);
        }
    }

    /// What a file of `length` bytes is long after it.
    fn length(&self, length: usize) -> usize {
        match self {
            FileChange::Write(at, bytes) => length.max(index(*at) + bytes.len()),
            FileChange::Length(length) => index(*length),
            FileChange::Room(room) => length.max(index(*room)),
        }
    }

    /// The bytes it writes; in whole sectors.
    fn sectors(&self) -> impl Iterator<Item = std::ops::Range<usize>> + use<> {
        let (from, to) = match self {
            FileChange::Write(at, bytes) => (index(*at), index(*at) + bytes.len()),
            FileChange::Length(_) | FileChange::Room(_) => (0, 0),
        };
        (from / SECTOR_BYTES..to.div_ceil(SECTOR_BYTES))
            .map(|nth| nth * SECTOR_BYTES..(nth + 1) * SECTOR_BYTES)
    }
}

/// A change of a directory.
#[derive(Clone)]
pub enum NameChange {
    Add(String, Node),
    Remove(String),
    Rename(String, String, Node),
}

impl NameChange {
    fn apply(&self, names: &mut Names) {
        match self {
            NameChange::Add(name, node) => {
                names.insert(name.clone(), *node);
            }
            NameChange::Remove(name) => {
                names.remove(name);
            }
            NameChange::Rename(from, to, node) => {
                names.remove(from);
                names.insert(to.clone(), *node);
            }
        }
    }
}

/// What is certain, and what is not yet.
struct Versions<S, C> {
    synced: S,
    pending: Vec<Pending<C>>,
}

struct Pending<C> {
    id: ChangeId,
    change: C,
    /// Whether the call has returned; only then can a sync cover it.
    ended: bool,
}

impl<S: Clone, C: Clone> Versions<S, C> {
    fn of(synced: S) -> Self {
        Versions { synced, pending: Vec::new() }
    }

    fn begin(&mut self, id: ChangeId, change: C) {
        self.pending.push(Pending { id, change, ended: false });
    }

    fn end(&mut self, id: ChangeId) {
        // A change that a sync of another thread covered is not pending any more.
        for pending in self.pending.iter_mut().filter(|pending| pending.id == id) {
            pending.ended = true;
        }
    }

    fn ended(&self) -> Vec<ChangeId> {
        self.pending.iter().filter(|pending| pending.ended).map(|pending| pending.id).collect()
    }

    fn synced(&mut self, covered: &[ChangeId], apply: impl Fn(&C, &mut S)) {
        let synced = &mut self.synced;
        self.pending.retain(|pending| {
            let is_covered = covered.contains(&pending.id);
            if is_covered {
                apply(&pending.change, synced);
            }
            !is_covered
        });
    }

    fn written(&self, apply: impl Fn(&C, &mut S)) -> S {
        let mut written = self.synced.clone();
        self.pending.iter().for_each(|pending| apply(&pending.change, &mut written));
        written
    }
}

enum Content {
    File(Versions<Vec<u8>, FileChange>),
    Dir(Versions<Names, NameChange>),
}

/// What the power cut leaves of the changes that are not certain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Cut {
    /// Nothing of them.
    Synced,
    /// All of them, as after a kill of the process alone.
    Written,
    /// Any sectors and lengths; of the names, all changes up to one. So do file systems with a journal.
    Ordered,
    /// Any sectors and lengths, and any of the names; new blocks may hold what was there before.
    Any,
}

impl Cut {
    pub const ALL: [Cut; 4] = [Cut::Synced, Cut::Written, Cut::Ordered, Cut::Any];
}

/// A file or directory.
struct Item {
    content: Content,
    /// Whether a change of it is certain when its call has returned.
    writes_through: bool,
}

pub struct Disk {
    items: Vec<Item>,
    changes: ChangeId,
    /// Whether it does as [`Disk::write_through`] says.
    heeds_write_through: bool,
}

impl Disk {
    pub fn new(heeds_write_through: bool) -> Disk {
        let root = Item { content: Content::Dir(Versions::of(Names::new())), writes_through: false };
        Disk { items: vec![root], changes: 0, heeds_write_through }
    }

    /// Holds what is in `dir`, all of it for certain.
    pub fn of(dir: &Path, heeds_write_through: bool) -> Disk {
        let mut disk = Disk::new(heeds_write_through);
        for (path, content) in read_tree(dir) {
            let parent = disk.find(path.parent().unwrap()).unwrap();
            let name = name(&path);
            let node = disk.push(match content {
                Some(bytes) => Content::File(Versions::of(bytes)),
                None => Content::Dir(Versions::of(Names::new())),
            });
            let Content::Dir(dir) = &mut disk.items[parent].content else {
                panic!("{} is in a file", path.display())
            };
            dir.synced.insert(name, node);
        }
        disk
    }

    /// What `path`, below the root, names now.
    pub fn find(&self, path: &Path) -> Option<Node> {
        path.iter().try_fold(ROOT, |node, name| match &self.items[node].content {
            Content::Dir(dir) => dir.written(NameChange::apply).get(name.to_str()?).copied(),
            Content::File(_) => None,
        })
    }

    /// A file that is going to be in `dir`.
    pub fn new_file(&mut self, dir: Node) -> Node {
        let node = self.push(Content::File(Versions::of(Vec::new())));
        self.items[node].writes_through = self.items[dir].writes_through;
        node
    }

    /// A directory that is going to be in `dir`.
    pub fn new_dir(&mut self, dir: Node) -> Node {
        let node = self.push(Content::Dir(Versions::of(Names::new())));
        self.items[node].writes_through = self.items[dir].writes_through;
        node
    }

    /// From now on every change of `node` is synced when it returns; what is made in it will be like it.
    pub fn write_through(&mut self, node: Node) {
        self.items[node].writes_through = self.heeds_write_through;
    }

    fn push(&mut self, content: Content) -> Node {
        self.items.push(Item { content, writes_through: false });
        self.items.len() - 1
    }

    pub fn begin_file(&mut self, node: Node, change: FileChange) -> ChangeId {
        self.changes += 1;
        let Content::File(file) = &mut self.items[node].content else { panic!("{node} is a directory") };
        file.begin(self.changes, change);
        self.changes
    }

    pub fn begin_dir(&mut self, node: Node, change: NameChange) -> ChangeId {
        self.changes += 1;
        let Content::Dir(dir) = &mut self.items[node].content else { panic!("{node} is a file") };
        dir.begin(self.changes, change);
        self.changes
    }

    /// The call that made the change has returned.
    pub fn end(&mut self, node: Node, id: ChangeId) {
        match &mut self.items[node].content {
            Content::File(file) => file.end(id),
            Content::Dir(dir) => dir.end(id),
        }
        if self.items[node].writes_through {
            self.end_sync(node, &[id]);
        }
    }

    /// The process is gone: what it had begun has happened, and is no more certain than before.
    pub fn after_kill(mut self) -> Disk {
        for item in &mut self.items {
            match &mut item.content {
                Content::File(file) => file.pending.iter_mut().for_each(|pending| pending.ended = true),
                Content::Dir(dir) => dir.pending.iter_mut().for_each(|pending| pending.ended = true),
            }
        }
        self
    }

    /// What a sync of `node` that begins now will cover.
    pub fn begin_sync(&self, node: Node) -> Vec<ChangeId> {
        match &self.items[node].content {
            Content::File(file) => file.ended(),
            Content::Dir(dir) => dir.ended(),
        }
    }

    /// The sync has returned well.
    pub fn end_sync(&mut self, node: Node, covered: &[ChangeId]) {
        match &mut self.items[node].content {
            Content::File(file) => file.synced(covered, FileChange::apply),
            Content::Dir(dir) => dir.synced(covered, NameChange::apply),
        }
    }

    pub fn length(&self, node: Node) -> u64 {
        match &self.items[node].content {
            Content::File(file) => file.written(FileChange::apply).len() as u64,
            Content::Dir(_) => 0,
        }
    }

    /// What a cut of the power now leaves.
    pub fn image(&self, cut: Cut, random: &mut TestRng) -> Tree {
        let names_until = random.random_range(0..=self.changes);
        let mut tree = Tree::new();
        let mut open = vec![(PathBuf::new(), ROOT)];
        while let Some((path, node)) = open.pop() {
            match &self.items[node].content {
                Content::File(file) => {
                    tree.insert(path, Some(file_after(cut, file, random)));
                }
                Content::Dir(dir) => {
                    let mut names = dir.synced.clone();
                    for pending in &dir.pending {
                        let is_kept = match cut {
                            Cut::Synced => false,
                            Cut::Written => true,
                            Cut::Ordered => pending.id <= names_until,
                            Cut::Any => random.random(),
                        };
                        if is_kept {
                            pending.change.apply(&mut names);
                        }
                    }
                    open.extend(names.into_iter().map(|(name, node)| (path.join(name), node)));
                    if node != ROOT {
                        tree.insert(path, None);
                    }
                }
            }
        }
        tree
    }
}

fn file_after(cut: Cut, file: &Versions<Vec<u8>, FileChange>, random: &mut TestRng) -> Vec<u8> {
    match cut {
        Cut::Synced => file.synced.clone(),
        Cut::Written => file.written(FileChange::apply),
        Cut::Ordered | Cut::Any if file.pending.is_empty() => file.synced.clone(),
        Cut::Ordered => torn(file, false, random),
        Cut::Any => torn(file, random.random(), random),
    }
}

/// The file with some of its pending changes. Its length is one it had, changes of length coming in order; each sector
/// within that is as it was after some change, or, where the disk gave it a new block, `is_stale`: anything.
fn torn(file: &Versions<Vec<u8>, FileChange>, is_stale: bool, random: &mut TestRng) -> Vec<u8> {
    let lengths = random.random_range(0..=file.pending.len());
    // Often all or nothing: that is where contents and names disagree.
    let chance = [0.0, 0.1, 0.5, 0.9, 1.0][random.random_range(0..5)];
    let in_order = random.random::<bool>();
    let (mut written, mut image) = (file.synced.clone(), file.synced.clone());
    for (nth, Pending { change, .. }) in file.pending.iter().enumerate() {
        let end = written.len();
        change.apply(&mut written);
        if nth < lengths {
            image.resize(change.length(image.len()), 0);
            if let (FileChange::Write(..), Some(new)) = (change, image.get_mut(end..))
                && is_stale
            {
                random.fill_bytes(new);
            }
        }
        for sector in change.sectors() {
            let is_kept = if in_order { nth < lengths } else { random.random_bool(chance) };
            let sector = sector.start..sector.end.min(written.len()).min(image.len());
            if is_kept && !sector.is_empty() {
                image[sector.clone()].copy_from_slice(&written[sector]);
            }
        }
    }
    image
}

/// Everything below `dir`, parents before what is in them.
pub fn read_tree(dir: &Path) -> Tree {
    let mut tree = Tree::new();
    let mut open = vec![PathBuf::new()];
    while let Some(path) = open.pop() {
        for entry in fs::read_dir(dir.join(&path)).unwrap() {
            let path = path.join(entry.unwrap().file_name());
            if dir.join(&path).is_dir() {
                open.push(path.clone());
                tree.insert(path, None);
            } else {
                let bytes = fs::read(dir.join(&path)).unwrap();
                tree.insert(path, Some(bytes));
            }
        }
    }
    tree
}

/// Makes `tree` in the empty directory `dir`.
pub fn lay_out(tree: &Tree, dir: &Path) {
    for (path, content) in tree {
        match content {
            Some(bytes) => fs::write(dir.join(path), bytes).unwrap(),
            None => fs::create_dir(dir.join(path)).unwrap(),
        }
    }
}

/// The last part of `path`.
pub fn name(path: &Path) -> String {
    path.file_name().unwrap().to_str().unwrap().to_owned()
}

fn index(offset: u64) -> usize {
    usize::try_from(offset).unwrap()
}
