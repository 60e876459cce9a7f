//! The bytes on disk are frozen: `schema/golden/` holds every kind and version ever written, and this build must
//! write the newest of them and read all of them. `schema/keys.md` says how to add one.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

#[path = "common/golden.rs"]
mod golden;

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::fs;
use std::time::Duration;

use dwell::model::*;
use dwell::store::local::Options;
use dwell::store::{
    Backend as _, Batch, Debounced, Direction, KeptAnswer, Local, ScheduleRow, Stored, Tally, Told, keys,
};
use golden::{frozen, hex, path, unhex};

const AT: Time = Time::from_millis(1_790_000_000_123);
const LATER: Time = Time::from_millis(1_790_000_090_456);
const SESSION: RecordId = RecordId::session(0x019a_0000_0000_1111_2222_3333_4444_5555);
const TRIGGER: TriggerId = TriggerId(0x019a_0000_0001_aaaa_bbbb_cccc_dddd_eeee);

const RUN: RecordId = RecordId { kind: Kind::Run, ulid: 0x019a_0000_0001_48e2_3575_4c17_59f3_e28b };
const NEXT_RUN: RecordId = RecordId { kind: Kind::Run, ulid: 0x019a_0000_0001_e719_af2e_cb61_d609_d628 };

/// An older version of a value: read as what it meant.
fn check_old<T: Stored + PartialEq + Debug>(seen: &mut BTreeSet<String>, file: &str, value: &T) {
    let text = fs::read_to_string(path(file)).unwrap_or_else(|error| panic!("{file}: {error}"));
    let bytes = unhex(&text);
    assert_eq!(bytes[0], version_of(file));
    assert_eq!(&T::decode(&bytes).unwrap(), value, "{file}");
    seen.insert(file.to_owned());
}

/// The newest version of a value: written as frozen, and read back.
fn check<T: Stored + PartialEq + Debug>(seen: &mut BTreeSet<String>, file: &str, value: &T) {
    let bytes = frozen(file, &value.encode());
    assert_eq!(hex(&value.encode()), hex(&bytes), "{file}: the layout changed without a new version");
    assert_eq!(bytes[0], version_of(file));
    assert_eq!(&T::decode(&bytes).unwrap(), value, "{file}");
    seen.insert(file.to_owned());
}

/// `record-bare.2.hex` is of version 2.
fn version_of(file: &str) -> u8 {
    file.split('.').nth(1).unwrap().parse().unwrap()
}

fn states() -> Vec<State> {
    let child = Some(Child { pid: 4711, started: 123_456, boot: 0xfeed_beef });
    let states = [
        State::Queued { lane: Lane::Burst },
        State::Active { lease_until: AT, ends_at: LATER, child },
        State::RateLimited { until: LATER, source: Source::Told },
        State::Backoff { until: LATER, streak: Streak::Throttled },
        State::Draining { until: LATER, child: None },
        State::DeadLettered { at: AT, cause: Cause::NeedsOperator },
        State::Completed { at: AT },
        State::Cancelled { at: AT },
    ];
    states.into()
}

/// Every one of version 1.
fn terms() -> Terms {
    Terms {
        org: "acme".into(),
        env: "prod".into(),
        key: Some("pr-17".into()),
        flow: Some("review".into()),
        trigger: Some(TRIGGER),
        rerun_of: Some(SESSION),
        runtime: "claude".into(),
        retry: Retry::default(),
        queue: None,
        model: None,
        group: None,
        about: None,
    }
}

/// A record with every field of version 1 in use.
fn old(state: State) -> Record {
    Record {
        id: RUN,
        terms: terms().into(),
        order: 70_000,
        created_at: AT,
        updated_at: LATER,
        expires_at: Some(Time::MAX),
        attempt: 3,
        streaks: Streaks::from_counts([1, 2, 3, 4, 5, 300]),
        budget: Budget::default().with(Measure::Calls, Meter { used: 12, limit: Some(20), soft: None }),
        timeouts: Timeouts { attempt: Duration::from_hours(1), silence: Some(Duration::from_millis(1500)) },
        session: Some("0b4c".into()),
        last_error: Some(Fault::new("exit_1", "no such host: \u{fc}ber")),
        result: Some("{}".into()),
        started_at: None,
        shadow: false,
        state,
    }
}

/// A record with every field in use.
fn full(state: State) -> Record {
    let mut budget = old(state.clone()).budget;
    budget = budget.with(Measure::Cost, Meter { used: 400_000, limit: Some(1_000_000), soft: Some(800_000) });
    budget = budget.with(Measure::Tokens, Meter { used: 70_000, limit: None, soft: None });
    budget.ask = true;
    let group = Group { name: "pr-17".into(), max: 2, cancel_in_progress: true, queued_max: Some(1) };
    let terms = Terms {
        queue: Some("reviews".into()),
        model: Some("large".into()),
        group: Some(group),
        about: Some(SESSION),
        ..terms()
    };
    Record { terms: terms.into(), budget, started_at: Some(AT), shadow: true, ..old(state) }
}

/// A record with no field in use that need not be.
fn bare() -> Record {
    Record {
        id: SESSION,
        terms: Terms { key: None, flow: None, trigger: None, rerun_of: None, ..terms() }.into(),
        expires_at: None,
        attempt: 0,
        streaks: Streaks::default(),
        budget: Budget::default(),
        timeouts: Timeouts::default(),
        session: None,
        last_error: None,
        result: None,
        ..old(State::Queued { lane: Lane::Ready })
    }
}

#[test]
#[expect(clippy::too_many_lines, reason = "one list of all that is stored")]
fn every_value_is_written_as_frozen_and_every_frozen_file_is_read() {
    let mut seen = BTreeSet::new();
    for state in states() {
        check(&mut seen, &format!("record-{}.2.hex", state.name()), &full(state.clone()));
        check_old(&mut seen, &format!("record-{}.1.hex", state.name()), &old(state));
    }
    check(&mut seen, "record-bare.2.hex", &bare());
    check_old(&mut seen, "record-bare.1.hex", &bare());

    let labels = [("pr".to_owned(), "17".to_owned()), ("team".to_owned(), "core".to_owned())].into();
    let argv = vec!["gh".to_owned(), "pr".to_owned(), "view".to_owned()];
    let action = Action::Command { argv, cwd: Some("/srv".into()) };
    let (payload, task) = (b"{\"n\":17}".to_vec(), Some("look".into()));
    let work = Work { payload, task, labels, ..Work::of(action) };
    check_old(&mut seen, "work-command.1.hex", &work);
    let headers = [("Authorization".to_owned(), "Bearer x".to_owned())].into();
    let request = HttpRequest { url: "https://example.org/do".into(), method: "POST".into(), headers };
    check(&mut seen, "work-command.2.hex", &Work { on_dead_letter: Some(request.clone()), ..work });
    let work = Work::of(Action::Agent { prompt: "review it".into(), cwd: None });
    check(&mut seen, "work-agent.2.hex", &work);
    check_old(&mut seen, "work-agent.1.hex", &work);
    let work = Work { payload: b"{}".to_vec(), ..Work::of(Action::Http(request)) };
    check(&mut seen, "work-http.2.hex", &work);
    check_old(&mut seen, "work-http.1.hex", &work);
    check(&mut seen, "work-worker.2.hex", &Work::of(Action::Worker { queue: "reviews".into() }));

    let pause = Pause { limit: Limit { until: LATER, source: Source::Estimated }, since: AT, by: Some(RUN) };
    let runtime =
        Runtime { limited: Some(pause), paused_until: Some(Time::MAX), ..Runtime::open("claude".into()) };
    check_old(&mut seen, "runtime-held.1.hex", &runtime);
    check(&mut seen, "runtime-held.2.hex", &Runtime { reopened_at: Some(AT), ..runtime });
    check_old(&mut seen, "runtime-open.1.hex", &Runtime::open("shell".into()));
    check(&mut seen, "runtime-open.2.hex", &Runtime::open("shell".into()));

    let drain = Drain { scope: Scope::Runtime("claude".into()), since: AT, until: LATER };
    check(&mut seen, "drain.1.hex", &drain);

    let trigger = Trigger {
        id: TRIGGER,
        at: AT,
        source: "forge".into(),
        kind: "github".into(),
        event: "pull_request".into(),
        action: Some("opened".into()),
        dedup: Some("72d3162e".into()),
        org: "acme".into(),
        env: "prod".into(),
        payload: b"{}".to_vec(),
        replay_of: None,
        runs: vec![RUN, NEXT_RUN],
    };
    check_old(&mut seen, "trigger.1.hex", &trigger);
    check(&mut seen, "trigger.2.hex", &Trigger { replay_of: Some(TriggerId(7)), ..trigger });

    let transition = Transition {
        at: AT,
        id: SESSION,
        event: "rate_limited".into(),
        from: Some(StateName::Active),
        to: StateName::RateLimited,
        attempt: 2,
        deadline: Some(LATER),
        detail: Some("told".into()),
    };
    check(&mut seen, "transition.1.hex", &transition);

    for mode in Mode::ALL {
        check(&mut seen, &format!("mode-{mode}.1.hex"), mode);
    }
    let standing = Standing {
        named: Some(Mode::Live),
        mode: Mode::Live,
        since: AT,
        matched: Some((LATER, TRIGGER)),
        started: Some((LATER, RUN)),
    };
    check(&mut seen, "standing.1.hex", &standing);
    let new = Standing { named: None, mode: Mode::Shadow, since: AT, matched: None, started: None };
    check(&mut seen, "standing-new.1.hex", &new);
    let redrive = Redrive {
        id: RedriveId(7),
        asked_at: LATER,
        dead_by: AT,
        cause: Some(Cause::Throttled),
        fingerprint: Some(Fingerprint::from_number(0x2d4d_4d99_5245_9c14)),
        flow: Some("review".into()),
        runtime: Some("claude".into()),
        org: Some("acme".into()),
        env: Some("prod".into()),
        pace: "10/m".parse().unwrap(),
        matched: 300,
        uncounted: true,
        redriven: 70_000,
        cursor: Some((AT, RUN)),
        from: LATER,
        done: 17,
    };
    check(&mut seen, "redrive.1.hex", &redrive);

    let notice = Notice {
        to: "ops".into(),
        event: NoticeEvent::RuntimePaused,
        subject: "claude".into(),
        next_at: LATER,
        pending: 300,
        about: Some(RUN),
        detail: Some("off -> live".into()),
    };
    check(&mut seen, "notice.1.hex", &notice);

    check(&mut seen, "record-id.1.hex", &RUN);
    check(&mut seen, "trigger-id.1.hex", &TRIGGER);
    check(&mut seen, "time.1.hex", &AT);
    check(&mut seen, "number.1.hex", &70_000_u64);
    let tally = Tally {
        now: AT,
        admitted: 1,
        completed: 2,
        cancelled: 3,
        attempts_started: 400,
        attempts_ended: 70_000,
        purged: 6,
    };
    check(&mut seen, "tally.1.hex", &tally);
    check(&mut seen, "told.1.hex", &Told { cost: 1_250_000 });
    let answer = KeptAnswer { fingerprint: [0xfe; 32], status: 200, body: br#"{"used":3}"#.to_vec() };
    check(&mut seen, "answer.1.hex", &answer);
    let expression = "0 9 * * 1-5 Europe/Vienna".into();
    let schedule = ScheduleRow { flow: "nightly".into(), expression, next_at: Some(LATER) };
    check(&mut seen, "schedule.1.hex", &schedule);
    let (flow, key) = ("deploy".into(), "main".into());
    let debounced = Debounced { flow, key, first_at: AT, due_at: LATER, run: RUN, trigger: Some(TRIGGER) };
    check(&mut seen, "debounced.1.hex", &debounced);

    let there =
        fs::read_dir(path("")).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let there: BTreeSet<String> = there.filter(|file| file.split('.').nth(2) == Some("hex")).collect();
    assert_eq!(there, seen, "a golden file is never removed or left unread");
}

#[test]
fn keys_are_written_as_frozen() {
    let all = [
        keys::live(SESSION),
        keys::finished(AT, RUN),
        keys::pointer(RUN),
        keys::work(SESSION),
        keys::name("acme", "prod", "pr-17"),
        keys::delivery("forge", "72d3162e"),
        keys::trigger(TRIGGER),
        keys::runtime("claude"),
        keys::setting("burst"),
        keys::meta("tally"),
        keys::redrive(RedriveId(7)),
        keys::told(SESSION),
        keys::notice("ops", "runtime_paused", "claude"),
        keys::answer(&[7; 32]),
        keys::answered(AT, &[7; 32]),
        keys::schedule("nightly"),
        keys::debounced("deploy", "main"),
        keys::debounced_record("deploy", "main"),
        keys::debounced_work("deploy", "main"),
    ];
    for key in all {
        let file = format!(
            "key-{}{}.hex",
            char::from(key[0]),
            if b"nab".contains(&key[0]) { key[1].to_string() } else { String::new() }
        );
        assert_eq!(hex(&frozen(&file, &key)), hex(&key), "{file}");
    }
}

/// The file `format` of the frozen store, with the seed its journal was written with.
const FORMAT_1: &str = "dwell 1 0000beef f2b99fc4\n";

const SEGMENT: &str = "00000000000000000001.log";

/// Changes of every shape, in two commits.
fn commits() -> [Batch; 2] {
    let mut first = Batch::default();
    first.put(b"r-one".to_vec(), b"1".to_vec());
    first.put(b"r-two".to_vec(), Vec::new());
    first.event(b"made one".to_vec());
    first.event(b"made two".to_vec());
    let mut second = Batch::default();
    second.delete(b"r-two".to_vec());
    second.put(b"u-claude".to_vec(), vec![0xff; 20]);
    [first, second]
}

#[test]
fn a_journal_is_written_as_frozen_and_a_store_that_holds_one_is_opened() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("format"), FORMAT_1).unwrap();
    let mut store = Local::open(dir.path(), Options::default()).unwrap();
    for batch in commits() {
        store.commit(batch).unwrap();
    }
    drop(store);
    let mut written = fs::read(dir.path().join("journal").join(SEGMENT)).unwrap();
    // The last commit ends in the four zeros of its count of events.
    written.truncate(written.iter().rposition(|byte| *byte != 0).unwrap() + 5);
    let bytes = frozen("journal-1.hex", &written);
    assert_eq!(hex(&written), hex(&bytes), "the frame changed without a new format");

    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("format"), FORMAT_1).unwrap();
    fs::create_dir(dir.path().join("journal")).unwrap();
    fs::write(dir.path().join("journal").join(SEGMENT), bytes).unwrap();
    let store = Local::open(dir.path(), Options::default()).unwrap();
    let rows = store.scan(b"", b"~", Direction::Ascending, 10).unwrap();
    assert_eq!(rows, [(b"r-one".to_vec(), b"1".to_vec()), (b"u-claude".to_vec(), vec![0xff; 20])]);
    let events = store.history().read(0, 10).unwrap();
    assert_eq!(events, [(1, b"made one".to_vec()), (1, b"made two".to_vec())]);
}
