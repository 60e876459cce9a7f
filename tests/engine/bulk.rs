//! Many at once, on a whole engine over the memory backend and a manual clock.

use dwell::engine::{Answer, Filter, Redriven, Redrives, Request};
use dwell::model::{Cause, Command, RecordId};
use dwell::store::Backend as _;

use super::common::{self, World, check_in, duration};

/// Dead letters a (invalid, org o), b (needs_operator), and c (invalid) an hour later; d is in backoff.
fn four() -> World {
    let mut world = World::new();
    check_in(
        &mut world,
        "submit a org=o     -> a queued, a active/1, start a/1 Original
         a/1 invalid        -> a dead_lettered, stop a/1
         submit b           -> b queued, b active/1, start b/1 Original
         b/1 needs_operator -> b dead_lettered, stop b/1
         +1h                ->
         submit c           -> c queued, c active/1, start c/1 Original
         c/1 invalid        -> c dead_lettered, stop c/1
         submit d           -> d queued, d active/1, start d/1 Original
         d/1 failed         -> d backoff +30s, stop d/1",
    );
    world
}

/// What matched, what happened, and where to go on.
fn redrive(world: &mut World, asked: Redrives) -> (Vec<RecordId>, String, Option<RecordId>) {
    let (mut answers, words) = world.tick(vec![Request::RedriveMany(Box::new(asked))]).unwrap();
    let Ok(Answer::Redriven(Redriven { matched, next, .. })) = answers.remove(0) else {
        panic!("{answers:?}")
    };
    (matched, words, next)
}

fn filtered(filter: Filter) -> Redrives {
    Redrives { filter: Filter { limit: 10, ..filter }, ..Redrives::default() }
}

#[test]
fn every_dead_letter_that_matches_is_redriven_and_nothing_else() {
    let mut world = four();
    let (matched, words, next) = redrive(&mut world, filtered(Filter::default()));
    assert_eq!((matched, next), (vec![world.id("c"), world.id("b"), world.id("a")], None));
    let started =
        "a queued, b queued, c queued, a active/2, b active/2, start a/2 Original, start b/2 Original";
    let mut said: Vec<&str> = words.split(", ").collect();
    let mut expected: Vec<&str> = started.split(", ").collect();
    said.sort_unstable();
    expected.sort_unstable();
    assert_eq!(said, expected, "{words}");
    assert_eq!(redrive(&mut world, filtered(Filter::default())).0, []);
}

#[test]
fn each_filter_narrows_what_is_redriven() {
    let cause = Filter { cause: Some(Cause::Invalid), ..Filter::default() };
    let org = Filter { org: Some("o".into()), ..Filter::default() };
    let runtime = Filter { runtime: Some("shell".into()), ..Filter::default() };
    for (filter, names) in [(cause, vec!["c", "a"]), (org, vec!["a"]), (runtime, vec![])] {
        let mut world = four();
        let wanted: Vec<RecordId> = names.iter().map(|name| world.id(name)).collect();
        assert_eq!(redrive(&mut world, filtered(filter.clone())).0, wanted, "{filter:?}");
    }
    let mut world = four();
    let hour_ago = dwell::model::Time::from_millis(common::T0);
    let old = Redrives { dead_by: Some(hour_ago), ..filtered(Filter::default()) };
    assert_eq!(redrive(&mut world, old).0, [world.id("b"), world.id("a")]);
    let ids = Some(vec![world.id("d"), world.id("c"), world.id("z"), world.id("c")]);
    let named = Redrives { ids, ..filtered(Filter::default()) };
    assert_eq!(redrive(&mut world, named).0, [world.id("c")]);
}

#[test]
fn a_dry_run_says_which_and_changes_nothing() {
    let mut world = four();
    let asked = Redrives { dry_run: true, ..filtered(Filter::default()) };
    let (matched, words, _) = redrive(&mut world, asked.clone());
    assert_eq!((matched.len(), words.as_str()), (3, ""));
    assert_eq!(redrive(&mut world, asked).0.len(), 3);
}

#[test]
fn pages_go_on_from_their_cursor_over_a_crash() {
    let mut world = four();
    let page = |before| Filter { limit: 2, before, ..Filter::default() };
    let asked = Redrives { filter: page(None), ..Redrives::default() };
    let (first, _, next) = redrive(&mut world, asked);
    assert_eq!(first, [world.id("c"), world.id("b")]);
    world.engine = None;
    world.open();
    world.now = world.now.after(duration("1s"));
    let asked = Redrives { filter: page(next), ..Redrives::default() };
    let (rest, _, next) = redrive(&mut world, asked);
    assert_eq!((rest, next), (vec![world.id("a")], None));
}

#[test]
fn many_requests_are_one_commit_and_a_refusal_of_one_leaves_the_others() {
    let mut world = World::new();
    let submit = |world: &mut World, name: &str, options: &[&str]| {
        Request::Submit(Box::new(world.submission(name, options)))
    };
    let requests = vec![
        submit(&mut world, "a", &["key=k"]),
        submit(&mut world, "b", &["runtime=unknown"]),
        submit(&mut world, "c", &["key=k"]),
        Request::Command { id: world.id("a"), command: Command::Cancel },
        submit(&mut world, "d", &[]),
    ];
    let (mut answers, words) = world.tick(vec![Request::Each(requests)]).unwrap();
    let Ok(Answer::Each(answers)) = answers.remove(0) else { panic!("{answers:?}") };
    let said: Vec<String> = answers
        .iter()
        .map(|answer| match answer {
            Ok(Answer::Admitted { duplicate, .. }) => format!("duplicate {duplicate}"),
            Ok(Answer::Record(record)) => record.state.name().to_string(),
            Ok(other) => panic!("{other:?}"),
            Err(rejected) => rejected.code().to_owned(),
        })
        .collect();
    assert_eq!(
        said,
        ["duplicate false", "unknown_runtime", "duplicate true", "cancelled", "duplicate false"]
    );
    assert_eq!(words, "a queued, a cancelled, d queued, d active/1, start d/1 Original");
    assert_eq!(world.disk.history().newest(), 1, "commits");
}

#[test]
fn a_batch_whose_commit_is_lost_leaves_nothing() {
    let mut world = World::new();
    let requests = ["a", "b"].map(|name| Request::Submit(Box::new(world.submission(name, &[]))));
    world.disk.fail_next(dwell::store::memory::Fault::Lose);
    world.tick(vec![Request::Each(requests.into())]).unwrap_err();
    world.open();
    check_in(&mut world, "show a -> rejected not_found \n show b -> rejected not_found");
}

#[test]
fn what_was_invalid_as_submitted_stays_and_does_not_hold_up_the_rest() {
    let mut world = four();
    let mut submission = world.submission("e", &[]);
    submission.invalid = Some(dwell::model::Fault::new("template", "flow f: item.login is missing"));
    world.tick(vec![Request::Submit(Box::new(submission))]).unwrap();
    let (matched, _, _) = redrive(&mut world, filtered(Filter::default()));
    assert_eq!(matched, [world.id("c"), world.id("b"), world.id("a")]);
    check_in(&mut world, "show e -> dead_lettered invalid/0, 0 in a row");
}
