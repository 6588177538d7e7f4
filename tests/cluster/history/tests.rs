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

/// Node 1 dies in the middle of a run, node 2 ends it; its one mail went out.
fn good() -> History {
    History {
        ownership: vec![owned(1, Some(life(1, 1)), 1), owned(5, Some(life(2, 2)), 2)],
        writes: vec![written(2, life(1, 1), 1), written(6, life(2, 2), 2)],
        deaths: vec![Death {
            at: 4,
            life: life(1, 1),
        }],
        runs: vec![Run {
            id: id(RUN),
            key: Some("k".into()),
            finished: true,
        }],
        tried: BTreeSet::from(["k".into()]),
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
    }
}

#[track_caller]
fn finds(spoil: impl FnOnce(&mut History), expected: impl Fn(&Violation) -> bool) {
    let mut history = good();
    spoil(&mut history);
    let found = history.violations();
    assert!(found.iter().any(expected), "{found:?}");
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
    // Tried, and the answer was lost.
    let mut history = good();
    history.accepted.clear();
    assert_eq!(history.violations(), []);
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
