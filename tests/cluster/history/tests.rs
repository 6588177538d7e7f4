//! The check itself: it says nothing of a good history, and finds each thing that can be wrong with one.

use super::*;

fn id(number: u128) -> Uuid {
    Uuid::from_u128(number)
}

fn life(node: u128, incarnation: i64) -> Life {
    Life {
        node: id(node),
        incarnation,
    }
}

const EMPLOYEE: u128 = 100;
const RUN: u128 = 200;
const FIRED: u128 = 300;
const SCHEDULE: u128 = 400;

fn owned(at: i64, owner: Option<Life>, epoch: i64) -> Ownership {
    Ownership {
        at,
        entity: id(EMPLOYEE),
        kind: "employee".into(),
        owner,
        epoch,
    }
}

fn written(at: i64, by: Life, epoch: i64) -> Write {
    Write {
        at,
        table: "journal".into(),
        run: id(RUN),
        employee: Some(id(EMPLOYEE)),
        writer: Some(by),
        owner: Some(by),
        epoch: Some(epoch),
    }
}

/// Node 1 dies in the middle of a run, node 2 ends it; its one mail went out. A schedule slept for two minutes, left one out, and fired.
fn good() -> History {
    History {
        ownership: vec![owned(1, Some(life(1, 1)), 1), owned(5, Some(life(2, 2)), 2)],
        writes: vec![written(2, life(1, 1), 1), written(6, life(2, 2), 2)],
        deaths: vec![Death {
            at: 4,
            life: life(1, 1),
        }],
        runs: vec![
            Run {
                id: id(RUN),
                key: Some("k".into()),
                finished: true,
                scheduled: false,
            },
            Run {
                id: id(FIRED),
                key: Some("minute 13".into()),
                finished: true,
                scheduled: true,
            },
        ],
        tried: BTreeSet::from(["k".into(), "minute 13".into()]),
        accepted: vec![Accepted {
            key: "k".into(),
            run: id(RUN),
        }],
        effects: vec![Effect {
            key: "mail".into(),
            status: "done".into(),
        }],
        carried_out: vec![CarriedOut {
            key: "mail".into(),
            says: "k".into(),
        }],
        conversations: vec![vec![
            message("first", 5),
            message("then", 5),
            message("last", 6),
        ]],
        results: BTreeSet::from(["result".into()]),
        heard: vec!["result".into()],
        schedules: vec![Schedule {
            id: id(SCHEDULE),
            first: 10,
            fires: vec![
                fire(10, 2, None),
                fire(12, 1, None),
                fire(13, 1, Some(id(FIRED))),
            ],
        }],
        last_minute: Some(13),
    }
}

fn message(key: &str, finished: i64) -> Message {
    Message {
        key: key.into(),
        finished: Some(finished),
    }
}

fn fire(minute: i64, times: i64, run: Option<Uuid>) -> Fire {
    Fire { minute, times, run }
}

#[track_caller]
fn finds(spoil: impl FnOnce(&mut History), expected: impl Fn(&Violation) -> bool) {
    let mut history = good();
    spoil(&mut history);
    let found = history.violations();
    assert!(found.iter().any(expected), "{found:?}");
}

/// One broken history for each rule, which that rule refuses.
#[test]
fn each_rule_refuses_something() {
    let spoils: [fn(&mut History); Violation::RULES] = [
        |history| history.ownership[1].epoch = 1,
        |history| history.ownership.push(owned(9, None, 1)),
        |history| history.writes[1].owner = None,
        |history| history.writes.push(written(7, life(1, 1), 1)),
        |history| history.runs.clear(),
        |history| history.runs[0].finished = false,
        |history| {
            history.runs.push(Run {
                id: id(201),
                ..history.runs[0].clone()
            })
        },
        |history| history.runs[0].key = None,
        |history| history.effects[0].status = "sent".into(),
        |history| history.carried_out.clear(),
        |history| history.carried_out.push(history.carried_out[0].clone()),
        |history| history.effects.clear(),
        |history| history.conversations[0].swap(0, 2),
        |history| history.heard.clear(),
        |history| history.heard.push("result".into()),
        |history| history.heard.push("rumour".into()),
        |history| history.last_minute = Some(14),
        |history| history.schedules[0].fires[0].times = 3,
        |history| history.schedules[0].fires[2].run = None,
    ];
    let mut refused = BTreeSet::new();
    for spoil in spoils {
        let mut history = good();
        spoil(&mut history);
        refused.extend(history.violations().iter().map(Violation::rule));
    }
    assert_eq!(refused.len(), Violation::RULES, "{refused:?}");
}

#[test]
fn a_good_history_is_good() {
    assert_eq!(good().violations(), []);
    assert_eq!(History::default().violations(), []);
}

#[test]
fn what_a_client_wrote_needs_no_employee_but_a_fence() {
    let mut history = good();
    history.writes[0].employee = None;
    history.writes[0].owner = None;
    assert_eq!(history.violations(), []);
    finds(
        |history| {
            history.writes[0].employee = None;
            history.writes[0].writer = None;
        },
        |found| matches!(found, Violation::NotTheOwners { writer: None, .. }),
    );
}

#[test]
fn two_owners_under_one_epoch() {
    let two = |found: &Violation| matches!(found, Violation::TwoUnderOneEpoch { epoch: 1, lives, .. } if lives.len() == 2);
    finds(|history| history.ownership[1].epoch = 1, two);
    // A later life of the same node is another owner.
    finds(
        |history| {
            history.ownership.push(owned(3, Some(life(1, 3)), 1));
        },
        two,
    );
    // Nobody owned it, but somebody wrote.
    finds(|history| history.writes[1].epoch = Some(1), two);
}

#[test]
fn an_epoch_that_falls() {
    let fell = |found: &Violation| matches!(found, Violation::EpochFell { from: 2, to: 1, .. });
    finds(|history| history.ownership.push(owned(9, None, 1)), fell);
    // As they happened, not as they are listed.
    finds(|history| history.ownership[0].at = 10, fell);
    let mut history = good();
    history.ownership.reverse();
    assert_eq!(history.violations(), []);
}

#[test]
fn a_write_by_somebody_else() {
    finds(
        |history| history.writes[1].writer = Some(life(3, 3)),
        |found| matches!(found, Violation::NotTheOwners { writer: Some(by), .. } if *by == life(3, 3)),
    );
    finds(
        |history| history.writes[1].owner = None,
        |found| matches!(found, Violation::NotTheOwners { owner: None, .. }),
    );
}

#[test]
fn a_write_of_the_dead() {
    finds(
        |history| history.writes.push(written(7, life(1, 1), 1)),
        |found| matches!(found, Violation::WroteAfterDeath { writer, .. } if *writer == life(1, 1)),
    );
}

#[test]
fn triggers_and_runs_that_do_not_fit() {
    finds(
        |history| history.runs.clear(),
        |found| matches!(found, Violation::Lost { key, .. } if key == "k"),
    );
    finds(
        |history| history.runs[0].finished = false,
        |found| matches!(found, Violation::Unfinished { .. }),
    );
    finds(
        |history| {
            history.accepted.push(Accepted {
                key: "k".into(),
                run: id(201),
            })
        },
        |found| matches!(found, Violation::Doubled { runs, .. } if runs.len() == 2),
    );
    finds(
        |history| {
            history.runs.push(Run {
                id: id(201),
                key: Some("k".into()),
                finished: true,
                scheduled: false,
            })
        },
        |found| matches!(found, Violation::Doubled { .. }),
    );
    for key in [None, Some("another".to_owned())] {
        finds(
            |history| history.runs[0].key = key,
            |found| matches!(found, Violation::Unasked { .. }),
        );
    }
    // Of a schedule or not, a run is somebody's.
    finds(
        |history| history.runs[1].key = None,
        |found| matches!(found, Violation::Unasked { run, .. } if *run == id(FIRED)),
    );
    // Tried, and the answer was lost.
    let mut history = good();
    history.accepted.clear();
    assert_eq!(history.violations(), []);
}

#[test]
fn a_conversation_out_of_order() {
    let of = |wanted: &'static str| move |found: &Violation| matches!(found, Violation::OutOfOrder { first, .. } if first == wanted);
    finds(|history| history.conversations[0].swap(1, 2), of("last"));
    for at in [0, 1, 2] {
        finds(
            |history| history.conversations[0][at].finished = None,
            of(["first", "first", "then"][at]),
        );
    }
    // Another conversation is another matter.
    let mut history = good();
    history.conversations.push(vec![message("other", 1)]);
    assert_eq!(history.violations(), []);
}

#[test]
fn results_that_are_not_heard_once() {
    finds(
        |history| history.heard.clear(),
        |found| matches!(found, Violation::NotHeard { result } if result == "result"),
    );
    finds(
        |history| history.heard.push("result".into()),
        |found| matches!(found, Violation::HeardTwice { times: 2, .. }),
    );
    finds(
        |history| history.heard.push("rumour".into()),
        |found| matches!(found, Violation::HeardOfNothing { result } if result == "rumour"),
    );
}

#[test]
fn minutes_that_are_not_accounted_for_once() {
    let lost = |wanted: i64| move |found: &Violation| matches!(found, Violation::MinuteLost { minute, .. } if *minute == wanted);
    let twice = |wanted: i64| move |found: &Violation| matches!(found, Violation::MinuteTwice { minute, .. } if *minute == wanted);
    finds(
        |history| {
            history.schedules[0].fires.remove(0);
        },
        lost(10),
    );
    finds(|history| history.schedules[0].fires[0].times = 1, lost(11));
    finds(
        |history| {
            history.schedules[0].fires.remove(1);
        },
        lost(12),
    );
    finds(
        |history| {
            history.schedules[0].fires.remove(2);
        },
        lost(13),
    );
    finds(|history| history.last_minute = Some(14), lost(14));
    finds(|history| history.schedules[0].fires[0].times = 3, twice(12));
    finds(
        |history| history.schedules[0].fires.insert(2, fire(12, 1, None)),
        twice(12),
    );
    finds(
        |history| history.schedules[0].fires.insert(0, fire(9, 1, None)),
        twice(9),
    );
}

#[test]
fn fires_and_runs_that_do_not_fit() {
    let counted = |wanted: (usize, usize)| move |found: &Violation| matches!(found, Violation::FireAndRun { fires, runs, .. } if (*fires, *runs) == wanted);
    finds(
        |history| history.schedules[0].fires[2].run = None,
        counted((0, 1)),
    );
    finds(|history| drop(history.runs.remove(1)), counted((1, 0)));
    finds(
        |history| history.schedules[0].fires[1].run = Some(id(FIRED)),
        counted((2, 1)),
    );
}

#[test]
fn writes_that_do_not_fit() {
    finds(
        |history| history.carried_out.clear(),
        |found| matches!(found, Violation::NotCarriedOut { .. }),
    );
    finds(
        |history| history.effects.clear(),
        |found| matches!(found, Violation::NotIntended { .. }),
    );
    for status in ["intended", "sent"] {
        finds(
            |history| history.effects[0].status = status.into(),
            |found| matches!(found, Violation::Unsettled { .. }),
        );
    }
    finds(
        |history| history.carried_out.push(history.carried_out[0].clone()),
        |found| matches!(found, Violation::CarriedOutTwice { times: 2, .. }),
    );
    // Under another key, but the same words: a step that was done twice.
    finds(
        |history| {
            history.effects.push(Effect {
                key: "other".into(),
                status: "done".into(),
            });
            history.carried_out.push(CarriedOut {
                key: "other".into(),
                says: "k".into(),
            });
        },
        |found| matches!(found, Violation::CarriedOutTwice { what, times: 2 } if what == "k"),
    );
    // In doubt and listed as such, done or not.
    for done in [true, false] {
        let mut history = good();
        history.effects[0].status = "ambiguous".into();
        if !done {
            history.carried_out.clear();
        }
        assert_eq!(history.violations(), []);
    }
}
