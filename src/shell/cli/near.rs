//! Names that were mistyped: what is there that is most like them.

use serde_json::Value as Json;

use super::args::{Budget, Command, Logs, Many, Runtime};
use super::client::Client;
use super::exit::{Failure, NOT_FOUND, USAGE};
use super::look::{items, text};
use crate::shell::slip;

/// Records that are looked at for one that is most like an id.
const RECORDS_MAX: usize = 1_000;

/// What a name is one of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A flow that is loaded.
    Flow,
    /// A configured runtime.
    Runtime,
    /// A record, by its id.
    Record,
    /// A trigger, by its id.
    Trigger,
    /// A tenant that has work, or had some lately.
    Org,
    /// What is drained.
    Drain,
}

/// A failure that may come of a mistyped name, with the name that may have been meant.
pub fn suggest(failure: Failure, client: &Client, command: &Command) -> Failure {
    if failure.exit != NOT_FOUND && failure.exit != USAGE {
        return failure;
    }
    let mut near = names(command).into_iter().filter(|(_, name)| failure.message.contains(name));
    let near = near.find_map(|(kind, name)| nearest(client, kind, &name));
    match near {
        Some(near) => Failure { message: format!("{}; did you mean {near}", failure.message), ..failure },
        None => failure,
    }
}

/// What there is of a kind that is most like `name`; `None` if the name is there, or nothing is much like it.
pub fn nearest(client: &Client, kind: Kind, name: &str) -> Option<String> {
    let records = |list: &str| items(client, &format!("/v1/{list}?limit={RECORDS_MAX}")).ok();
    let all: Vec<Json> = match kind {
        Kind::Flow => items(client, "/v1/flows").ok()?,
        Kind::Runtime => items(client, "/v1/runtimes").ok()?,
        Kind::Trigger => records("triggers")?,
        Kind::Record => [records("sessions")?, records("runs")?].concat(),
        Kind::Org => [records("queues")?, records("sessions")?, records("runs")?].concat(),
        Kind::Drain => items(client, "/v1/drains").ok()?,
    };
    let member = match kind {
        Kind::Flow | Kind::Runtime => "name",
        Kind::Record | Kind::Trigger => "id",
        Kind::Org => "org",
        Kind::Drain => "scope",
    };
    most_like(name, all.iter().map(|item| text(item, member)))
}

/// What is there as it was written is no slip.
fn most_like<'a>(name: &str, all: impl Iterator<Item = &'a str>) -> Option<String> {
    slip::most_like(name, all).filter(|near| *near != name).map(str::to_owned)
}

/// The names that a command was given, as far as they have to be there.
fn names(command: &Command) -> Vec<(Kind, String)> {
    let record = |id: &String| {
        let kind = if id.starts_with("trg_") { Kind::Trigger } else { Kind::Record };
        vec![(kind, id.clone())]
    };
    let (flow, runtime) = (
        |name: &String| vec![(Kind::Flow, name.clone())],
        |name: &String| vec![(Kind::Runtime, name.clone())],
    );
    if let Command::Show(args) | Command::History(args) | Command::Rerun(args) = command {
        record(&args.id)
    } else if let Command::Logs(Logs { id, .. }) | Command::Budget(Budget { id, .. }) = command {
        record(id)
    } else if let Command::Replay(args) = command {
        record(&args.id)
    } else if let Command::Cancel(Many { ids, .. }) | Command::Resume(Many { ids, .. }) = command {
        ids.iter().flat_map(record).collect()
    } else if let Command::Redrive(args) = command {
        args.ids.iter().flat_map(record).collect()
    } else if let Command::Why(args) = command {
        match args.of.split_once(':') {
            None => record(&args.of),
            Some(("flow", name)) => flow(&name.to_owned()),
            Some(("runtime", name)) => runtime(&name.to_owned()),
            Some(_) => Vec::new(),
        }
    } else if let Command::Run(args) = command {
        args.runtime.iter().flat_map(runtime).collect()
    } else if let Command::Mode(args) = command {
        args.flow.iter().flat_map(flow).collect()
    } else if let Command::Runtime(Runtime::Pause { name, .. } | Runtime::Resume { name, .. }) = command {
        runtime(name)
    } else if let Command::Drain(args) = command {
        args.scope.runtime.iter().flat_map(runtime).collect()
    } else if let Command::Undrain(args) = command {
        vec![(Kind::Drain, args.scope.text())]
    } else {
        Vec::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_of_the_finger_is_near_and_another_word_is_not() {
        let names = ["claude", "codex", "shell", "worker"];
        let near = |name| most_like(name, names.into_iter());
        assert_eq!(near("cluade").as_deref(), Some("claude"));
        assert_eq!(near("wroker").as_deref(), Some("worker"));
        assert_eq!((near("gemini"), near("claude"), near("x")), (None, None, None));
    }
}
