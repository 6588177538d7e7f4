//! What requests and ticks read does not grow with what is there. Rows are counted by PostgreSQL itself, in the transaction that reads them, in
//! databases of two sizes; a statement that looks at every row of an org, or of all orgs, is found at once.

use super::world::*;
use crate::{domain::EmployeeId, persistence::*};
use serde_json::json;

/// More than any list looks at for a page.
const SMALL: u32 = 6_000;
const LARGE: u32 = 12_000;
/// By how many rows two readings may differ.
const SLACK: i64 = 200;

/// A database in which everything is there `n` times, and nothing of it is due, open or waited for.
async fn filled(n: u32) -> World {
    let world = World::postgres().await;
    let database = world.url.rsplit('/').next().unwrap();
    let database = database.split('?').next().unwrap().to_owned();
    let (org, clerk) = (world.org.uuid(), world.hire("clerk", "{}").await.uuid());
    // An id that grows with its number, as a UUID v7 does.
    let id = "(lpad(to_hex(1750000000000 + g), 12, '0') || '70008000' || lpad(to_hex(g), 12, '0'))::uuid";
    let time = "(1750000000000 + g) * 1000";
    let far = "9000000000000000";
    let fill = format!(
        "INSERT INTO run (org_id, id, employee_id, accepted_us, finished_us, version, status, trigger_type, source)
             SELECT '{org}', {id}, '{clerk}', {time}, {time}, 1, 3, 0, 'api' FROM generate_series(1, {n}) g;
         INSERT INTO effect (org_id, id, run_id, step, key, capability, integration, args_hash, args, idempotency_key, status, attempts, epoch,
                 intended_us, settled_us)
             SELECT '{org}', {id}, {id}, '0.0.0.0', decode(lpad(to_hex(g), 12, '0'), 'hex'), 'gmail.send', 'gmail', '\\x00', '{{}}', 'k', 'done', 1, 1,
                 {time}, {far} FROM generate_series(1, {n}) g;
         INSERT INTO approval (org_id, id, run_id, employee_id, step, title, arguments, arguments_hash, status, asked_us, expires_us, decided_us,
                 asked_by)
             SELECT '{org}', {id}, {id}, '{clerk}', '0', 't', '{{}}', '\\x00', 'approved', {time}, {time}, {time}, 'x' FROM generate_series(1, {n}) g;
         INSERT INTO inbox (org_id, id, source, scheme, external_id, received_us, headers, payload, verdict, triggered, deliveries, last_us, replays)
             SELECT '{org}', {id}, 'hook:a', 'hmac', g::text, {time}, '{{}}', '{{}}', 'accepted', '[]', 1, {time}, 0 FROM generate_series(1, {n}) g;
         INSERT INTO event_wait (org_id, run_id, step, employee_id, event, source, matches, since_us, match_shape, match_hash)
             SELECT '{org}', {id}, '0', '{clerk}', 'paid', NULL, '[[\"/id\",' || g || ']]', {time}, '[\"/id\"]', g FROM generate_series(1, {n}) g;
         INSERT INTO timer (org_id, owner, key, employee_id, due_us)
             SELECT '{org}', {id}, 't', '{clerk}', {far} FROM generate_series(1, {n}) g;
         INSERT INTO employee (org_id, id, name, version, status, created_us, updated_us)
             SELECT '{org}', {id}, 'e' || g, 1, 'active', {time}, {time} FROM generate_series(1, {n}) g;
         INSERT INTO subscription (org_id, employee_id, position, source)
             SELECT '{org}', {id}, 0, 'hook:' || g || '*' FROM generate_series(1, {n}) g;
         INSERT INTO connection (org_id, id, integration, name, sealed_credential, account, status, created_us, updated_us, refresh_due_us, probe_due_us)
             SELECT '{org}', {id}, 'slack', 'c' || g, '\\x00', '{{}}', 'active', {time}, {time}, {far}, {far} FROM generate_series(1, {n}) g;
         INSERT INTO schedule_fire (org_id, schedule_id, due_us, outcome, at_us) SELECT '{org}', {id}, g, 'fired', {far} FROM generate_series(1, {n}) g;
         INSERT INTO org_event (org_id, id, kind, body, at_us) SELECT '{org}', {id}, 'k', '{{}}', {far} FROM generate_series(1, {n}) g;
         INSERT INTO dedupe (org_id, source, key, run_id, at_us) SELECT '{org}', 's', g::text, {id}, {far} FROM generate_series(1, {n}) g;
         INSERT INTO memory_history (org_id, layer, owner, key, version, source, at_us)
             SELECT '{org}', 'org', '', g::text, 1, 's', {far} FROM generate_series(1, {n}) g;
         INSERT INTO placement (entity, kind, epoch) SELECT {id}, 'employee', 1 FROM generate_series(1, {n}) g;
         ANALYZE"
    );
    as_owner(&database, fill).await;
    world
}

/// Rows that the connection has read and not reported yet, earlier transactions included: two such numbers within one transaction count.
macro_rules! rows_read {
    ($tx:expr) => {{
        let rows: i64 = super::super::tx::on_tx!($tx, |conn| sqlx::query_scalar(
            "SELECT coalesce(sum(seq_tup_read + coalesce(idx_tup_fetch, 0)), 0)::bigint FROM pg_stat_xact_user_tables"
        )
        .fetch_one(conn)
        .await)
        .unwrap();
        rows
    }};
}

/// What each statement has read.
async fn measure(world: &World) -> Vec<(&'static str, i64)> {
    let mut costs = Vec::new();
    macro_rules! of_org {
        ($name:literal, |$tx:ident| $call:expr) => {{
            let mut $tx = world.read().await;
            let before = rows_read!($tx);
            $call.await.unwrap();
            costs.push(($name, rows_read!($tx) - before));
        }};
    }
    macro_rules! of_all {
        ($name:literal, |$tx:ident| $call:expr) => {{
            let mut $tx = world.system().await;
            let before = rows_read!($tx);
            $call.await.unwrap();
            costs.push(($name, rows_read!($tx) - before));
        }};
    }
    let (some, page) = (|text: &str| Some(text.to_owned()), page(50));
    let clerk = EmployeeId::from_uuid(id());

    let none = RunFilter::default();
    of_org!("runs", |tx| run_list(&mut tx, &none, &page));
    for (name, status) in [
        ("failed runs", RunStatus::Failed),
        ("cancelled runs", RunStatus::Cancelled),
        ("waiting runs", RunStatus::Waiting),
        ("running runs", RunStatus::Running),
    ] {
        let filter = RunFilter {
            status: Some(status),
            ..none.clone()
        };
        let mut tx = world.read().await;
        let before = rows_read!(tx);
        run_list(&mut tx, &filter, &page).await.unwrap();
        costs.push((name, rows_read!(tx) - before));
    }
    let filter = RunFilter {
        conversation_key: some("nobody"),
        ..none.clone()
    };
    of_org!("runs of a conversation", |tx| run_list(
        &mut tx, &filter, &page
    ));
    let filter = RunFilter {
        source: some("nobody"),
        ..none.clone()
    };
    of_org!("runs of a source", |tx| run_list(&mut tx, &filter, &page));
    let filter = RunFilter {
        source: some("api"),
        status: Some(RunStatus::Failed),
        ..none.clone()
    };
    of_org!("failed runs of the api", |tx| run_list(
        &mut tx, &filter, &page
    ));
    let filter = RunFilter {
        employee: Some(clerk),
        status: Some(RunStatus::Completed),
        ..none.clone()
    };
    of_org!("completed runs of an employee", |tx| run_list(
        &mut tx, &filter, &page
    ));

    let none = EffectFilter::default();
    for (name, status) in [
        ("failed effects", EffectStatus::Failed),
        ("reconciled effects", EffectStatus::Reconciled),
        ("ambiguous effects", EffectStatus::Ambiguous),
    ] {
        let filter = EffectFilter {
            status: Some(status),
            ..none.clone()
        };
        let mut tx = world.read().await;
        let before = rows_read!(tx);
        effect_list(&mut tx, &filter, &page).await.unwrap();
        costs.push((name, rows_read!(tx) - before));
    }
    let filter = EffectFilter {
        integration: some("none"),
        ..none.clone()
    };
    of_org!("effects of an integration", |tx| effect_list(
        &mut tx, &filter, &page
    ));
    let filter = EffectFilter {
        integration: some("slack"),
        status: Some(EffectStatus::Done),
        ..none.clone()
    };
    of_org!("done effects of an integration", |tx| effect_list(
        &mut tx, &filter, &page
    ));

    let none = InboxFilter::default();
    for (name, filter) in [
        (
            "inbox by verdict",
            InboxFilter {
                verdict: Some(InboxVerdict::Refused),
                ..none.clone()
            },
        ),
        (
            "inbox by source",
            InboxFilter {
                source: some("hook:b*"),
                ..none.clone()
            },
        ),
        (
            "inbox by kind",
            InboxFilter {
                kind: some("x"),
                ..none.clone()
            },
        ),
        (
            "inbox by conversation",
            InboxFilter {
                conversation_key: some("x"),
                ..none.clone()
            },
        ),
        (
            "inbox by text",
            InboxFilter {
                search: some("nowhere"),
                ..none.clone()
            },
        ),
        (
            "inbox by repetition",
            InboxFilter {
                duplicate: true,
                ..none.clone()
            },
        ),
        (
            "inbox before",
            InboxFilter {
                until: Some(at(-10_000)),
                ..none.clone()
            },
        ),
        (
            "inbox since",
            InboxFilter {
                since: Some(at(900_000)),
                ..none.clone()
            },
        ),
    ] {
        let mut tx = world.read().await;
        let before = rows_read!(tx);
        inbox_list(&mut tx, &filter, &page).await.unwrap();
        costs.push((name, rows_read!(tx) - before));
    }
    for (name, status) in [
        ("pending approvals", ApprovalStatus::Pending),
        ("denied approvals", ApprovalStatus::Denied),
    ] {
        let filter = ApprovalFilter {
            status: Some(status),
            ..ApprovalFilter::default()
        };
        let mut tx = world.read().await;
        let before = rows_read!(tx);
        approval_list(&mut tx, &filter, &page).await.unwrap();
        costs.push((name, rows_read!(tx) - before));
    }

    let payload = json!({"id": "nobody"});
    let event = EventFacts {
        event: "paid",
        sources: &["hook:x", "hook:x/push"],
        payload: &payload,
    };
    of_org!("waits for an event", |tx| waits_find(&mut tx, &[event]));
    of_org!("subscriptions to a source", |tx| subscriptions_find(
        &mut tx,
        &["hook:x", "hook:x/push"]
    ));

    of_all!("timers due", |tx| timers_due(&mut tx, at(0), None, 5_000));
    of_all!("unfinished runs", |tx| unfinished_share(
        &mut tx,
        Some(clerk.uuid()),
        "employee",
        None,
        5_000
    ));
    of_all!("waits that were ended", |tx| wait_ends(&mut tx, None, 500));
    of_all!("waits without a hash", |tx| waits_hash(&mut tx, 500));
    let left = LeftAlone {
        run_over: at(900_000),
        without_run: at(900_000),
    };
    of_all!("effects left alone", |tx| effects_left_alone(
        &mut tx, left, None, 100
    ));
    of_all!("tokens due", |tx| connections_refresh_due(
        &mut tx,
        at(0),
        None,
        200
    ));
    of_all!("probes due", |tx| connections_probe_due(&mut tx, at(0), 8));
    of_all!("schedules due", |tx| schedules_due(
        &mut tx,
        at(0),
        None,
        500
    ));
    of_all!("sources due", |tx| poll_sources_due(
        &mut tx,
        at(0),
        None,
        32
    ));
    of_all!("notices due", |tx| connection_notices_due(
        &mut tx,
        at(0),
        16
    ));
    of_all!("pending events", |tx| inbox_pending(
        &mut tx, world.org, None, 2_000
    ));
    of_all!("orgs with pending events", |tx| inbox_orgs_pending(
        &mut tx, None, 500
    ));
    of_all!("keys of triggers", |tx| dedupe_delete_batch(
        &mut tx,
        world.org,
        at(0),
        500
    ));
    of_all!("questions of calls that expire", |tx| {
        approvals_of_calls_expire(&mut tx, at(900_000))
    });
    of_all!("who listens to results", |tx| internal_interests(&mut tx));
    of_all!("what is too old", |tx| retention_by_age_batch(
        &mut tx,
        world.org,
        at(0),
        500
    ));
    of_all!("claims of calls", |tx| placements_of_calls_delete(
        &mut tx, "proxied", 500
    ));
    of_all!("questions of calls that are too old", |tx| {
        approvals_of_calls_delete(&mut tx, world.org, at(-10))
    });
    of_all!("writes by proxy that are too old", |tx| {
        effects_proxied_delete(&mut tx, world.org, at(0), 500)
    });

    // The end of a run, of whose listeners there are many of other things.
    let mut tx = world.system().await;
    let before = rows_read!(tx);
    let statement =
        "SELECT count(*) FROM subscription s WHERE s.org_id = $1 AND s.source = 'employee:x'";
    let listeners: i64 = super::super::tx::on_tx!(tx, |conn| sqlx::query_scalar(statement)
        .bind(world.org)
        .fetch_one(conn)
        .await)
    .unwrap();
    assert_eq!(listeners, 0);
    costs.push(("listeners by name", rows_read!(tx) - before));
    costs
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_read_does_not_grow_with_what_is_there() {
    let small = measure(&filled(SMALL).await).await;
    let large = measure(&filled(LARGE).await).await;
    let grown: Vec<_> = small
        .iter()
        .zip(&large)
        .filter(|((_, small), (_, large))| large - small > SLACK)
        .collect();
    assert!(
        grown.is_empty(),
        "these read more rows where there are more: {grown:#?}"
    );
    let most = large.iter().max_by_key(|(_, rows)| *rows).unwrap();
    assert!(most.1 <= 2 * 5_000 + SLACK, "{most:?}");
}
