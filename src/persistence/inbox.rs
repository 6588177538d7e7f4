//! The inbox: everything that arrived from outside, one row an event, with what became of it. Rows are received and settled through the
//! journal writer ([`super::InboxChange`]), many in a transaction; here they are read, given again, and deleted.

use super::{
    error::Result,
    page::{Page, PageRequest, WINDOW, uuid_key, windowed_page},
    rows::{Column, Rows},
    tx::{Dialect, SystemTx, Tx, on_tx},
    words::words,
};
use crate::domain::{InboxId, OrgId, Timestamp};
use sqlx::{FromRow, QueryBuilder};
use uuid::Uuid;

words! {
    /// What became of an event.
    InboxVerdict {
        /// It is durable; who is concerned has not been found out yet, or could not take it for the moment.
        Pending = "pending",
        /// Somebody took it: a run was started or resumed, or a question answered.
        Accepted = "accepted",
        /// It is an echo of what this side or another bot said.
        OwnMessage = "own_message",
        /// Somebody listens to its source, but not to such an event.
        Filtered = "filtered",
        /// Nobody listens to its source.
        NoSubscription = "no_subscription",
        /// Everybody whom it concerns refused it, for a reason that will not pass.
        Refused = "refused",
        /// It was proved who sent it, and what it says could not be read: another encoding, broken JSON. It is kept as it came.
        Unreadable = "unreadable",
        /// It was not proved who sent it. What it said is not kept; one row stands for all of a minute.
        BadSignature = "bad_signature",
    }
}

/// An event, and what became of it.
#[derive(Clone, Debug, PartialEq, Eq, FromRow)]
pub struct InboxRow {
    pub org_id: OrgId,
    /// Its UUID v7 is in the order of arrival.
    pub id: InboxId,
    /// As the router knows it: `hook:slack/main-…`, `poll:mail`.
    pub source: String,
    /// How it was proved who sent it: a scheme of webhooks, or `poll`.
    pub scheme: String,
    /// The provider's name for the event; unique for the source.
    pub external_id: String,
    /// What happened, for example `app_mention`.
    pub kind: Option<String>,
    pub conversation_key: Option<String>,
    #[sqlx(rename = "received_us")]
    pub received: Timestamp,
    /// JSON object of the few headers that say something; never one that proves who sends.
    pub headers: String,
    /// JSON: what a run gets as its trigger's payload.
    pub payload: String,
    pub verdict: InboxVerdict,
    /// Why, in words.
    pub detail: Option<String>,
    /// JSON list of the runs that it started or resumed.
    pub triggered: String,
    /// How often it came.
    pub deliveries: i64,
    #[sqlx(rename = "last_us")]
    pub last: Timestamp,
    /// How often a person had it given again.
    pub replays: i64,
}

macro_rules! inbox_columns {
    () => {
        "org_id, id, source, scheme, external_id, kind, conversation_key, received_us, headers, payload, verdict, detail, triggered, deliveries, last_us, replays"
    };
}

/// What of the inbox is wanted; all that is given must fit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct InboxFilter {
    pub verdict: Option<InboxVerdict>,
    /// Only those that came more than once.
    pub duplicate: bool,
    /// Only those that were given again.
    pub replayed: bool,
    /// The source, or with `*` at the end its beginning.
    pub source: Option<String>,
    pub kind: Option<String>,
    pub conversation_key: Option<String>,
    /// Stands somewhere in payload, headers or external id; letters in either case.
    pub search: Option<String>,
    pub since: Option<Timestamp>,
    pub until: Option<Timestamp>,
}

/// By how much ids may be ahead of the time that is stored beside them: they never go back, and a clock may.
const CLOCK_WENT_BACK: std::time::Duration = std::time::Duration::from_secs(3_600);
/// Rows that a search looks at for one page: it reads whole payloads.
const SEARCH_WINDOW: i64 = 500;

/// Newest first. A window bounds how many rows are asked whether they fit.
pub async fn inbox_list(
    tx: &mut Tx,
    filter: &InboxFilter,
    request: &PageRequest,
) -> Result<Page<InboxRow>> {
    windowed_page!(
        tx,
        request,
        inbox_columns!(),
        "inbox",
        Descending,
        if filter.search.is_some() { SEARCH_WINDOW } else { WINDOW },
        narrow: |query: &mut QueryBuilder<DB>| {
            // The ids begin with the time, so that the primary key serves.
            if let Some(since) = filter.since {
                query.push(" AND id >= ").push_bind(first_id_of(since));
            }
            // A clock that went back lets ids run ahead of the time for a moment; the time itself is asked below.
            if let Some(until) = filter.until {
                query.push(" AND id < ").push_bind(first_id_of(until.after(CLOCK_WENT_BACK)));
            }
        },
        filter: |query: &mut QueryBuilder<DB>| {
            if let Some(since) = filter.since {
                query.push(" AND received_us >= ").push_bind(since);
            }
            if let Some(until) = filter.until {
                query.push(" AND received_us < ").push_bind(until);
            }
            if let Some(verdict) = filter.verdict {
                query.push(" AND verdict = ").push_bind(verdict);
            }
            if filter.duplicate {
                query.push(" AND deliveries > 1");
            }
            if filter.replayed {
                query.push(" AND replays > 0");
            }
            match filter
                .source
                .as_deref()
                .map(|text| (text, text.strip_suffix('*')))
            {
                Some((_, Some(start))) => {
                    // Characters, not bytes, are what `length` counts in both databases.
                    query
                        .push(" AND substr(source, 1, length(")
                        .push_bind(start)
                        .push(")) = ")
                        .push_bind(start);
                }
                Some((source, None)) => {
                    query.push(" AND source = ").push_bind(source);
                }
                None => {}
            }
            for (column, value) in [
                (" AND kind = ", &filter.kind),
                (" AND conversation_key = ", &filter.conversation_key),
            ] {
                if let Some(value) = value {
                    query.push(column).push_bind(value);
                }
            }
            if let Some(text) = &filter.search {
                // SQLite's `lower` knows ascii alone; there other letters are found in their own case.
                let (find, text) = (DB::pick("instr(", "strpos("), text.to_lowercase());
                for (place, column) in ["payload", "headers", "external_id"]
                    .into_iter()
                    .enumerate()
                {
                    query.push(if place == 0 { " AND (" } else { " OR " });
                    query
                        .push(find)
                        .push("lower(")
                        .push(column)
                        .push("), ")
                        .push_bind(text.clone())
                        .push(") > 0");
                }
                query.push(")");
            }
            *filter != InboxFilter::default()
        },
        key: |entry: &InboxRow| uuid_key(entry.id.uuid()),
    )
}

pub async fn inbox_get(tx: &mut Tx, entry: InboxId) -> Result<Option<InboxRow>> {
    let org = tx.org();
    Ok(on_tx!(tx, |conn| sqlx::query_as(concat!(
        "SELECT ",
        inbox_columns!(),
        " FROM inbox WHERE org_id = $1 AND id = $2"
    ))
    .bind(org)
    .bind(entry)
    .fetch_optional(conn)
    .await)?)
}

/// Puts an event back to where it was when it arrived, to be given once more; gives it as it is now. `None` if there is no such event, if
/// it is still pending, or if there is nothing to give.
pub async fn inbox_reopen(tx: &mut Tx, entry: InboxId) -> Result<Option<InboxRow>> {
    let org = tx.org();
    Ok(on_tx!(tx, |conn| {
        sqlx::query_as(concat!(
        "UPDATE inbox SET verdict = 'pending', detail = NULL, replays = replays + 1
         WHERE org_id = $1 AND id = $2 AND verdict NOT IN ('pending', 'bad_signature', 'unreadable') RETURNING ",
        inbox_columns!()
    ))
    .bind(org)
    .bind(entry)
    .fetch_optional(conn)
    .await
    })?)
}

/// How an event stands that could not be read and was read again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InboxReading {
    /// `Unreadable` still, or what follows now.
    pub verdict: InboxVerdict,
    pub detail: Option<String>,
    pub kind: Option<String>,
    pub conversation_key: Option<String>,
    /// `None`: as it was.
    pub payload: Option<String>,
}

/// Puts what was read in the place of what could not be; gives the event as it is now. `None` if there is no such event, or it was read.
pub async fn inbox_reread(
    tx: &mut Tx,
    entry: InboxId,
    reading: &InboxReading,
) -> Result<Option<InboxRow>> {
    let org = tx.org();
    Ok(on_tx!(tx, |conn| {
        sqlx::query_as(concat!(
        "UPDATE inbox SET verdict = $3, detail = $4, kind = coalesce($5, kind), conversation_key = coalesce($6, conversation_key),
                payload = coalesce($7, payload), replays = replays + 1
         WHERE org_id = $1 AND id = $2 AND verdict = 'unreadable' RETURNING ",
        inbox_columns!()
    ))
    .bind(org)
    .bind(entry)
    .bind(reading.verdict)
    .bind(&reading.detail)
    .bind(&reading.kind)
    .bind(&reading.conversation_key)
    .bind(&reading.payload)
    .fetch_optional(conn)
    .await
    })?)
}

/// What has to be known of a pending event to give it in its turn.
#[derive(Clone, Debug, PartialEq, Eq, FromRow)]
pub struct PendingEvent {
    pub id: InboxId,
    pub conversation_key: Option<String>,
    /// With the id the order in which events became durable.
    pub arrival: i64,
}

/// Orgs with events that nothing has become of yet, up to `limit` after `after`, in the order of their ids.
pub async fn inbox_orgs_pending(
    tx: &mut SystemTx,
    after: Option<OrgId>,
    limit: u32,
) -> Result<Vec<OrgId>> {
    let after = after.map_or(Uuid::nil(), OrgId::uuid);
    // From one org to the next in the index: what it costs is the orgs, not their events.
    Ok(on_tx!(tx, |conn| {
        sqlx::query_scalar(
        "WITH RECURSIVE orgs (org_id) AS (
             SELECT (SELECT i.org_id FROM inbox i WHERE i.verdict = 'pending' AND i.org_id > $1 ORDER BY i.org_id LIMIT 1)
             UNION ALL
             SELECT (SELECT i.org_id FROM inbox i WHERE i.verdict = 'pending' AND i.org_id > orgs.org_id ORDER BY i.org_id LIMIT 1)
             FROM orgs WHERE orgs.org_id IS NOT NULL
         )
         SELECT org_id FROM orgs WHERE org_id IS NOT NULL LIMIT $2"
    )
    .bind(after)
    .bind(i64::from(limit))
    .fetch_all(conn)
    .await
    })?)
}

/// Events of an org that nothing has become of yet, up to `limit` after a place, in the order of arrival.
pub async fn inbox_pending(
    tx: &mut SystemTx,
    org: OrgId,
    after: Option<(i64, InboxId)>,
    limit: u32,
) -> Result<Vec<PendingEvent>> {
    let (arrival, id) = after.map_or((-1, Uuid::nil()), |(arrival, id)| (arrival, id.uuid()));
    Ok(on_tx!(tx, |conn| {
        sqlx::query_as(
        "SELECT id, conversation_key, arrival FROM inbox
         WHERE org_id = $1 AND verdict = 'pending' AND (arrival, id) > ($2, $3) ORDER BY arrival, id LIMIT $4"
    )
    .bind(org)
    .bind(arrival)
    .bind(id)
    .bind(i64::from(limit))
    .fetch_all(conn)
    .await
    })?)
}

#[derive(FromRow)]
struct First {
    id: Option<InboxId>,
}

/// Of each of these conversations the event that arrived first of those that are pending.
pub async fn inbox_firsts(
    tx: &mut SystemTx,
    org: OrgId,
    conversations: &[&str],
) -> Result<Vec<InboxId>> {
    let columns = vec![
        (
            "org_id",
            Column::Uuid(vec![org.uuid(); conversations.len()]),
        ),
        ("key", Column::Text(conversations.to_vec())),
    ];
    let statement = "SELECT (SELECT p.id FROM inbox p WHERE p.org_id = t.org_id AND p.conversation_key = t.key AND p.verdict = 'pending'
                             ORDER BY p.arrival, p.id LIMIT 1) AS id FROM t";
    let rows: Vec<First> = Rows::new(columns).fetch(&mut tx.inner, statement).await?;
    Ok(rows.into_iter().filter_map(|row| row.id).collect())
}

/// An event with its payload, if that is not too large to be read along with others.
#[derive(Clone, Debug, PartialEq, Eq, FromRow)]
pub struct InboxBrief {
    /// `payload` is empty if it has more than the bytes that were asked for.
    #[sqlx(flatten)]
    pub row: InboxRow,
    /// Bytes of the payload.
    pub size: i64,
}

/// These events, in no order, with their payloads up to `payload_max` bytes.
pub async fn inbox_briefs(
    tx: &mut SystemTx,
    org: OrgId,
    entries: &[InboxId],
    payload_max: i64,
) -> Result<Vec<InboxBrief>> {
    let columns = vec![
        ("org_id", Column::Uuid(vec![org.uuid(); entries.len()])),
        (
            "id",
            Column::Uuid(entries.iter().map(|entry| entry.uuid()).collect()),
        ),
        ("most", Column::Long(vec![payload_max; entries.len()])),
    ];
    let statement = "SELECT i.org_id, i.id, i.source, i.scheme, i.external_id, i.kind, i.conversation_key, i.received_us, i.headers,
                CASE WHEN octet_length(i.payload) <= t.most THEN i.payload ELSE '' END AS payload,
                i.verdict, i.detail, i.triggered, i.deliveries, i.last_us, i.replays, CAST(octet_length(i.payload) AS BIGINT) AS size
         FROM t JOIN inbox i ON i.org_id = t.org_id AND i.id = t.id";
    Rows::new(columns).fetch(&mut tx.inner, statement).await
}

/// The conversation of an event, or none if there is no such event.
pub async fn inbox_place(tx: &mut Tx, entry: InboxId) -> Result<Option<Option<String>>> {
    let org = tx.org();
    Ok(on_tx!(tx, |conn| sqlx::query_scalar(
        "SELECT conversation_key FROM inbox WHERE org_id = $1 AND id = $2"
    )
    .bind(org)
    .bind(entry)
    .fetch_optional(conn)
    .await)?)
}

/// Deletes up to `limit` events of the org that came for the last time before `before`, those that came longest ago first; gives their number. One
/// that is still seen stays, however long ago it came first: it is what tells that it is known. What is pending stays.
pub async fn inbox_delete_batch(
    tx: &mut SystemTx,
    org: OrgId,
    before: Timestamp,
    limit: u32,
) -> Result<u64> {
    Ok(on_tx!(tx, |conn| {
        sqlx::query(
            "DELETE FROM inbox WHERE org_id = $1 AND id IN (
                 SELECT id FROM inbox WHERE org_id = $1 AND last_us < $2 AND verdict <> 'pending' ORDER BY last_us LIMIT $3)",
        )
        .bind(org)
        .bind(before)
        .bind(i64::from(limit))
        .execute(conn)
        .await
        .map(|done| done.rows_affected())
    })?)
}

/// The smallest UUID v7 of a moment.
fn first_id_of(time: Timestamp) -> Uuid {
    let millis = u128::try_from(time.micros() / 1_000).unwrap_or(0) & 0xffff_ffff_ffff;
    Uuid::from_u128(millis << 80)
}

/// Puts an event back to pending as if its verdict had never been written.
#[cfg(test)]
pub async fn inbox_unsettle(tx: &mut SystemTx, entry: InboxId) -> Result<()> {
    on_tx!(tx, |conn| sqlx::query(
        "UPDATE inbox SET verdict = 'pending', detail = NULL, triggered = '[]' WHERE id = $1"
    )
    .bind(entry)
    .execute(conn)
    .await
    .map(drop))?;
    Ok(())
}
