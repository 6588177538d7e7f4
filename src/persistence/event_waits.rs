//! Runs that wait for an event, and for something that has a name: a connection, a person's word on a write.
//!
//! Invariant: what is read for an event is what fits it, not what waits for events of its type. What can be compared for equality, the fields
//! and the source, is in one hash with an index ([`WaitMatch`]); patterns of sources alone are for the caller to see.

use super::{
    error::Result,
    rows::{Column, Rows},
    tx::{SystemTx, Tx, on_tx},
};
use crate::domain::{ContentHash, EmployeeId, ExecutionId, OrgId, Timestamp};
use serde_json::Value;
use sqlx::FromRow;
use std::collections::BTreeSet;
use uuid::Uuid;

#[derive(Clone, Debug, PartialEq, Eq, FromRow)]
pub struct WaitRow {
    pub org_id: OrgId,
    pub run_id: ExecutionId,
    /// As `StepId` prints.
    pub step: String,
    pub employee_id: EmployeeId,
    /// The event's type.
    pub event: String,
    /// Exact, or with `*` at its end; `None`: any.
    pub source: Option<String>,
    /// JSON: what fields of the payload must be equal to.
    pub matches: String,
    #[sqlx(rename = "since_us")]
    pub since: Timestamp,
    #[sqlx(rename = "until_us")]
    pub until: Option<Timestamp>,
}

macro_rules! wait_columns {
    () => {
        "w.org_id, w.run_id, w.step, w.employee_id, w.event, w.source, w.matches, w.since_us, w.until_us"
    };
}

/// Stands in a shape for the event's source; a pointer begins with `/` or is empty.
const SOURCE: &str = "source";
/// A shape is part of the key of an index, whose rows have a limit; further pointers are compared by the caller alone.
const SHAPE_MAX: usize = 500;

/// What an event has to say so that a wait may be for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WaitMatch {
    /// JSON list of what is compared.
    pub shape: String,
    /// Of the values, in the order of the shape. Others may have the same: whoever reads a wait compares the values.
    pub hash: i64,
}

impl WaitMatch {
    pub fn of(wait: &WaitRow) -> Self {
        let fields: Vec<(String, Value)> = serde_json::from_str(&wait.matches).unwrap_or_default();
        let source = wait.source.as_ref().filter(|source| !source.ends_with('*'));
        let source = source.map(|source| (SOURCE.to_owned(), Value::from(source.as_str())));
        let (mut names, mut values, mut length) = (Vec::new(), Vec::new(), 0);
        for (name, value) in source.into_iter().chain(fields) {
            length += name.len() + 3;
            if length <= SHAPE_MAX {
                names.push(name);
                values.push(value);
            }
        }
        Self {
            shape: Value::from(names).to_string(),
            hash: hash(&values),
        }
    }

    /// The matches of this shape that an event has: one for each name of its source, where the shape has one.
    fn of_event(shape: &str, sources: &[&str], payload: &Value) -> Vec<i64> {
        let Ok(names) = serde_json::from_str::<Vec<String>>(shape) else {
            return Vec::new();
        };
        let values = |source: &str| -> Option<Vec<Value>> {
            let value = |name: &String| match name.as_str() {
                SOURCE => Some(Value::from(source)),
                pointer => payload.pointer(pointer).cloned(),
            };
            names.iter().map(value).collect()
        };
        let hashes = sources.iter().filter_map(|source| values(source));
        hashes.map(|values| hash(&values)).collect()
    }
}

/// Equal values have equal hashes, as [`Value`] compares them. Stays as it is: rows have it.
fn hash(values: &[Value]) -> i64 {
    let plain: Vec<Value> = values.iter().map(without_negative_zero).collect();
    let hash = ContentHash::of_json(&Value::from(plain));
    let (first, _) = hash.bytes().split_at(8);
    i64::from_be_bytes(first.try_into().expect("eight bytes"))
}

/// Zero is equal to negative zero and prints otherwise.
fn without_negative_zero(value: &Value) -> Value {
    match value {
        Value::Number(number) if number.is_f64() && number.as_f64() == Some(0.0) => {
            Value::from(0.0)
        }
        Value::Array(list) => list.iter().map(without_negative_zero).collect(),
        Value::Object(map) => map
            .iter()
            .map(|(key, value)| (key.clone(), without_negative_zero(value)))
            .collect(),
        other => other.clone(),
    }
}

/// An event, as waits are found for it.
#[derive(Clone, Copy, Debug)]
pub struct EventFacts<'a> {
    pub event: &'a str,
    /// All names of its source.
    pub sources: &'a [&'a str],
    pub payload: &'a Value,
}

#[derive(FromRow)]
struct Shape {
    event: String,
    /// `None`: there are waits without one.
    shape: Option<String>,
}

/// The waits of the org that may be for one of these events, the oldest first; whether source and payload fit is for the caller to see.
pub async fn waits_find(tx: &mut Tx, events: &[EventFacts<'_>]) -> Result<Vec<WaitRow>> {
    let org = tx.org();
    let names: BTreeSet<&str> = events.iter().map(|event| event.event).collect();
    let columns = vec![
        ("org_id", Column::Uuid(vec![org.uuid(); names.len()])),
        ("event", Column::Text(names.into_iter().collect())),
    ];
    // Jumps from each shape to the next in the index, of which there are as many as there are ways to wait in the org's graphs.
    const SHAPES: &str = "SELECT event, shape FROM (
             WITH RECURSIVE shapes (org_id, event, shape) AS (
                 SELECT t.org_id, t.event, (SELECT min(w.match_shape) FROM event_wait w WHERE w.org_id = t.org_id AND w.event = t.event) FROM t
                 UNION ALL
                 SELECT s.org_id, s.event, (SELECT min(w.match_shape) FROM event_wait w
                     WHERE w.org_id = s.org_id AND w.event = s.event AND w.match_shape > s.shape) FROM shapes s WHERE s.shape IS NOT NULL
             ) SELECT event, shape FROM shapes WHERE shape IS NOT NULL) x
         UNION ALL SELECT t.event, NULL FROM t WHERE EXISTS (
             SELECT 1 FROM event_wait w WHERE w.org_id = t.org_id AND w.event = t.event AND w.match_shape IS NULL)";
    let shapes: Vec<Shape> = Rows::new(columns).fetch(&mut tx.inner, SHAPES).await?;
    if shapes.is_empty() {
        return Ok(Vec::new());
    }
    let mut keys: BTreeSet<(&str, &str, i64)> = BTreeSet::new();
    let mut unhashed: Vec<&str> = Vec::new();
    for Shape { event: name, shape } in &shapes {
        let Some(shape) = shape else {
            unhashed.push(name);
            continue;
        };
        for event in events.iter().filter(|event| event.event == name) {
            let hashes = WaitMatch::of_event(shape, event.sources, event.payload);
            keys.extend(
                hashes
                    .into_iter()
                    .map(|hash| (name.as_str(), shape.as_str(), hash)),
            );
        }
    }
    let columns = vec![
        ("org_id", Column::Uuid(vec![org.uuid(); keys.len()])),
        (
            "event",
            Column::Text(keys.iter().map(|key| key.0).collect()),
        ),
        (
            "shape",
            Column::Text(keys.iter().map(|key| key.1).collect()),
        ),
        ("hash", Column::Long(keys.iter().map(|key| key.2).collect())),
    ];
    const FITTING: &str = concat!(
        "SELECT ",
        wait_columns!(),
        " FROM t JOIN event_wait w ON w.org_id = t.org_id AND w.event = t.event AND w.match_shape = t.shape AND w.match_hash = t.hash"
    );
    let mut waits: Vec<WaitRow> = Rows::new(columns).fetch(&mut tx.inner, FITTING).await?;
    let columns = vec![
        ("org_id", Column::Uuid(vec![org.uuid(); unhashed.len()])),
        ("event", Column::Text(unhashed)),
    ];
    const UNHASHED: &str = concat!(
        "SELECT ",
        wait_columns!(),
        " FROM t JOIN event_wait w ON w.org_id = t.org_id AND w.event = t.event AND w.match_shape IS NULL"
    );
    waits.extend(
        Rows::new(columns)
            .fetch::<WaitRow>(&mut tx.inner, UNHASHED)
            .await?,
    );
    waits.sort_by(|a, b| (a.since, a.run_id, &a.step).cmp(&(b.since, b.run_id, &b.step)));
    Ok(waits)
}

/// Gives up to `limit` waits from before there were shapes theirs; how many. Zero: all have one.
pub async fn waits_hash(tx: &mut SystemTx, limit: u32) -> Result<usize> {
    let rows: Vec<WaitRow> = on_tx!(tx, |conn| {
        sqlx::query_as(concat!(
            "SELECT ",
            wait_columns!(),
            " FROM event_wait w WHERE w.match_shape IS NULL ORDER BY w.run_id, w.step LIMIT $1"
        ))
        .bind(i64::from(limit))
        .fetch_all(conn)
        .await
    })?;
    let matches: Vec<WaitMatch> = rows.iter().map(WaitMatch::of).collect();
    let columns = vec![
        (
            "run_id",
            Column::Uuid(rows.iter().map(|row| row.run_id.uuid()).collect()),
        ),
        (
            "step",
            Column::Text(rows.iter().map(|row| row.step.as_str()).collect()),
        ),
        (
            "shape",
            Column::Text(matches.iter().map(|one| one.shape.as_str()).collect()),
        ),
        (
            "hash",
            Column::Long(matches.iter().map(|one| one.hash).collect()),
        ),
    ];
    let statement = "UPDATE event_wait SET match_shape = t.shape, match_hash = t.hash FROM t
         WHERE event_wait.run_id = t.run_id AND event_wait.step = t.step";
    Rows::new(columns).execute(&mut tx.inner, statement).await?;
    Ok(rows.len())
}

/// Named waits that were ended.
#[derive(Clone, Debug, PartialEq, Eq, FromRow)]
pub struct WaitEndRow {
    pub org_id: OrgId,
    /// Under which name they are stored.
    pub event: String,
    #[sqlx(rename = "asked_us")]
    pub asked: Timestamp,
}

/// Notes that whoever waits for `event` is to go on.
pub async fn wait_end_put(tx: &mut Tx, event: &str, at: Timestamp) -> Result<()> {
    let org = tx.org();
    on_tx!(tx, |conn| {
        sqlx::query(
        "INSERT INTO wait_end (org_id, event, asked_us) VALUES ($1, $2, $3)
         ON CONFLICT (org_id, event) DO UPDATE SET asked_us = excluded.asked_us WHERE wait_end.asked_us < excluded.asked_us"
    )
    .bind(org)
    .bind(event)
    .bind(at)
    .execute(conn)
    .await
    .map(drop)
    })?;
    Ok(())
}

/// What was ended and not all of it carried out, from after `after` in the order of orgs and events.
pub async fn wait_ends(
    tx: &mut SystemTx,
    after: Option<&WaitEndRow>,
    limit: u32,
) -> Result<Vec<WaitEndRow>> {
    let (org, event) = after.map_or((Uuid::nil(), ""), |row| {
        (row.org_id.uuid(), row.event.as_str())
    });
    Ok(on_tx!(tx, |conn| {
        sqlx::query_as(
        "SELECT org_id, event, asked_us FROM wait_end WHERE (org_id, event) > ($1, $2) ORDER BY org_id, event LIMIT $3"
    )
    .bind(org)
    .bind(event)
    .bind(i64::from(limit))
    .fetch_all(conn)
    .await
    })?)
}

/// It is carried out, unless it was asked anew.
pub async fn wait_end_done(tx: &mut SystemTx, end: &WaitEndRow) -> Result<()> {
    on_tx!(tx, |conn| sqlx::query(
        "DELETE FROM wait_end WHERE org_id = $1 AND event = $2 AND asked_us = $3"
    )
    .bind(end.org_id)
    .bind(&end.event)
    .bind(end.asked)
    .execute(conn)
    .await
    .map(drop))?;
    Ok(())
}

/// Waits that were ended, a page in the order of their runs, from after `after`. A wait of such a name compares nothing; those of before
/// there were shapes are not found, see [`waits_hash`].
pub async fn waits_of_end(
    tx: &mut SystemTx,
    end: &WaitEndRow,
    after: Option<&WaitRow>,
    limit: u32,
) -> Result<Vec<WaitRow>> {
    let (run, step) = after.map_or((Uuid::nil(), ""), |row| {
        (row.run_id.uuid(), row.step.as_str())
    });
    Ok(on_tx!(tx, |conn| {
        sqlx::query_as(concat!(
        "SELECT ",
        wait_columns!(),
        " FROM event_wait w WHERE w.org_id = $1 AND w.event = $2 AND w.match_shape = '[]' AND w.match_hash = $3
            AND (w.run_id, w.step) > ($4, $5)
          ORDER BY w.run_id, w.step LIMIT $6"
    ))
    .bind(end.org_id)
    .bind(&end.event)
    .bind(hash(&[]))
    .bind(run)
    .bind(step)
    .bind(i64::from(limit))
    .fetch_all(conn)
    .await
    })?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn wait(source: Option<&str>, matches: Value) -> WaitRow {
        WaitRow {
            org_id: OrgId::from_uuid(Uuid::nil()),
            run_id: ExecutionId::from_uuid(Uuid::nil()),
            step: "0.1.0.1".into(),
            employee_id: EmployeeId::from_uuid(Uuid::nil()),
            event: "paid".into(),
            source: source.map(str::to_owned),
            matches: matches.to_string(),
            since: Timestamp::from_micros(0),
            until: None,
        }
    }

    #[test]
    fn a_match_has_the_hash_of_every_event_that_is_equal() {
        let payload =
            json!({"id": 7, "zero": -0.0, "deep": {"b": [1, 0.0], "a": "x"}, "nothing": null});
        let sources = ["hook:github", "hook:github/push"];
        let fitting = [
            (None, json!([])),
            (Some("hook:*"), json!([["/id", 7]])),
            (Some("hook:github/push"), json!([])),
            (Some("hook:github"), json!([["/zero", 0.0], ["/id", 7]])),
            (
                None,
                json!([["/deep", {"a": "x", "b": [1, -0.0]}], ["/nothing", null]]),
            ),
            (None, json!([["", payload]])),
        ];
        for (source, matches) in fitting {
            let one = WaitMatch::of(&wait(source, matches));
            let of_event = WaitMatch::of_event(&one.shape, &sources, &payload);
            assert!(of_event.contains(&one.hash), "{one:?}");
        }
        let other = [
            (Some("hook:gitlab"), json!([])),
            (None, json!([["/id", 8]])),
            (None, json!([["/id", 7.0]])),
            (None, json!([["/id", "7"]])),
            (None, json!([["/missing", null]])),
        ];
        for (source, matches) in other {
            let one = WaitMatch::of(&wait(source, matches));
            let of_event = WaitMatch::of_event(&one.shape, &sources, &payload);
            assert!(!of_event.contains(&one.hash), "{one:?}");
        }
    }

    #[test]
    fn a_shape_has_a_bound_and_what_is_left_out_is_not_compared() {
        let long: Vec<(String, u32)> = (0..100)
            .map(|n| (format!("/a_long_name_of_a_field_{n}"), n))
            .collect();
        let one = WaitMatch::of(&wait(None, json!(long)));
        assert!(one.shape.len() <= SHAPE_MAX + 2, "{}", one.shape.len());
        let payload = Value::Object(
            long.iter()
                .map(|(name, n)| (name[1..].to_owned(), json!(n)))
                .collect(),
        );
        assert_eq!(
            WaitMatch::of_event(&one.shape, &["x"], &payload),
            [one.hash]
        );
    }
}
