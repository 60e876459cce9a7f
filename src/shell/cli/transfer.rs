//! `dwell export` and `dwell import`: a stopped store as a file, and a store of one, in files or in PostgreSQL.

use std::fs::File;
use std::io::BufReader;
use std::ops::ControlFlow;
use std::path::Path;

use anyhow::{Context as _, bail};
use serde_json::json;

use super::args::{Export, Import, Place};
use super::exit::Failure;
use super::out;
use crate::shell::backup::{self, NewFile};
use crate::shell::clock::Clock;
use crate::shell::config::{Config, Postgres, Store};
use crate::shell::serve;
use crate::store::backup::{BackupError, Base, Part};
use crate::store::local::restore::Restoring;
use crate::store::local::{self, Local};
use crate::store::postgres::{Member, Shard, Shards};
use crate::store::transfer::{self, Digest, Placing, Whole, Writing};
use crate::store::{Backend, StoreError};

/// Progress is told each time this many more rows were read.
const TOLD_EVERY: u64 = 10_000;

/// `dwell export FILE`. What is said of it is read from the file.
pub fn export(place: &Place, args: &Export) -> anyhow::Result<()> {
    let config = super::load(place, Vec::new())?;
    let (_held, whole) = open(&config)?;
    let mut file = NewFile::create(&args.file, args.force)?;
    let version = env!("CARGO_PKG_VERSION");
    let told = Told { whole: &whole };
    crate::store::backup::write(&told, Clock::System.now(), version, file.out())?;
    file.put_in_place()?;
    let mut digest = Digest::default();
    read(&args.file, &mut |key, value| {
        digest.add(key, value);
        Ok(())
    })?;
    out::progress("");
    said("exported", &args.file, &config, &digest, args.json)
}

/// `dwell import FILE`.
pub fn import(place: &Place, args: &Import) -> anyhow::Result<()> {
    let config = super::load(place, Vec::new())?;
    let seen = match &config.store {
        Store::Files => into_files(&config.data, &args.file)?,
        Store::Postgres(postgres) => into_postgres(postgres, &args.file)?,
    };
    out::progress("");
    said("imported", &args.file, &config, &seen, args.json)
}

fn said(what: &str, file: &Path, config: &Config, digest: &Digest, json: bool) -> anyhow::Result<()> {
    let store = match &config.store {
        Store::Files => format!("file:{}", config.data.display()),
        Store::Postgres(postgres) => postgres.url.to_string(),
    };
    if json {
        let document = json!({ "file": file, "store": store, "rows": digest.rows, "sha256": digest.hex() });
        return Ok(out::json(&document)?);
    }
    out::line(&format!(
        "{what} {} rows, sha256 {}: {} and {store}",
        digest.rows,
        digest.hex(),
        file.display()
    ))?;
    out::note("start only one of the two stores: both would carry out the same work");
    Ok(())
}

type See<'a> = &'a mut dyn FnMut(&[u8], &[u8]) -> Result<(), StoreError>;

/// Shows each row of an export, which is proven by then to be whole only if this answers; how many commits its store had.
fn read(file: &Path, see: See<'_>) -> anyhow::Result<u64> {
    let named = || file.display().to_string();
    let mut from = BufReader::with_capacity(1 << 20, File::open(file).with_context(named)?);
    let mut rows = 0_u64;
    let contents = backup::read(&mut from, &mut |part| match part {
        Part::Begin { .. } => Ok(()),
        Part::Row(key, value) => {
            rows += 1;
            if rows.is_multiple_of(TOLD_EVERY) {
                out::progress(&format!("{rows} rows read"));
            }
            Ok(see(key, value)?)
        }
        Part::Commit(..) => Err(BackupError::Damaged {
            offset: 0,
            reason: "it is a backup of a store while it was served: restore it, and export that".to_owned(),
        }),
    });
    Ok(contents.with_context(named)?.about.commit)
}

/// A store that tells how far it is read.
struct Told<'a> {
    whole: &'a Whole,
}

impl Base for Told<'_> {
    fn hand_out(&self, take: &mut dyn FnMut(Part<'_>) -> ControlFlow<()>) -> Result<Option<u64>, StoreError> {
        let mut rows = 0_u64;
        self.whole.hand_out(&mut |part| {
            rows += u64::from(matches!(part, Part::Row(..)));
            if rows > 0 && rows.is_multiple_of(TOLD_EVERY) {
                out::progress(&format!("{rows} rows written"));
            }
            take(part)
        })
    }
}

/// A stopped store.
fn open(config: &Config) -> anyhow::Result<(Option<Held>, Whole)> {
    match &config.store {
        Store::Files => {
            if !config.data.join("format").is_file() {
                let message = format!("{} is no store: nothing to export", config.data.display());
                return Err(Failure::failed(message).into());
            }
            let mut store = Local::open(&config.data, serve::store_options(config))?;
            store.verified()?;
            Ok((None, Whole::of(vec![Box::new(store)])))
        }
        Store::Postgres(postgres) => {
            let (held, shards) = take_all(postgres)?;
            Ok((Some(held), whole(shards)))
        }
    }
}

fn whole(shards: Vec<Shard>) -> Whole {
    Whole::of(shards.into_iter().map(|shard| Box::new(shard) as Box<dyn Backend>).collect())
}

/// Shards that no node may take; given back when it is dropped, after whatever has them open.
struct Held {
    shards: Shards,
    taken: Vec<(u32, u64)>,
}

impl Drop for Held {
    fn drop(&mut self) {
        for (shard, epoch) in &self.taken {
            // Where that cannot be said, the lease ends by itself.
            self.shards.give_back(*shard, *epoch).ok();
        }
    }
}

/// Every shard of a store that no node runs on.
fn take_all(postgres: &Postgres) -> anyhow::Result<(Held, Vec<Shard>)> {
    let member = Member {
        name: format!("transfer:{}", std::process::id()),
        address: String::new(),
        lease: postgres.lease,
        history_age_max: std::time::Duration::MAX,
    };
    let shards = Shards::open(postgres.server()?, member, Box::new(drop))?;
    let mut held = Held { shards, taken: Vec::new() };
    let mut open = Vec::new();
    for number in 0..held.shards.count() {
        let Some(shard) = held.shards.take(number)? else {
            bail!("a node runs on this store and owns shard {number}: stop all nodes first (dwell nodes)");
        };
        held.taken.push((number, shard.epoch()));
        open.push(shard);
    }
    Ok((held, open))
}

/// All of it is read and proven before anything is written.
fn proven(file: &Path, see: See<'_>) -> anyhow::Result<(u64, Digest)> {
    let mut digest = Digest::default();
    let commits = read(file, &mut |key, value| {
        digest.add(key, value);
        see(key, value)
    })?;
    Ok((commits, digest))
}

fn verified(file: &Digest, store: &Digest) -> anyhow::Result<()> {
    if (file.rows, file.hex()) != (store.rows, store.hex()) {
        bail!(
            "the store holds {} rows, sha256 {}, and not the {} of the file",
            store.rows,
            store.hex(),
            file.rows
        );
    }
    Ok(())
}

fn into_files(dir: &Path, file: &Path) -> anyhow::Result<Digest> {
    let (commits, digest) = proven(file, &mut |_, _| Ok(()))?;
    let mut restoring = Restoring::begin(dir)?;
    read(file, &mut |key, value| restoring.set(key, Some(value)))?;
    let restored = restoring.finish(commits)?;
    let mut store = Local::open(restored.whereabouts(), local::Options::default())?;
    store.verified()?;
    let store = Whole::of(vec![Box::new(store)]);
    verified(&digest, &store.digest()?)?;
    drop(store);
    restored.put_in_place()?;
    Ok(digest)
}

fn into_postgres(postgres: &Postgres, file: &Path) -> anyhow::Result<Digest> {
    let (_held, taken) = take_all(postgres)?;
    for (number, shard) in taken.iter().enumerate() {
        if !transfer::is_empty(shard)? {
            bail!(
                "shard {number} holds rows already: a store is imported into one that was just made (dwell migrate)"
            );
        }
    }
    let mut placing = Placing::among(u32::try_from(taken.len())?);
    let (_, digest) = proven(file, &mut |key, value| placing.see(key, value))?;
    let mut writing = Writing::begin(taken)?;
    read(file, &mut |key, value| writing.put(&placing, key, value))?;
    let mut store = whole(writing.finish(&placing)?);
    out::progress("verifying");
    verified(&digest, &store.digest()?)?;
    for shard in store.shards_mut() {
        transfer::serve(shard)?;
    }
    Ok(digest)
}
