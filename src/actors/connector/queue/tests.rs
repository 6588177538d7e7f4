use super::*;
use crate::{
    actors::connector::{
        app::{AppKey, Apps, Joining},
        rules::{AccountQuota, AppRule},
        state::LimiterState,
    },
    connect::{Gcra, Learned, Quota},
    domain::ConnectionId,
    persistence::codec,
};
use uuid::Uuid;

mod simulation;

const NOW: Timestamp = Timestamp::from_millis(1_700_000_000_000);

fn employee(number: usize) -> EmployeeId {
    EmployeeId::from_uuid(Uuid::from_u128(number as u128 + 1))
}
fn connection(number: usize) -> ConnectionId {
    ConnectionId::from_uuid(Uuid::from_u128(number as u128 + 1))
}
fn later(millis: u64) -> Timestamp {
    NOW.after_ms(millis)
}
fn claim(lane: usize) -> Claim {
    Claim {
        employee: employee(0),
        cost: 1,
        lane,
    }
}
/// `requests` a second, as many at once.
fn quota(requests: u32) -> Quota {
    Quota {
        requests,
        per_seconds: 1,
        burst: requests,
    }
}
fn of_account(quota: Quota) -> Option<AccountQuota> {
    let for_all = false;
    Some(AccountQuota { quota, for_all })
}
fn came(claim: Claim, tries: u32, retry: &RetryRule) -> Came<'_> {
    Came {
        claim,
        write: true,
        tries,
        retry,
        seed: 7,
    }
}
fn ok() -> Known {
    Ok(CallOutcome::Ok {
        status: 200,
        output: serde_json::Value::Null,
        rate: RateHints::default(),
    })
}
fn limited(seconds: u64) -> Known {
    Ok(CallOutcome::RateLimited {
        retry_after: Some(Duration::from_secs(seconds)),
        rate: RateHints::default(),
    })
}
fn unsent() -> Known {
    let reason = "cannot connect".into();
    Ok(CallOutcome::Unsent { reason })
}

/// What leaves now, and when to ask again.
fn sent<T>(queue: &mut Queue<T>, now: Timestamp) -> (Vec<T>, Option<Duration>) {
    let mut calls = Vec::new();
    loop {
        match queue.next(now) {
            Next::Send(call) => calls.push(call),
            Next::Wait(wait) => return (calls, wait),
        }
    }
}

fn two_lanes(for_all: bool) -> Queue<&'static str> {
    let rules = Rules {
        account: Some(AccountQuota {
            quota: quota(2),
            for_all,
        }),
        own: vec![("slack.conversations.list".into(), quota(1))],
        ..Rules::default()
    };
    Queue::new(&rules, None, 10, None)
}

#[test]
fn a_capability_that_is_used_up_holds_no_other_one_up() {
    let mut queue = two_lanes(false);
    for (lane, call) in [(1, "list"), (1, "list"), (0, "post"), (0, "post")] {
        queue.push(claim(lane), call).unwrap();
    }
    let (calls, wait) = sent(&mut queue, NOW);
    assert_eq!(calls, ["post", "list", "post"]);
    assert_eq!(wait, Some(Duration::from_secs(1)));
    let reason = queue.reason_in_words(1, NOW);
    assert_eq!(reason, "its turn in the quota of slack.conversations.list");
    assert_eq!(sent(&mut queue, later(1_000)).0, ["list"]);
}

#[test]
fn a_refusal_teaches_the_limit_that_it_is_about() {
    let mut queue = two_lanes(false);
    let retry = RetryRule::default();
    queue.push(claim(1), "list").unwrap();
    sent(&mut queue, NOW);
    let again = queue.settle(&limited(30), came(claim(1), 1, &retry), NOW);
    assert_eq!(again, Retry::At(Duration::from_secs(30)));
    queue.push_again(claim(1), "list", later(30_000));
    queue.push(claim(0), "post").unwrap();
    assert_eq!(sent(&mut queue, later(2_000)).0, ["post"]);
    assert_eq!(sent(&mut queue, later(29_000)).0, [""; 0]);
    assert_eq!(sent(&mut queue, later(30_000)).0, ["list"]);
    let view = serde_json::to_value(queue.view(later(30_000))).unwrap();
    assert_eq!(
        view["quotas"][1]["learned"],
        serde_json::Value::Null,
        "one may be a whim"
    );
    queue.settle(&limited(30), came(claim(1), 2, &retry), later(30_000));
    // The post was let through by its own limit.
    queue.settle(&ok(), came(claim(0), 1, &retry), later(30_000));
    let view = serde_json::to_value(queue.view(later(31_000))).unwrap();
    assert_eq!(view["quotas"][0]["learned"], serde_json::Value::Null);
    assert_eq!(view["quotas"][1]["learned"]["limit"], 1);
    assert_eq!(view["quotas"][1]["capability"], "slack.conversations.list");
}

#[test]
fn a_quota_of_the_connection_itself_counts_for_everything() {
    let mut queue = two_lanes(true);
    for (lane, call) in [(1, "list"), (0, "post"), (0, "post")] {
        queue.push(claim(lane), call).unwrap();
    }
    assert_eq!(sent(&mut queue, NOW).0.len(), 2);
    assert_eq!(sent(&mut queue, later(500)).0.len(), 1);
}

#[test]
fn a_failure_without_effect_is_tried_as_often_as_the_catalog_says() {
    let mut queue = two_lanes(false);
    let retry = RetryRule {
        max_attempts: 2,
        initial_ms: 5_000,
        max_ms: 5_000,
        ..RetryRule::default()
    };
    let mut settle = |answer: &Known, tries| {
        queue.push(claim(0), "post").unwrap();
        sent(&mut queue, later(60_000 * u64::from(tries)));
        queue.settle(answer, came(claim(0), tries, &retry), NOW)
    };
    let Retry::At(pause) = settle(&unsent(), 1) else {
        panic!("it surely had no effect");
    };
    assert!((2_500..=5_000).contains(&pause.as_millis()), "{pause:?}");
    assert_eq!(settle(&unsent(), 2), Retry::No);
    let busy = Ok(CallOutcome::Busy {
        code: "lock_timeout".into(),
        message: String::new(),
        retry_after: Some(Duration::from_secs(3)),
    });
    assert_eq!(settle(&busy, 1), Retry::At(Duration::from_secs(3)));
    assert_eq!(settle(&busy, 2), Retry::No);
    // To wait for the quota is no try.
    assert_eq!(settle(&limited(1), 9), Retry::At(Duration::from_secs(1)));
    assert_eq!(settle(&ok(), 1), Retry::No);
    let lost = Ok(CallOutcome::Unknown {
        reason: "no answer".into(),
        status: None,
        retry_after: None,
    });
    assert_eq!(settle(&lost, 1), Retry::No, "a write may have happened");
}

#[test]
fn a_record_that_is_locked_teaches_no_limit() {
    let mut queue = two_lanes(false);
    queue.push(claim(0), "post").unwrap();
    sent(&mut queue, NOW);
    let busy = Ok(CallOutcome::Busy {
        code: "lock_timeout".into(),
        message: String::new(),
        retry_after: None,
    });
    queue.settle(&busy, came(claim(0), 1, &RetryRule::default()), NOW);
    assert_eq!(queue.view(NOW).quotas[0].bucket.learned, None);
}

#[test]
fn no_more_calls_are_open_than_the_provider_wants() {
    let rules = Rules {
        account: of_account(quota(100)),
        concurrency: Some(3),
        ..Rules::default()
    };
    let mut queue = Queue::new(&rules, None, 10, None);
    for call in 0..5 {
        queue.push(claim(0), call).unwrap();
    }
    assert_eq!(sent(&mut queue, NOW), (vec![0, 1, 2], None));
    queue.settle(&ok(), came(claim(0), 1, &RetryRule::default()), NOW);
    assert_eq!(sent(&mut queue, NOW).0, [3]);
}

#[test]
fn a_call_knows_its_place_and_estimate() {
    let rules = Rules {
        account: of_account(quota(1)),
        ..Rules::default()
    };
    let mut queue = Queue::new(&rules, None, 10, None);
    for (who, call) in [(0, "a1"), (0, "a2"), (1, "b1"), (2, "c1")] {
        let claim = Claim {
            employee: employee(who),
            ..claim(0)
        };
        queue.push(claim, call).unwrap();
    }
    assert_eq!(sent(&mut queue, NOW).0, ["a1"]);
    let standings: Vec<_> = queue
        .standings(|_| true, NOW)
        .map(|(call, standing)| (*call, standing.place, standing.estimate.as_secs()))
        .collect();
    let mut sorted = standings.clone();
    sorted.sort_unstable_by_key(|one| one.1);
    let places: Vec<_> = sorted.iter().map(|one| (one.1, one.2)).collect();
    assert_eq!(places, [(0, 1), (1, 2), (2, 3)], "{standings:?}");
    // And so it comes to pass.
    for second in 1..4 {
        let expected = sorted[second - 1].0;
        assert_eq!(sent(&mut queue, later(second as u64 * 1_000)).0, [expected]);
    }
}

#[test]
fn what_was_kept_by_older_versions_is_read() {
    #[derive(serde::Serialize)]
    struct Before {
        gcra: Gcra,
        breaker: BreakerState,
        learned: Option<Learned>,
    }
    impl codec::Versioned for Before {
        const SCHEMA_ID: [u8; 4] = *b"CONN";
        const VERSION: u16 = 2;
        fn decode_version(_: u16, _: &[u8]) -> Result<Self, codec::CodecError> {
            unreachable!("it is only written")
        }
    }
    let mut gcra = Gcra::of(quota(1));
    gcra.try_take(NOW, 1).unwrap();
    let before = Before {
        gcra,
        breaker: BreakerState::Closed { failures: 2 },
        learned: Some(Learned::new(Duration::from_secs(1))),
    };
    let bytes = codec::encode(&before, codec::Mark { epoch: 1, seq: 1 }).unwrap();
    let (state, _): (LimiterState, _) = codec::decode(&bytes).unwrap();
    let rules = Rules {
        account: of_account(quota(1)),
        ..Rules::default()
    };
    let mut queue = Queue::new(&rules, None, 10, Some(state.clone()));
    queue.push(claim(0), "post").unwrap();
    assert_eq!(sent(&mut queue, NOW).1, Some(Duration::from_secs(1)));
    let bytes = codec::encode(&state, codec::Mark { epoch: 1, seq: 2 }).unwrap();
    let (again, _): (LimiterState, _) = codec::decode(&bytes).unwrap();
    assert_eq!(again, state);
}

#[test]
fn an_apps_state_outlives_its_connectors() {
    let key = AppKey {
        integration: "zoom".into(),
        org: None,
        client_id: "app".into(),
    };
    let rules = Rules {
        app: Some(AppRule {
            key: key.clone(),
            quota: quota(1),
            concurrency: None,
        }),
        ..Rules::default()
    };
    let apps = Apps::default();
    let join = |who, kept| {
        let joining = Joining {
            who,
            limits: &rules.app_limits(),
            concurrency: None,
            kept,
            poke: std::sync::Arc::new(|| {}),
        };
        Some(apps.join(&key, joining))
    };
    let mut queue = Queue::new(&rules, join(connection(1), Vec::new()), 10, None);
    queue.push(claim(0), "one").unwrap();
    assert_eq!(sent(&mut queue, NOW).0, ["one"]);
    let mut kept = queue.limiter_state();
    drop(queue);
    let app = std::mem::take(&mut kept.app);
    let mut queue = Queue::new(&rules, join(connection(2), app), 10, Some(kept));
    queue.push(claim(0), "two").unwrap();
    assert_eq!(sent(&mut queue, NOW).1, Some(Duration::from_secs(1)));
    let view = serde_json::to_value(queue.view(NOW)).unwrap();
    assert_eq!(view["quotas"][0]["of"], "app");
}

/// Everything that can come of a call, from its limits' point of view.
fn ends() -> Vec<Known> {
    let text = String::new;
    let outcome = |outcome| Ok::<_, ConnectorError>(outcome);
    vec![
        ok(),
        limited(1),
        unsent(),
        outcome(CallOutcome::Busy {
            code: "locked".into(),
            message: text(),
            retry_after: None,
        }),
        outcome(CallOutcome::Rejected {
            status: 400,
            code: "x".into(),
            message: text(),
        }),
        outcome(CallOutcome::Auth {
            status: 401,
            code: "x".into(),
            message: text(),
        }),
        outcome(CallOutcome::Blocked { reason: text() }),
        outcome(CallOutcome::TooLong { limit: 1 }),
        outcome(CallOutcome::Unknown {
            reason: text(),
            status: None,
            retry_after: None,
        }),
        Err(ConnectorError::Stopped),
        Err(ConnectorError::NotDurable),
        Err(ConnectorError::Token("x".into())),
        Err(ConnectorError::NeedsConsent("x".into())),
        Err(ConnectorError::TokenLater {
            reason: text(),
            retry_after: None,
        }),
    ]
}

/// A connection of an app with a limit of its own, whose open calls are counted by account and app.
fn counted_twice() -> Queue<usize> {
    let app = AppRule {
        key: AppKey {
            integration: "slack".into(),
            org: None,
            client_id: "c".into(),
        },
        concurrency: Some(2),
        quota: quota(100),
    };
    let rules = Rules {
        account: of_account(quota(1_000)),
        concurrency: Some(2),
        ..Rules::default()
    };
    let seat = Apps::default().join(
        &app.key,
        Joining {
            who: connection(0),
            limits: &[(String::new(), quota(1_000))],
            concurrency: app.concurrency,
            kept: Vec::new(),
            poke: Arc::new(|| {}),
        },
    );
    Queue::new(&rules, Some(seat), 10, None)
}

#[test]
fn a_call_gives_its_place_back_whatever_comes_of_it() {
    for end in ends() {
        let mut queue = counted_twice();
        for round in 0..5 {
            queue.push(claim(0), round).unwrap();
            let at = later(round as u64 * 3_600_000);
            assert_eq!(sent(&mut queue, at).0, [round], "{end:?}");
            queue.settle(&end, came(claim(0), 1, &RetryRule::default()), at);
            let view = queue.view(at);
            assert_eq!((queue.open(), view.app.unwrap().open), (0, 0), "{end:?}");
        }
    }
}

#[test]
fn a_call_that_is_let_go_gives_its_place_back_and_pokes() {
    let mut queue = counted_twice();
    let pokes = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let poke: Poke = {
        let pokes = pokes.clone();
        Arc::new(move || {
            pokes.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        })
    };
    for call in 0..4 {
        queue.push(claim(0), call).unwrap();
    }
    assert_eq!(sent(&mut queue, NOW).0, [0, 1]);
    let (lost, back) = (
        queue.out(claim(0), poke.clone()),
        queue.out(claim(0), poke.clone()),
    );
    // Its task broke down.
    drop(lost);
    assert_eq!(pokes.load(std::sync::atomic::Ordering::SeqCst), 1);
    queue.count_back_lost(NOW);
    assert_eq!((queue.open(), sent(&mut queue, NOW).0), (1, vec![2]));
    // One that comes back is not counted twice.
    back.came_back();
    queue.settle(&ok(), came(claim(0), 1, &RetryRule::default()), NOW);
    queue.count_back_lost(NOW);
    assert_eq!(pokes.load(std::sync::atomic::Ordering::SeqCst), 1);
    assert_eq!(queue.open(), 1);
}
