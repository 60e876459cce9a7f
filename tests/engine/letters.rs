//! Dead letters: redriven at a pace and grouped, on a whole engine over the memory backend and a manual clock.

use dwell::engine::{Answer, Group, LETTERS_LOOKED_AT_PER_TICK_MAX, REDRIVES_MAX, Request};
use dwell::model::{Fault, Report};

use super::common::{World, check_in, duration};

/// A world with dead letters of these names, each a second older than the next, on a runtime that is paused since.
fn dead(names: &[&str]) -> World {
    let mut world = dying(names);
    check_in(&mut world, "pause claude +9000h ->");
    world
}

/// The same, and the runtime is not paused.
fn dying(names: &[&str]) -> World {
    let mut world = World::new();
    for name in names {
        check_in(
            &mut world,
            &format!(
                "submit {name}          -> {name} queued, {name} active/1, start {name}/1 Original
                 {name}/1 needs_operator -> {name} dead_lettered, stop {name}/1
                 +1s                 ->"
            ),
        );
    }
    world
}

#[test]
fn a_paced_redrive_goes_on_at_its_rate_from_the_longest_dead_and_ends() {
    check_in(
        &mut dead(&["a", "b", "c"]),
        "pace 2/s     -> redrive 1 of 3
         +499ms       ->
         +1ms         -> a queued
         redrives     -> 1 has 1 of 3 by +500ms
         +500ms       -> b queued
         +10m step    -> c queued
         redrives     ->
         pace 2/s     -> no redrive of 0",
    );
}

#[test]
fn it_goes_on_where_it_was_after_a_crash_and_never_faster() {
    check_in(
        &mut dead(&["a", "b", "c", "d", "e"]),
        "pace 1/m     -> redrive 1 of 5
         +1m step     -> a queued
         +30s         ->
         crash        ->
         +29s         ->
         +1s          -> b queued
         crash        ->
         redrives     -> 1 has 2 of 5 by +1m
         lose         ->
         +1m          -> injected fault
         crash        -> c queued
         redrives     -> 1 has 3 of 5 by +1m",
    );
    let mut world = dead(&["a", "b", "c", "d", "e"]);
    check_in(
        &mut world,
        "pace 1/m     -> redrive 1 of 5
         +1m step     -> a queued",
    );
    world.engine = None;
    world.now = world.now.after(duration("1h"));
    check_in(
        &mut world,
        "crash        -> b queued
         redrives     -> 1 has 2 of 5 by +1m
         +59s         ->
         +1s          -> c queued
         +59s step    ->
         +1s          -> d queued",
    );
}

#[test]
fn what_was_due_while_dwell_was_down_is_not_made_up_for() {
    let mut world = dead(&["a", "b", "c", "d", "e"]);
    check_in(
        &mut world,
        "pace 10/s    -> redrive 1 of 5
         +100ms       -> a queued",
    );
    world.engine = None;
    world.now = world.now.after(duration("500ms"));
    check_in(
        &mut world,
        "crash        -> b queued
         +99ms        ->
         +1ms         -> c queued",
    );
}

#[test]
fn what_does_not_match_is_passed_a_bounded_number_a_tick_and_once() {
    let mut world = World::new();
    let invalid = |world: &mut World, n: usize| {
        let mut submission = world.submission(&format!("x{n}"), &[]);
        submission.invalid = Some(Fault::new("template", "n is missing"));
        Request::Submit(Box::new(submission))
    };
    let many = (0..=LETTERS_LOOKED_AT_PER_TICK_MAX).map(|n| invalid(&mut world, n)).collect();
    world.tick(vec![Request::Each(many)]).unwrap();
    check_in(
        &mut world,
        "+1s                  ->
         submit a             -> a queued, a active/1, start a/1 Original
         a/1 needs_operator   -> a dead_lettered, stop a/1
         pause claude +9000h  ->
         pace 1/s             -> redrive 1 of 1
         +1s                  ->
         +0s                  -> a queued
         redrives             ->",
    );
}

#[test]
fn a_slow_tick_makes_up_for_a_second_and_no_more() {
    check_in(
        &mut dead(&["a", "b", "c", "d", "e", "f"]),
        "pace 2/s     -> redrive 1 of 6
         +1500ms      -> a queued, b queued, c queued
         +1h          -> d queued
         +499ms       ->
         +1ms         -> e queued",
    );
}

#[test]
fn what_dies_again_meanwhile_is_not_redriven_again() {
    let mut world = dead(&["a", "b", "c"]);
    check_in(
        &mut world,
        "open claude         ->
         pace 1/s            -> redrive 1 of 3
         +1s                 -> a queued, a active/2, start a/2 Original
         a/2 needs_operator  -> a dead_lettered, stop a/2
         +1s                 -> b queued, b active/2, start b/2 Original
         b/2 needs_operator  -> b dead_lettered, stop b/2
         +1s                 -> c queued, c active/2, start c/2 Original
         redrives            ->
         +1h step            -> ",
    );
}

#[test]
fn what_dies_again_in_the_moment_of_the_question_is_not_redriven_again() {
    let mut world = World::new();
    check_in(
        &mut world,
        "submit a             -> a queued, a active/1, start a/1 Original
         a/1 needs_operator   -> a dead_lettered, stop a/1
         pace 1000000/s       -> redrive 1 of 1
         redrives             -> 1 has 0 of 1 by +1ms
         +1ms                 -> a queued, a active/2, start a/2 Original
         a/2 needs_operator   -> a dead_lettered, stop a/2
         redrives             ->",
    );
}

#[test]
fn a_paced_redrive_keeps_to_its_filter() {
    check_in(
        &mut dying(&["a"]),
        "submit b org=o             -> b queued, b active/1, start b/1 Original
         b/1 invalid                -> b dead_lettered, stop b/1
         submit c org=o             -> c queued, c active/1, start c/1 Original
         c/1 needs_operator         -> c dead_lettered, stop c/1
         +1h                        ->
         submit d org=o             -> d queued, d active/1, start d/1 Original
         d/1 needs_operator         -> d dead_lettered, stop d/1
         pause claude +1h           ->
         pace 1/s org=o cause=needs_operator older=1h -> redrive 1 of 1
         pace 1/s org=o dry         -> no redrive of 3
         pace 1/s cause=lost        -> no redrive of 0
         +9s step                   -> c queued",
    );
}

#[test]
fn one_is_stopped_where_it_is_and_there_are_only_so_many() {
    let mut world = dead(&["a", "b", "c"]);
    check_in(
        &mut world,
        "pace 1/s     -> redrive 1 of 3
         +1s          -> a queued
         stop 1       -> 1 has 1 of 3 by +1s
         stop 1       -> rejected not_found
         crash        ->
         +1h step     ->",
    );
    for number in 2..REDRIVES_MAX + 2 {
        check_in(&mut world, &format!("pace 1/d -> redrive {number} of 2"));
    }
    check_in(&mut world, "pace 1/d -> rejected too_many_redrives");
}

#[test]
fn nothing_is_redriven_while_the_engine_stops() {
    check_in(
        &mut dead(&["a"]),
        "pace 1/s     -> redrive 1 of 1
         drain +30s   ->
         +1h step     ->
         crash        -> a queued",
    );
}

fn fail(world: &mut World, name: &str, message: &str) {
    check_in(world, &format!("submit {name} -> {name} queued, {name} active/1, start {name}/1 Original"));
    let report = Report::Invalid(Fault::new("exit_65", message));
    let request = Request::Report { id: world.id(name), attempt: 1, report };
    world.tick(vec![request]).unwrap().0.remove(0).unwrap();
}

fn groups(world: &mut World) -> Vec<Group> {
    let Ok(Answer::Groups(groups)) = world.tick(vec![Request::Groups { limit: 10 }]).unwrap().0.remove(0)
    else {
        panic!("no groups")
    };
    groups
}

#[test]
fn dead_letters_with_the_same_cause_and_kind_of_error_are_one_group_also_after_a_crash() {
    let mut world = World::new();
    fail(&mut world, "a", "no file \"/tmp/17\" after 3 tries");
    check_in(&mut world, "+1s ->");
    fail(&mut world, "b", "no file \"/tmp/x\" after 5 tries");
    fail(&mut world, "c", "no such branch");
    let said = "2 invalid \"exit_65: no file \\\"*\\\" after # tries\" 1s to 0s like b, \
                1 invalid \"exit_65: no such branch\" 0s to 0s like c";
    check_in(&mut world, &format!("groups -> {said}"));
    let before = groups(&mut world);
    check_in(&mut world, "crash ->");
    assert_eq!(groups(&mut world), before);
    check_in(&mut world, "redrive b -> b queued, b active/2, start b/2 Original");
    check_in(
        &mut world,
        "cancel c -> c cancelled
         groups   -> 1 invalid \"exit_65: no file \\\"*\\\" after # tries\" 1s to 1s like a",
    );
}

#[test]
fn a_group_s_fingerprint_narrows_lists_and_redrives() {
    let mut world = World::new();
    fail(&mut world, "a", "no file 1");
    fail(&mut world, "b", "no file 2");
    fail(&mut world, "c", "no such branch");
    let fingerprint = groups(&mut world)[0].fingerprint;
    let filter = dwell::engine::Filter { fingerprint: Some(fingerprint), limit: 10, ..Default::default() };
    let Ok(Answer::Page(page)) = world.tick(vec![Request::List(filter)]).unwrap().0.remove(0) else {
        panic!()
    };
    let found: Vec<_> = page.records.iter().map(|record| record.id).collect();
    assert_eq!(found, [world.id("b"), world.id("a")]);
    check_in(&mut world, "pause claude +1h ->");
    check_in(
        &mut world,
        &format!("pace 1/s fingerprint={fingerprint} -> redrive 1 of 2\n +9s step -> a queued, b queued"),
    );
}
