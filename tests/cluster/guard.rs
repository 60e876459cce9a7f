//! What ends a node's attempts when the node cannot.

use std::os::unix::process::ExitStatusExt as _;
use std::process::{Child, ChildStdin, Stdio};

use dwell::exec::MARK_VAR;
use dwell::store::postgres::uptime;
use rustix::process::{Pid, Signal, kill_process};

use super::*;

/// A guard of `mark`, and the way to tell it.
fn guard(mark: &str) -> (Child, ChildStdin) {
    let mut guard = Command::new(DWELL).args(["guard", mark]).stdin(Stdio::piped()).spawn().unwrap();
    let told = guard.stdin.take().unwrap();
    (guard, told)
}

/// Something that an attempt of a shard has started; gone with this at the latest.
struct Marked(Child);

impl Marked {
    fn start(mark: &str) -> Marked {
        Marked(Command::new("sleep").arg("1000").env(MARK_VAR, mark).spawn().unwrap())
    }

    fn is_stopped(&mut self) {
        until("it is stopped", || self.0.try_wait().unwrap().is_some_and(|status| status.signal().is_some()));
    }
}

impl Drop for Marked {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

#[test]
fn attempts_end_with_their_node_s_leases_and_with_the_node() {
    let dir = tempfile::tempdir().unwrap();
    let [mark, other] = ["a", "b"].map(|name| format!("{}#", dir.path().join(name).display()));
    let (mut guard, mut told) = guard(&mark);
    let (mut beside, mut first) = (Marked::start(&format!("{other}1")), Marked::start(&format!("{mark}1")));
    let mut second = Marked::start(&format!("{mark}12"));
    // The lease of one shard is over in a moment, and nobody renews it; the other's goes on.
    writeln!(told, "12 {}", uptime() + 600_000).unwrap();
    writeln!(told, "1 {}", uptime() + 100).unwrap();
    first.is_stopped();
    assert!(second.0.try_wait().unwrap().is_none(), "its shard's lease goes on");
    // Nobody who ends what is called dwell ends it too.
    for signal in [Signal::TERM, Signal::INT, Signal::HUP] {
        kill_process(Pid::from_child(&guard), signal).unwrap();
    }
    // One that is given back is at work elsewhere, and a shard may be taken again.
    writeln!(told, "12 {}", u64::MAX).unwrap();
    writeln!(told, "12 {}", uptime() + 600_000).unwrap();
    assert!(guard.try_wait().unwrap().is_none() && second.0.try_wait().unwrap().is_none());
    drop(told);
    second.is_stopped();
    assert!(guard.wait().unwrap().success());
    assert!(beside.0.try_wait().unwrap().is_none(), "another node's is none of its");
}

/// The guards of a node: its children that are called so.
fn guards(cluster: &Cluster) -> Vec<i32> {
    let node = cluster.node(0).child.id();
    let threads = std::fs::read_dir(format!("/proc/{node}/task")).unwrap();
    let of = |thread: std::fs::DirEntry| std::fs::read_to_string(thread.path().join("children"));
    let children: String = threads.map(|thread| of(thread.unwrap()).unwrap_or_default()).collect();
    let is_guard = |pid: &i32| {
        let words = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        words.split(|byte| *byte == 0).nth(1) == Some(b"guard")
    };
    children.split_whitespace().map(|pid| pid.parse().unwrap()).filter(is_guard).collect()
}

#[test]
fn a_guard_that_is_killed_has_another_in_its_place() {
    let Some(cluster) = Cluster::with(SHORT, 1, 2) else { return };
    let [first] = guards(&cluster)[..] else { panic!("it has one") };
    kill_process(Pid::from_raw(first).unwrap(), Signal::KILL).unwrap();
    until("there is another", || matches!(guards(&cluster)[..], [other] if other != first));
}
