//! Log lines, on stderr: text for people, or JSON, an object a line. Absent on purpose: what is said of records (`lines`).

use std::collections::HashMap;
use std::io::{self, IsTerminal as _, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use tracing::callsite::Identifier;
use tracing::{Event, Level, Metadata, Subscriber};
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::{Context, Filter, SubscriberExt as _};
use tracing_subscriber::util::{SubscriberInitExt as _, TryInitError};
use tracing_subscriber::{Layer as _, Registry, reload};

use super::config::Log;
use super::metrics::now;

/// Lines from one place in the code within [`STORM`], at info and above; further ones are counted and not written.
pub const LINES_MAX: u32 = 100;

/// How long a place is watched.
pub const STORM: Duration = Duration::from_secs(10);

static DROPPED: AtomicU64 = AtomicU64::new(0);

/// Lines that were not written for being too many.
pub fn dropped() -> u64 {
    DROPPED.load(Ordering::Relaxed)
}

/// What is logged, for as long as something logs.
static LEVELS: OnceLock<reload::Handle<Targets, Registry>> = OnceLock::new();

/// What is wrong with a `log.level`, if something is.
pub fn fault(level: &str) -> Option<String> {
    // A word alone that is no level would be taken for a target, and everything else be silent.
    let odd = level.split(',').find(|part| {
        let level = part.rsplit_once('=').map_or(*part, |(_, level)| level);
        level.parse::<LevelFilter>().is_err() || part.parse::<Targets>().is_err()
    });
    let expected = "expected off, error, warn, info, debug or trace, or target=level,...";
    odd.map(|odd| format!("{odd:?} is no level: {expected}"))
}

/// Logs this from now on, if something logs.
pub fn set_level(level: &str) {
    // Checked when the configuration was loaded.
    let levels: Targets = level.parse().unwrap_or_default();
    if let Some(Err(error)) = LEVELS.get().map(|handle| handle.reload(levels)) {
        tracing::error!(%error, "the log level stays as it was");
    }
}

/// From now on, until the process ends. `Err` if something logs already.
pub fn start(log: &Log) -> Result<(), TryInitError> {
    // Checked when the configuration was loaded.
    let levels: Targets = log.level.parse().unwrap_or_default();
    let (levels, handle) = reload::Layer::new(levels);
    // Set once only, as is the subscriber below.
    LEVELS.set(handle).ok();
    let registry = tracing_subscriber::registry().with(levels);
    if log.json {
        let lines = tracing_subscriber::fmt::layer().json().flatten_event(true).with_writer(std::io::stderr);
        registry.with(lines.with_filter(Calm::default())).try_init()
    } else {
        let colours = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
        let lines = tracing_subscriber::fmt::layer().with_ansi(colours).with_writer(|| Line(io::stderr()));
        registry.with(lines.with_filter(Calm::default())).try_init()
    }
}

/// Writes each event as one line: what a stranger wrote must not look like an event of its own.
struct Line<W>(W);

impl<W: Write> Write for Line<W> {
    fn write(&mut self, event: &[u8]) -> io::Result<usize> {
        let (text, end) = event.strip_suffix(b"\n").map_or((event, &b""[..]), |text| (text, &b"\n"[..]));
        if text.iter().any(|byte| matches!(byte, b'\n' | b'\r')) {
            let text = String::from_utf8_lossy(text).replace('\n', "\\n").replace('\r', "\\r");
            self.0.write_all(&[text.as_bytes(), end].concat())?;
        } else {
            self.0.write_all(event)?;
        }
        Ok(event.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

/// Keeps one place in the code from filling the log. Who asks for debug wants every line.
#[derive(Default)]
struct Calm(Mutex<HashMap<Identifier, Place>>);

#[derive(Clone, Copy)]
struct Place {
    since: Instant,
    lines: u32,
}

impl Calm {
    fn takes(&self, place: Identifier, now: Instant) -> bool {
        let mut places = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let place = places.entry(place).or_insert(Place { since: now, lines: 0 });
        if now.duration_since(place.since) >= STORM {
            *place = Place { since: now, lines: 0 };
        }
        place.lines = place.lines.saturating_add(1);
        place.lines <= LINES_MAX
    }
}

impl<S: Subscriber> Filter<S> for Calm {
    fn enabled(&self, _: &Metadata<'_>, _: &Context<'_, S>) -> bool {
        true
    }

    fn event_enabled(&self, event: &Event<'_>, _: &Context<'_, S>) -> bool {
        let metadata = event.metadata();
        let taken = *metadata.level() > Level::INFO || self.takes(metadata.callsite(), now());
        DROPPED.fetch_add(u64::from(!taken), Ordering::Relaxed);
        taken
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_level_is_one_of_six_words_alone_or_of_a_target() {
        for level in ["off", "info", "TRACE", "warn,dwell::record=debug", "dwell=error"] {
            assert_eq!(fault(level), None, "{level}");
        }
        for (level, odd) in
            [("warning", "warning"), ("info,dwell", "dwell"), ("info,dwell=loud", "dwell=loud")]
        {
            let fault = fault(level).unwrap();
            assert!(fault.starts_with(&format!("{odd:?} is no level: expected off, ")), "{fault}");
        }
    }

    #[test]
    fn an_event_is_one_line_whatever_it_says() {
        for (event, written) in
            [("all is well\n", "all is well\n"), ("it said: a\r\nERROR b\n", "it said: a\\r\\nERROR b\n")]
        {
            let mut line = Line(Vec::new());
            line.write_all(event.as_bytes()).unwrap();
            assert_eq!(String::from_utf8(line.0).unwrap(), written);
        }
    }

    #[test]
    fn one_place_is_cut_short_until_its_time_is_over_and_no_other_is() {
        let place = |callsite: &'static dyn tracing::Callsite| callsite.metadata().callsite();
        let (loud, other) = (
            place(tracing::callsite!(name: "loud", kind: tracing::metadata::Kind::EVENT, fields: )),
            place(tracing::callsite!(name: "other", kind: tracing::metadata::Kind::EVENT, fields: )),
        );
        let (calm, begun) = (Calm::default(), now());
        let taken = |place: &Identifier, at| (0..500).filter(|_| calm.takes(place.clone(), at)).count();
        assert_eq!(taken(&loud, begun), LINES_MAX as usize);
        assert_eq!(taken(&loud, begun + STORM / 2), 0);
        assert!(calm.takes(other, begun));
        assert_eq!(taken(&loud, begun + STORM), LINES_MAX as usize);
    }
}
