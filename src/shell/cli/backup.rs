//! `dwell backup` and `dwell restore`: a store as a file, and back.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufReader, IsTerminal as _, Read, Write};
use std::ops::ControlFlow;
use std::path::Path;

use anyhow::{Context as _, anyhow};
use serde_json::json;

use super::args::{Backup, Place, Restore};
use super::client::Client;
use super::exit::{Failure, USAGE};
use super::nodes::files_only;
use super::out;
use crate::engine::{self, Moment};
use crate::model::{StateName, Time};
use crate::shell::backup::{self, Contents, NewFile};
use crate::shell::clock::Clock;
use crate::shell::config::Config;
use crate::shell::{serve, time};
use crate::store::StoreError;
use crate::store::backup::{BackupError, Part};
use crate::store::local::restore::{self, RestoreError};
use crate::store::local::{self, Local};

/// Progress is told each time this much more was read.
const TOLD_EVERY: u64 = 4 << 20;

/// `dwell backup FILE`: from the running server, or from the store itself where none runs.
pub fn backup(place: &Place, args: &Backup) -> anyhow::Result<()> {
    let begun = Clock::System.now();
    let to_stdout = args.file == Path::new("-");
    if to_stdout && io::stdout().is_terminal() {
        let message = "a backup is not for a terminal: name a file, or pipe it on".to_owned();
        return Err(Failure { exit: USAGE, message }.into());
    }
    let mut file = if to_stdout { None } else { Some(NewFile::create(&args.file, args.force)?) };
    let mut stdout = io::stdout();
    let to: &mut dyn Write = match &mut file {
        Some(file) => file.out(),
        None => &mut stdout,
    };
    let client = Client::known(place)?.filter(|client| place.server.is_some() || client.alive());
    let contents = match client {
        Some(client) => copy(&mut client.stream("/v1/backup")?, to),
        None => offline(&super::load(place, Vec::new())?, to),
    };
    out::progress("");
    let contents = contents?;
    let to_where = args.file.display();
    if let Some(file) = file {
        file.put_in_place()?;
    }
    let took = begun.until(Clock::System.now());
    let (about, records) = (&contents.about, contents.moment.map_or(0, |moment| moment.records));
    let seconds = took.as_secs_f64();
    if args.json && !to_stdout {
        let at = contents.moment.map(|moment| time::format(moment.at));
        return Ok(out::json(&json!({
            "file": args.file, "records": records, "rows": about.rows, "commit": about.commit, "at": at,
            "taken_at": time::format(about.taken_at), "bytes": about.bytes, "seconds": seconds,
        }))?);
    }
    let size = megabytes(about.bytes);
    let said = format!(
        "backed up to {to_where}: {records} records, commit {}, {size} in {seconds:.1}s",
        about.commit
    );
    if to_stdout {
        out::note(&said);
        return Ok(());
    }
    Ok(out::line(&said)?)
}

fn copy(from: &mut dyn Read, to: &mut dyn Write) -> anyhow::Result<Contents> {
    let mut told = 0;
    backup::copy(from, to, |rows, bytes| {
        if bytes >= told + TOLD_EVERY {
            told = bytes;
            out::progress(&format!("{rows} rows, {}", megabytes(bytes)));
        }
    })
}

/// No server runs, so this process has the store meanwhile.
fn offline(config: &Config, to: &mut dyn Write) -> anyhow::Result<Contents> {
    files_only(config, "back it up with what PostgreSQL has for that, like pg_dump")?;
    let dir = &config.data;
    if !dir.join("format").is_file() {
        return Err(Failure::failed(format!("{} is no store: nothing to back up", dir.display())).into());
    }
    let mut store = Local::open(dir, serve::store_options(config))?;
    store.verified()?;
    let (base, taken_at) = (store.base(), Clock::System.now());
    let (mut from, mut into) = io::pipe().context("cannot make a pipe")?;
    let writing = std::thread::spawn(move || {
        crate::store::backup::write(&base, taken_at, env!("CARGO_PKG_VERSION"), &mut into)
    });
    let copied = copy(&mut from, to);
    // Whoever writes on must find that nobody reads.
    drop(from);
    let written = writing.join().map_err(|_| anyhow!("the backup's thread panicked"))?;
    match (written, copied) {
        (Err(error @ BackupError::Store(_)), _) => Err(error.into()),
        (_, copied) => copied,
    }
}

/// `dwell restore FILE --data DIR`: nothing is written before all of it is proven.
pub fn restore(place: &Place, args: &Restore) -> anyhow::Result<()> {
    let config = super::load(place, Vec::new())?;
    files_only(&config, "restore into a directory with --data DIR")?;
    let dir = &config.data;
    let until = args.until.as_deref().map(time::parse).transpose();
    let until = until.map_err(|error| Failure { exit: USAGE, message: format!("--until: {error}") })?;
    let named = || args.file.display().to_string();
    let mut plan = Plan { args, until, last: None, commit: 0 };
    let base = plan.read(&mut |_| Ok(())).with_context(named)?;
    plan.commit = base.about.commit;
    plan.last = base.moment;
    if let (Some(until), Some(moment)) = (until, base.moment)
        && until < moment.at
    {
        let (at, until) = (time::format(moment.at), time::format(until));
        let message = format!(
            "{} holds commit {} of {at}, which is after {until}: restore an older backup",
            args.file.display(),
            base.about.commit
        );
        return Err(Failure::failed(message).into());
    }
    plan.follow(base.about.seed, base.about.commit, None, &mut |_| Ok(()))?;
    let (commit, last) = (plan.commit, plan.last);

    let mut restoring = restore::Restoring::begin(dir)?;
    plan.read(&mut |part| match part {
        Part::Begin { .. } => Ok(()),
        Part::Row(key, value) => Ok(restoring.set(key, Some(value))?),
        Part::Commit(_, frame) => Ok(apply(&mut restoring, frame)?),
    })
    .with_context(named)?;
    plan.follow(base.about.seed, base.about.commit, Some(commit), &mut |frame| apply(&mut restoring, frame))?;
    out::progress("proving what was written");
    let restored = restoring.finish(commit)?;
    let mut store = Local::open(restored.whereabouts(), local::Options::default())?;
    store.verified()?;
    let census = engine::census(&store)?;
    drop(store);
    restored.put_in_place()?;
    out::progress("");
    report(args, dir, commit, last, &census)
}

fn report(
    args: &Restore,
    dir: &Path,
    commit: u64,
    last: Option<Moment>,
    census: &BTreeMap<StateName, u64>,
) -> anyhow::Result<()> {
    let at = last.map(|moment| time::format(moment.at));
    if args.json {
        let states: serde_json::Map<_, _> =
            census.iter().map(|(state, count)| (state.to_string(), json!(count))).collect();
        let document = json!({ "data": dir, "commit": commit, "at": at, "states": states });
        return Ok(out::json(&document)?);
    }
    let states: Vec<String> = census.iter().map(|(state, count)| format!("{count} {state}")).collect();
    let states = if states.is_empty() { "no records".to_owned() } else { states.join(", ") };
    let of = at.map(|at| format!(" of {at}")).unwrap_or_default();
    out::line(&format!("restored {}: commit {commit}{of}; {states}", dir.display()))?;
    out::note("start it only where the store it was made from is gone: two would carry out the same work");
    Ok(())
}

/// Takes the frame of a commit.
type Apply<'a> = &'a mut dyn FnMut(&[u8]) -> Result<(), StoreError>;

/// What is restored, read twice: first to prove it, then to write it.
struct Plan<'a> {
    args: &'a Restore,
    until: Option<Time>,
    /// The last tick that is restored.
    last: Option<Moment>,
    /// The last commit that is restored.
    commit: u64,
}

impl Plan<'_> {
    fn read(
        &self,
        see: &mut dyn FnMut(Part<'_>) -> Result<(), BackupError>,
    ) -> Result<Contents, anyhow::Error> {
        let mut file = BufReader::with_capacity(1 << 20, File::open(&self.args.file)?);
        let (mut rows, mut bytes, mut told) = (0_u64, 0, 0);
        Ok(backup::read(&mut file, &mut |part| {
            if let Part::Row(key, value) = part {
                rows += 1;
                bytes += (key.len() + value.len()) as u64;
                if bytes >= told + TOLD_EVERY {
                    told = bytes;
                    out::progress(&format!("{rows} rows, {}", megabytes(bytes)));
                }
            }
            see(part)
        })?)
    }

    /// Shows `apply` the commits after the backup's own, up to `upto`; without it, finds how far they go.
    fn follow(&mut self, seed: u32, after: u64, upto: Option<u64>, apply: Apply<'_>) -> anyhow::Result<()> {
        if self.args.segments.is_empty() {
            return Ok(());
        }
        let mut failed = None;
        let followed = restore::commits_after(&self.args.segments, seed, after, &mut |sequence, frame| {
            if upto.is_some_and(|upto| sequence > upto) {
                return ControlFlow::Break(());
            }
            let moment = backup::moment_of(frame).or(self.last);
            if upto.is_none()
                && moment.is_some_and(|moment| self.until.is_some_and(|until| moment.at > until))
            {
                return ControlFlow::Break(());
            }
            if let Err(error) = apply(frame) {
                failed = Some(error);
                return ControlFlow::Break(());
            }
            (self.commit, self.last) = (sequence, moment);
            ControlFlow::Continue(())
        });
        match (failed, followed) {
            (Some(error), _) => Err(error.into()),
            (None, Err(error @ (RestoreError::Damaged { .. } | RestoreError::Gap { .. }))) => {
                let Some(last) = self.last else { return Err(error.into()) };
                // Whatever is missing there is not before it: time never goes back.
                if self.until.is_some_and(|until| until <= last.at) {
                    return Ok(());
                }
                let at = time::format(last.at);
                Err(anyhow!("{error}; commits up to {} can be restored with --until {at}", self.commit))
            }
            (None, followed) => Ok(followed?),
        }
    }
}

fn apply(restoring: &mut restore::Restoring, frame: &[u8]) -> Result<(), StoreError> {
    let mut written = Ok(());
    restore::writes(frame, |key, value| {
        if written.is_ok() {
            written = restoring.set(key, value);
        }
    });
    written
}

#[expect(clippy::cast_precision_loss, reason = "for people, to a tenth")]
fn megabytes(bytes: u64) -> String {
    format!("{:.1} MB", bytes as f64 / 1e6)
}
