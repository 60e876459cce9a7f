//! What the model of a disk may lose, and what never.

use std::collections::BTreeSet;

use std::path::Path;

use super::disk::{Cut, Disk, FileChange, NameChange, Node, ROOT};
use super::story::random;

/// What cuts of every kind leave of `name`, over many images.
fn left(disk: &Disk, cut: Cut, name: &str) -> BTreeSet<Option<Vec<u8>>> {
    let images = (0..400).map(|number| disk.image(cut, &mut random(7, number)));
    images.map(|mut tree| tree.remove(Path::new(name)).map(Option::unwrap)).collect()
}

fn write(disk: &mut Disk, node: Node, at: u64, bytes: &[u8]) {
    let id = disk.begin_file(node, FileChange::Write(at, bytes.into()));
    disk.end(node, id);
}

fn change(disk: &mut Disk, dir: Node, change: NameChange) {
    let id = disk.begin_dir(dir, change);
    disk.end(dir, id);
}

fn sync(disk: &mut Disk, node: Node) {
    let covered = disk.begin_sync(node);
    disk.end_sync(node, &covered);
}

/// A disk with one file `a` that holds two synced sectors of ones.
fn with_a_file() -> (Disk, Node) {
    let mut disk = Disk::new(true);
    let file = disk.new_file(ROOT);
    change(&mut disk, ROOT, NameChange::Add("a".to_owned(), file));
    write(&mut disk, file, 0, &[1; 1024]);
    sync(&mut disk, file);
    sync(&mut disk, ROOT);
    (disk, file)
}

#[test]
fn what_is_synced_stays() {
    let (mut disk, file) = with_a_file();
    write(&mut disk, file, 1024, &[2; 512]);
    for cut in Cut::ALL {
        for content in left(&disk, cut, "a") {
            assert_eq!(content.unwrap()[..1024], [1; 1024], "{cut:?}");
        }
    }
    assert_eq!(left(&disk, Cut::Synced, "a"), [Some(vec![1; 1024])].into());
}

#[test]
fn a_write_without_a_sync_is_there_or_not_or_torn_between_sectors() {
    let (mut disk, file) = with_a_file();
    write(&mut disk, file, 0, &[2; 1024]);
    let halves = |first: u8, second: u8| Some([[first; 512], [second; 512]].concat());
    let all = [halves(1, 1), halves(1, 2), halves(2, 1), halves(2, 2)];
    assert_eq!(left(&disk, Cut::Ordered, "a"), all.into());
    assert_eq!(left(&disk, Cut::Written, "a"), [halves(2, 2)].into());
}

#[test]
fn new_blocks_of_a_longer_file_hold_what_was_written_or_zeros_or_anything() {
    let (mut disk, file) = with_a_file();
    write(&mut disk, file, 1024, &[2; 512]);
    let ends = |cut| -> BTreeSet<Vec<u8>> {
        left(&disk, cut, "a").into_iter().map(|content| content.unwrap()[1024..].to_vec()).collect()
    };
    assert_eq!(ends(Cut::Ordered), [vec![], vec![0; 512], vec![2; 512]].into());
    assert!(ends(Cut::Any).len() > 3);
}

#[test]
fn a_sync_covers_what_had_returned_when_it_began_and_only_when_it_returns() {
    let (mut disk, file) = with_a_file();
    let returned = disk.begin_file(file, FileChange::Write(0, [2; 512].as_slice().into()));
    let running = disk.begin_file(file, FileChange::Write(512, [3; 512].as_slice().into()));
    disk.end(file, returned);
    let covered = disk.begin_sync(file);
    assert_eq!(left(&disk, Cut::Synced, "a"), [Some(vec![1; 1024])].into());
    disk.end(file, running);
    disk.end_sync(file, &covered);
    assert_eq!(left(&disk, Cut::Synced, "a"), [Some([[2; 512], [1; 512]].concat())].into());
}

#[test]
fn a_name_needs_a_sync_of_its_directory() {
    let (mut disk, _) = with_a_file();
    let new = disk.new_file(ROOT);
    change(&mut disk, ROOT, NameChange::Add("new".to_owned(), new));
    write(&mut disk, new, 0, &[2; 512]);
    sync(&mut disk, new);
    change(&mut disk, ROOT, NameChange::Rename("new".to_owned(), "a".to_owned(), new));
    let (old, new) = (Some(vec![1; 1024]), Some(vec![2; 512]));
    assert_eq!(left(&disk, Cut::Any, "a"), [old.clone(), new.clone()].into());
    assert_eq!(left(&disk, Cut::Any, "new"), [None, new.clone()].into());
    sync(&mut disk, ROOT);
    assert_eq!(left(&disk, Cut::Any, "a"), [new].into());
    change(&mut disk, ROOT, NameChange::Remove("a".to_owned()));
    assert_eq!(left(&disk, Cut::Any, "a").len(), 2);
}

#[test]
fn a_renamed_file_may_be_there_without_its_content() {
    let (mut disk, _) = with_a_file();
    let new = disk.new_file(ROOT);
    change(&mut disk, ROOT, NameChange::Add("new".to_owned(), new));
    write(&mut disk, new, 0, &[2; 512]);
    change(&mut disk, ROOT, NameChange::Rename("new".to_owned(), "a".to_owned(), new));
    assert!(left(&disk, Cut::Ordered, "a").contains(&Some(vec![])));
}

#[test]
fn names_change_in_order_where_file_systems_keep_it() {
    let mut disk = Disk::new(true);
    for name in ["a", "b"] {
        let file = disk.new_file(ROOT);
        change(&mut disk, ROOT, NameChange::Add(name.to_owned(), file));
    }
    let names = |cut| -> BTreeSet<usize> {
        let trees = (0..100).map(|number| disk.image(cut, &mut random(7, number)));
        trees.map(|tree| tree.keys().map(|name| 1 << u32::from(name == Path::new("b"))).sum()).collect()
    };
    assert_eq!(names(Cut::Ordered), [0, 1, 3].into());
    assert_eq!(names(Cut::Any), [0, 1, 2, 3].into());
}

#[test]
fn what_writes_through_is_certain_when_it_returns() {
    let mut disk = Disk::new(true);
    disk.write_through(ROOT);
    let file = disk.new_file(ROOT);
    change(&mut disk, ROOT, NameChange::Add("a".to_owned(), file));
    write(&mut disk, file, 0, &[1; 512]);
    assert_eq!(left(&disk, Cut::Any, "a"), [Some(vec![1; 512])].into());
    disk.begin_file(file, FileChange::Write(0, [2; 512].as_slice().into()));
    assert_eq!(left(&disk, Cut::Any, "a").len(), 2);
}
