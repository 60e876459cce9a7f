//! Each sort of key: what it is in words, what is read back from it, and which ranges it is in.

use super::*;

const A: RecordId = RecordId { kind: Kind::Session, ulid: 7 };
const B: RecordId = RecordId { kind: Kind::Run, ulid: 1 };

#[test]
fn no_two_kinds_share_a_byte() {
    let mut kinds = KINDS.map(|(kind, _)| kind);
    kinds.sort_unstable();
    assert!(kinds.windows(2).all(|pair| pair[0] != pair[1]), "{kinds:?}");
}

#[test]
fn keys_read_back_and_only_as_their_own_kind() {
    let at = Time::from_millis(1_700_000_000_123);
    assert_eq!(live_id(&live(B)), Some(B));
    assert_eq!(pointer_id(&pointer(A)), Some(A));
    assert_eq!(finished_id(&finished(at, B)), Some((at, B)));
    for other in [work(A), pointer(A), finished(at, A), meta("tally"), Vec::new(), b"r".to_vec()] {
        assert_eq!(live_id(&other), None, "{other:?}");
    }
    assert_eq!(finished_id(&live(A)), None);
    assert_eq!(live_id(&[live(A), vec![0]].concat()), None);
}

#[test]
fn finished_records_sort_by_time_first() {
    let early = finished(Time::from_millis(255), B);
    let late = finished(Time::from_millis(256), A);
    assert!(early < late);
}

#[test]
fn fields_of_a_name_cannot_run_together() {
    assert_ne!(name("a", "bc", "d"), name("ab", "c", "d"));
    assert_ne!(name("a", "b", "c"), delivery("a", "b"));
    let (long, longer) = ("x".repeat(65_535), "x".repeat(65_536));
    assert_ne!(name(&long, "", "x"), name(&longer, "", ""));
}

#[test]
fn a_drained_scope_is_a_setting_among_its_own() {
    let (from, to) = all_drains();
    for (key, inside) in
        [(drain(&Scope::All), true), (setting("drainage"), false), (setting("mode"), false), (live(A), false)]
    {
        assert_eq!(from <= key && key < to, inside, "{key:?}");
    }
}

#[test]
fn settings_are_found_by_how_their_names_begin() {
    let (from, to) = settings("mode:");
    for (name, inside) in
        [("mode:", true), ("mode:a", true), ("mode:\u{10ffff}", true), ("mode", false), ("n", false)]
    {
        let key = setting(name);
        assert_eq!(from <= key && key < to, inside, "{name}");
        assert_eq!(setting_name(&key), Some(name));
    }
    assert_eq!(setting_name(&meta("tally")), None);
}

#[test]
fn a_range_of_ids_includes_both_ends_and_nothing_else() {
    let high = RecordId::session(u128::MAX);
    let (from, to) = live_range(IdRange { low: A, high });
    for (id, inside) in [(A, true), (high, true), (RecordId::session(6), false), (B, false)] {
        let key = live(id);
        assert_eq!(from <= key && key < to, inside, "{id}");
    }
    let (from, to) = all_live();
    assert!(from <= live(A) && live(RecordId { kind: Kind::Run, ulid: u128::MAX }) < to);
}

const NAMED: [u8; 32] = [9; 32];

const AT: Time = Time::from_millis(1_700_000_000_123);

/// A key of every sort, with what it is in words.
fn every_sort() -> Vec<(&'static str, Vec<u8>, String)> {
    let (trigger_7, redrive_7) = (TriggerId(7), RedriveId(7));
    vec![
        ("live", live(A), format!("live record {A}")),
        ("finished", finished(AT, B), format!("finished record {B}")),
        ("pointer", pointer(A), format!("pointer to the finished record {A}")),
        ("work", work(B), format!("work of {B}")),
        ("name", name("acme", "live", "k/1"), "name acme/live/k/1".to_owned()),
        ("delivery", delivery("github", "d-1"), "name github/d-1".to_owned()),
        ("trigger", trigger(trigger_7), format!("trigger {trigger_7}")),
        ("runtime", runtime("claude"), "runtime claude".to_owned()),
        ("setting", setting("mode"), "setting mode".to_owned()),
        ("drain", drain(&Scope::Org("acme".into())), "setting drain:org:acme".to_owned()),
        ("meta", meta("tally"), "meta row tally".to_owned()),
        (
            "redrive",
            redrive(redrive_7),
            "redrive \\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x07"
                .to_owned(),
        ),
        ("told", told(A), format!("meter of {A}")),
        ("notice", notice("ops", "stalled", "claude"), "notice ops/stalled/claude".to_owned()),
        ("answer", answer(&NAMED), format!("kept answer \\x00{}", "\\t".repeat(32))),
        (
            "answered",
            answered(AT, &NAMED),
            format!("kept answer \\x01\\x00\\x00\\x01\\x8b\\xcf\\xe5h{{{}", "\\t".repeat(32)),
        ),
        ("schedule", schedule("nightly"), "schedule nightly".to_owned()),
        ("debounced", debounced("deploy", "main"), "debounced run deploy/main".to_owned()),
        ("debounced record", debounced_record("deploy", "main"), "debounced run deploy/main".to_owned()),
        ("debounced work", debounced_work("deploy", "main"), "debounced run deploy/main".to_owned()),
        ("unknown", b"zebra".to_vec(), "row of the unknown kind 'z': ebra".to_owned()),
        ("unknown", vec![0xff, b'x'], "row of the unknown kind 'ÿ': x".to_owned()),
    ]
}

#[test]
fn every_key_is_told_in_words() {
    for (_, key, said) in every_sort() {
        assert_eq!(words(&key), said);
    }
    assert_eq!(words(b""), "the empty key");
    assert_eq!(
        words(&[b"x".as_slice(), &[b'a'; 300]].concat()).len(),
        "row of the unknown kind 'x': ".len() + 200
    );
}

#[test]
fn a_range_has_the_keys_of_its_sort_and_no_others() {
    let ranges: [(Range, &[&str]); 20] = [
        (all_live(), &["live"]),
        (all_finished(), &["finished"]),
        (all_pointers(), &["pointer"]),
        (all_triggers(), &["trigger"]),
        (all_work(), &["work"]),
        (all_told(), &["told"]),
        (all_names(), &["name"]),
        (all_deliveries(), &["delivery"]),
        (all_settings(), &["setting", "drain"]),
        (all_drains(), &["drain"]),
        (all_meta(), &["meta"]),
        (all_answers(), &["answer"]),
        (all_answered(), &["answered"]),
        (all_debounced(), &["debounced"]),
        (all_debounced_records(), &["debounced record"]),
        (all_debounced_work(), &["debounced work"]),
        (all_notices(), &["notice"]),
        (all_redrives(), &["redrive"]),
        (all_runtimes(), &["runtime"]),
        (all_schedules(), &["schedule"]),
    ];
    for ((from, to), sorts) in ranges {
        for (sort, key, _) in every_sort() {
            assert_eq!(from <= key && key < to, sorts.contains(&sort), "{sort} in {sorts:?}");
        }
    }
    for (sort, key, _) in every_sort() {
        let among = all_unknown().iter().filter(|(from, to)| *from <= key && key < *to).count();
        assert_eq!(among, usize::from(sort == "unknown"), "{sort}");
    }
}

#[test]
fn what_a_key_names_is_read_from_its_own_sort_alone() {
    for (sort, key, _) in every_sort() {
        assert_eq!(is_drain(&key), sort == "drain", "{sort}");
        assert_eq!(answer_name(&key), (sort == "answer").then_some(NAMED), "{sort}");
        assert_eq!(answered_name(&key), (sort == "answered").then_some((AT, NAMED)), "{sort}");
        assert_eq!(trigger_id(&key), (sort == "trigger").then_some(TriggerId(7)), "{sort}");
        let owner = [("work", B), ("told", A)].into_iter().find(|(of, _)| *of == sort);
        assert_eq!(owner_id(&key), owner.map(|(_, id)| id), "{sort}");
    }
}

#[test]
fn a_text_of_a_length_that_two_bytes_do_not_hold_is_behind_eight_more() {
    let at_most = fields(Vec::new(), &[&"x".repeat(65_534)]);
    assert_eq!(at_most.len(), 2 + 65_534);
    let beyond = fields(Vec::new(), &[&"x".repeat(65_535)]);
    assert_eq!((beyond.len(), &beyond[..10]), (10 + 65_535, &[0xff, 0xff, 0, 0, 0, 0, 0, 0, 0xff, 0xff][..]));
}
