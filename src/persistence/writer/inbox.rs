//! Events of the outside as they arrive, and what became of them.

use super::{Append, AppendOutcome, InboxChange, InboxSettle};
use crate::{
    domain::{InboxId, OrgId, Timestamp},
    persistence::{
        InboxRow,
        error::Result,
        events,
        rows::{Column, Rows},
        tx::Inner,
    },
};
use sqlx::FromRow;
use std::collections::{BTreeMap, HashMap};

#[derive(FromRow)]
struct Stored {
    org_id: OrgId,
    source: String,
    external_id: String,
    id: InboxId,
}

type Name<'a> = (OrgId, &'a str, &'a str);

fn name_of(row: &InboxRow) -> Name<'_> {
    (row.org_id, &row.source, &row.external_id)
}

/// Deliveries of one event in a batch.
struct Arrival<'a> {
    first: &'a InboxRow,
    deliveries: i64,
    last: Timestamp,
}

/// Stores the events that are new. One that is known, from an earlier commit or from earlier in the batch, only counts there; its append
/// has the outcome `Known`.
pub(super) async fn receive(
    inner: &mut Inner,
    batch: &[Append],
    outcomes: &mut [AppendOutcome],
) -> Result<()> {
    // In the order of their names, so that two batches cannot wait for each other.
    let mut arrivals: BTreeMap<Name<'_>, Arrival<'_>> = BTreeMap::new();
    for row in batch.iter().filter_map(received) {
        let arrival = arrivals.entry(name_of(row)).or_insert(Arrival {
            first: row,
            deliveries: 0,
            last: row.last,
        });
        arrival.deliveries += row.deliveries;
        arrival.last = arrival.last.max(row.last);
    }
    if arrivals.is_empty() {
        return Ok(());
    }
    // SQLite counts its commits; PostgreSQL takes the number of the transaction.
    let position = events::position(inner, true).await?;
    let stored = insert(inner, &arrivals, position).await?;
    let known: Vec<(InboxId, &Arrival<'_>)> = arrivals
        .iter()
        .filter_map(|(name, arrival)| {
            let id = *stored.get(&(name.0, name.1.to_owned(), name.2.to_owned()))?;
            // A batch that is tried again after a lost connection finds its own rows.
            (id != arrival.first.id).then_some((id, arrival))
        })
        .collect();
    count(inner, &known).await?;
    let owners: HashMap<Name<'_>, InboxId> = arrivals
        .iter()
        .map(|(name, arrival)| {
            let key = (name.0, name.1.to_owned(), name.2.to_owned());
            (*name, stored.get(&key).copied().unwrap_or(arrival.first.id))
        })
        .collect();
    for (append, outcome) in batch.iter().zip(outcomes) {
        let Some(row) = received(append) else {
            continue;
        };
        let owner = owners.get(&name_of(row)).copied().unwrap_or(row.id);
        if owner != row.id {
            *outcome = AppendOutcome::Known { entry: owner };
        }
    }
    Ok(())
}

fn received(append: &Append) -> Option<&InboxRow> {
    append.inbox.iter().find_map(|change| match change {
        InboxChange::Receive(row) => Some(&**row),
        InboxChange::Settle(_) => None,
    })
}

/// Inserts what is new. Gives the ids by name if something was known; if all is new, nothing.
async fn insert(
    inner: &mut Inner,
    arrivals: &BTreeMap<Name<'_>, Arrival<'_>>,
    position: Option<i64>,
) -> Result<HashMap<(OrgId, String, String), InboxId>> {
    macro_rules! column {
        ($kind:ident, |$arrival:ident| $value:expr) => {
            Column::$kind(arrivals.values().map(|$arrival| $value).collect())
        };
    }
    let mut columns = vec![
        ("org_id", column!(Uuid, |a| a.first.org_id.uuid())),
        ("id", column!(Uuid, |a| a.first.id.uuid())),
        ("source", column!(Text, |a| a.first.source.as_str())),
        ("scheme", column!(Text, |a| a.first.scheme.as_str())),
        (
            "external_id",
            column!(Text, |a| a.first.external_id.as_str()),
        ),
        ("kind", column!(MaybeText, |a| a.first.kind.as_deref())),
        (
            "conversation_key",
            column!(MaybeText, |a| a.first.conversation_key.as_deref()),
        ),
        ("received_us", column!(Long, |a| a.first.received.micros())),
        ("headers", column!(Text, |a| a.first.headers.as_str())),
        ("payload", column!(Text, |a| a.first.payload.as_str())),
        ("verdict", column!(Text, |a| a.first.verdict.name())),
        ("detail", column!(MaybeText, |a| a.first.detail.as_deref())),
        ("triggered", column!(Text, |a| a.first.triggered.as_str())),
        ("deliveries", column!(Long, |a| a.deliveries)),
        ("last_us", column!(Long, |a| a.last.micros())),
        ("replays", column!(Long, |a| a.first.replays)),
    ];
    const NAMES: &str = "org_id, id, source, scheme, external_id, kind, conversation_key, received_us, headers, payload, verdict, detail, \
                         triggered, deliveries, last_us, replays";
    let mut names = NAMES.to_owned();
    if let Some(position) = position {
        columns.push(("arrival", Column::Long(vec![position; arrivals.len()])));
        names += ", arrival";
    }
    let statement = format!(
        "INSERT INTO inbox ({names}) SELECT {names} FROM t WHERE true ON CONFLICT (org_id, source, external_id) DO NOTHING"
    );
    let inserted = Rows::new(columns).execute(inner, &statement).await?;
    if inserted == arrivals.len() as u64 {
        return Ok(HashMap::new());
    }
    let names = vec![
        ("org_id", column!(Uuid, |a| a.first.org_id.uuid())),
        ("source", column!(Text, |a| a.first.source.as_str())),
        (
            "external_id",
            column!(Text, |a| a.first.external_id.as_str()),
        ),
    ];
    let statement = "SELECT i.org_id, i.source, i.external_id, i.id FROM t
         JOIN inbox i ON i.org_id = t.org_id AND i.source = t.source AND i.external_id = t.external_id";
    let rows: Vec<Stored> = Rows::new(names).fetch(inner, statement).await?;
    Ok(rows
        .into_iter()
        .map(|row| ((row.org_id, row.source, row.external_id), row.id))
        .collect())
}

async fn count(inner: &mut Inner, known: &[(InboxId, &Arrival<'_>)]) -> Result<()> {
    let columns = vec![
        (
            "org_id",
            Column::Uuid(known.iter().map(|(_, a)| a.first.org_id.uuid()).collect()),
        ),
        (
            "id",
            Column::Uuid(known.iter().map(|(id, _)| id.uuid()).collect()),
        ),
        (
            "more",
            Column::Long(known.iter().map(|(_, a)| a.deliveries).collect()),
        ),
        (
            "last_us",
            Column::Long(known.iter().map(|(_, a)| a.last.micros()).collect()),
        ),
    ];
    let statement = "UPDATE inbox SET deliveries = inbox.deliveries + t.more, last_us = CASE WHEN t.last_us > inbox.last_us THEN t.last_us ELSE inbox.last_us END
         FROM t WHERE inbox.org_id = t.org_id AND inbox.id = t.id";
    Rows::new(columns).execute(inner, statement).await.map(drop)
}

/// Writes what became of pending events; the last word of a batch counts.
pub(super) async fn settle(inner: &mut Inner, live: &[&Append]) -> Result<()> {
    let mut last: BTreeMap<(OrgId, InboxId), &InboxSettle> = BTreeMap::new();
    for append in live {
        for change in &append.inbox {
            if let InboxChange::Settle(settle) = change {
                last.insert((append.org, settle.id), settle);
            }
        }
    }
    let columns = vec![
        (
            "org_id",
            Column::Uuid(last.keys().map(|(org, _)| org.uuid()).collect()),
        ),
        (
            "id",
            Column::Uuid(last.keys().map(|(_, id)| id.uuid()).collect()),
        ),
        (
            "verdict",
            Column::Text(last.values().map(|one| one.verdict.name()).collect()),
        ),
        (
            "detail",
            Column::MaybeText(last.values().map(|one| one.detail.as_deref()).collect()),
        ),
        (
            "triggered",
            Column::Text(last.values().map(|one| one.triggered.as_str()).collect()),
        ),
    ];
    // Two words, of which the second is none: by `= 'pending'` alone PostgreSQL may walk the index over all that is pending.
    let statement =
        "UPDATE inbox SET verdict = t.verdict, detail = t.detail, triggered = t.triggered
         FROM t WHERE inbox.org_id = t.org_id AND inbox.id = t.id AND inbox.verdict IN ('pending', '')";
    Rows::new(columns).execute(inner, statement).await.map(drop)
}
