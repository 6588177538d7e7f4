//! The database writes its own history down: triggers, with an eye that sees all orgs, log every change of an owner and every durable
//! write together with who made it and who owned the employee at the moment of the commit.

use crate::history::{
    Accepted, CarriedOut, Death, Effect, Fire, History, Life, Message, Ownership, Run, Schedule,
    Write,
};
use sqlx::{Connection, Executor, PgConnection, Row, postgres::PgRow};
use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};
use uuid::Uuid;

/// One sequence orders all. It orders rightly: changes of one placement row wait for each other, and who declares a node dead waits for
/// the transactions that hold its fence, which take their numbers as they commit.
///
/// The triggers on durable writes are deferred to the commit, and see what is committed by then. The fence of a transaction leaves its
/// node and incarnation in two settings that end with it.
const INSTALL: &str = "
CREATE SCHEMA shown;
CREATE SEQUENCE shown.clock;
CREATE TABLE shown.ownership (
    at BIGINT DEFAULT nextval('shown.clock'), wall TIMESTAMPTZ DEFAULT clock_timestamp(),
    entity UUID, kind TEXT, node_id UUID, incarnation BIGINT, epoch BIGINT);
CREATE TABLE shown.life (
    at BIGINT DEFAULT nextval('shown.clock'), wall TIMESTAMPTZ DEFAULT clock_timestamp(),
    node_id UUID, incarnation BIGINT, state TEXT);
CREATE TABLE shown.write (
    at BIGINT DEFAULT nextval('shown.clock'), wall TIMESTAMPTZ DEFAULT clock_timestamp(),
    of_table TEXT, run_id UUID, employee UUID, writer UUID, writer_incarnation BIGINT, owner UUID, owner_incarnation BIGINT, epoch BIGINT);

CREATE FUNCTION shown.on_ownership() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$
BEGIN
    INSERT INTO shown.ownership (entity, kind, node_id, incarnation, epoch)
    VALUES (NEW.entity, NEW.kind, NEW.node_id, NEW.incarnation, NEW.epoch);
    RETURN NULL;
END $$;
CREATE TRIGGER shown AFTER INSERT OR UPDATE ON placement FOR EACH ROW EXECUTE FUNCTION shown.on_ownership();

CREATE FUNCTION shown.on_life() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$
BEGIN
    INSERT INTO shown.life (node_id, incarnation, state) VALUES (NEW.id, NEW.incarnation, NEW.state);
    RETURN NULL;
END $$;
CREATE TRIGGER shown_new AFTER INSERT ON node FOR EACH ROW EXECUTE FUNCTION shown.on_life();
CREATE TRIGGER shown AFTER UPDATE ON node FOR EACH ROW
    WHEN (OLD.state <> NEW.state OR OLD.incarnation <> NEW.incarnation) EXECUTE FUNCTION shown.on_life();

CREATE FUNCTION shown.on_write() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$
DECLARE
    who UUID;
    place public.placement;
BEGIN
    -- What is left in the ledger of a run that is over is settled by whoever keeps the house, and not by its employee.
    SELECT employee_id INTO who FROM public.run
    WHERE org_id = NEW.org_id AND id = NEW.run_id AND (TG_TABLE_NAME <> 'effect' OR finished_us IS NULL);
    SELECT * INTO place FROM public.placement WHERE entity = who AND kind = 'employee';
    INSERT INTO shown.write (of_table, run_id, employee, writer, writer_incarnation, owner, owner_incarnation, epoch)
    VALUES (TG_TABLE_NAME, NEW.run_id, who,
        nullif(current_setting('shown.node', true), '')::uuid, nullif(current_setting('shown.incarnation', true), '')::bigint,
        place.node_id, place.incarnation, place.epoch);
    RETURN NULL;
END $$;
CREATE CONSTRAINT TRIGGER shown AFTER INSERT ON journal DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW EXECUTE FUNCTION shown.on_write();
CREATE CONSTRAINT TRIGGER shown AFTER INSERT OR UPDATE ON effect DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW EXECUTE FUNCTION shown.on_write();

ALTER FUNCTION tenure_fence(UUID, BIGINT) RENAME TO tenure_fence_itself;
CREATE FUNCTION tenure_fence(of_node UUID, of_incarnation BIGINT) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM tenure_fence_itself(of_node, of_incarnation);
    PERFORM set_config('shown.node', of_node::text, true);
    PERFORM set_config('shown.incarnation', of_incarnation::text, true);
END $$;
GRANT EXECUTE ON FUNCTION tenure_fence TO tenure_engine, tenure_app;
";

/// Reads the log. It has no connection of its own, since the database goes away now and then.
#[derive(Clone)]
pub struct Recorder {
    url: String,
}

/// An owner that an entity got, and when, in microseconds since 1970.
#[derive(Clone, Copy, Debug)]
pub struct Claimed {
    pub entity: Uuid,
    pub owner: Option<Life>,
    pub at_us: i64,
}

impl Recorder {
    /// `url`: of the migrated database, as its owner.
    pub async fn install(url: &str) -> Self {
        let recorder = Self {
            url: url.to_owned(),
        };
        let mut connection = recorder.connect().await;
        connection
            .execute(sqlx::raw_sql(INSTALL))
            .await
            .expect("the log is installed");
        recorder
    }

    async fn connect(&self) -> PgConnection {
        PgConnection::connect(&self.url).await.expect("connects")
    }

    async fn rows(&self, query: &'static str) -> Vec<PgRow> {
        let mut connection = self.connect().await;
        let rows = sqlx::query(query).fetch_all(&mut connection).await;
        rows.unwrap_or_else(|error| panic!("{query}: {error}"))
    }

    /// The owners of employees at this moment.
    pub async fn owners(&self) -> BTreeMap<Uuid, Life> {
        let rows = self
            .rows(
                "SELECT entity, node_id, incarnation FROM placement WHERE kind = 'employee' AND node_id IS NOT NULL",
            )
            .await;
        let mut owners = BTreeMap::new();
        for row in rows {
            if let Some(owner) = life(&row, 1) {
                owners.insert(row.get(0), owner);
            }
        }
        owners
    }

    /// The owners of all entities of a kind that anybody has.
    pub async fn owners_of(&self, kind: &str) -> Vec<Life> {
        let rows = self
            .rows("SELECT kind, node_id, incarnation FROM placement WHERE node_id IS NOT NULL")
            .await;
        let of_kind = rows.iter().filter(|row| row.get::<&str, _>(0) == kind);
        of_kind.filter_map(|row| life(row, 1)).collect()
    }

    /// The keys of triggers that no client sent but a schedule.
    pub async fn keys_of_schedules(&self) -> Vec<String> {
        let rows = self
            .rows("SELECT d.source || ' ' || d.key FROM dedupe d JOIN schedule_fire f ON f.run_id = d.run_id")
            .await;
        rows.iter().map(|row| row.get(0)).collect()
    }

    /// The keys of triggers that no client sent but another employee's result.
    pub async fn keys_of_results(&self) -> Vec<String> {
        let rows = self
            .rows("SELECT source || ' ' || key FROM dedupe WHERE source LIKE 'employee:%'")
            .await;
        rows.iter().map(|row| row.get(0)).collect()
    }

    /// Runs of these employees that were completed, by the text that names them where they are heard.
    pub async fn results(&self, employees: &[String]) -> BTreeSet<String> {
        let rows = self
            .rows("SELECT employee_id::text, id::text FROM run WHERE status = 3")
            .await;
        let theirs = rows.iter().filter(|row| {
            let employee: String = row.get(0);
            employees.contains(&employee)
        });
        theirs.map(|row| row.get(1)).collect()
    }

    /// The results that an employee's runs have heard.
    pub async fn heard(&self, employee: &str) -> Vec<String> {
        let rows = self
            .rows(
                "SELECT r.employee_id::text, d.key FROM run r JOIN dedupe d ON d.org_id = r.org_id AND d.run_id = r.id
                 WHERE d.source LIKE 'employee:%'",
            )
            .await;
        let theirs = rows
            .iter()
            .filter(|row| row.get::<String, _>(0) == employee);
        theirs.map(|row| row.get(1)).collect()
    }

    /// The messages of each conversation, as their clients sent them, with when the run of each was over.
    pub async fn conversations(&self, said: &[Vec<String>]) -> Vec<Vec<Message>> {
        let rows = self
            .rows(
                "SELECT d.key, r.finished_us FROM run r JOIN dedupe d ON d.org_id = r.org_id AND d.run_id = r.id
                 WHERE d.source LIKE 'api>%'",
            )
            .await;
        let finished: BTreeMap<String, Option<i64>> =
            rows.iter().map(|row| (row.get(0), row.get(1))).collect();
        let message = |key: &String| Message {
            key: key.clone(),
            finished: finished.get(key).copied().flatten(),
        };
        said.iter()
            .map(|keys| keys.iter().map(message).collect())
            .collect()
    }

    /// Every change of an employee's owner, in order.
    pub async fn claims(&self) -> Vec<Claimed> {
        let rows = self
            .rows(
                "SELECT entity, node_id, incarnation, (extract(epoch FROM wall) * 1000000)::bigint FROM shown.ownership
                 WHERE kind = 'employee' ORDER BY at",
            )
            .await;
        let claim = |row: &PgRow| Claimed {
            entity: row.get(0),
            owner: life(row, 1),
            at_us: row.get(3),
        };
        rows.iter().map(claim).collect()
    }

    /// The last known life of each node with its state.
    pub async fn lives(&self) -> BTreeMap<Uuid, (i64, String)> {
        let rows = self.rows("SELECT id, incarnation, state FROM node").await;
        let read = |row: &PgRow| (row.get(0), (row.get(1), row.get(2)));
        rows.iter().map(read).collect()
    }

    /// Runs that are not over.
    pub async fn unfinished(&self) -> i64 {
        let rows = self
            .rows("SELECT count(*) FROM run WHERE finished_us IS NULL")
            .await;
        rows[0].get(0)
    }

    /// Writes that are neither settled nor in doubt.
    pub async fn unsettled(&self) -> i64 {
        let rows = self
            .rows("SELECT count(*) FROM effect WHERE status IN ('intended', 'sent')")
            .await;
        rows[0].get(0)
    }

    /// How long a small durable transaction takes on this machine: the middle of some.
    pub async fn commit_time(&self) -> Duration {
        let mut connection = self.connect().await;
        let mut took = Vec::new();
        for _ in 0..15 {
            let began = Instant::now();
            let write = "INSERT INTO shown.life (state) VALUES ('measured')";
            connection.execute(write).await.expect("written");
            took.push(began.elapsed());
        }
        connection
            .execute("DELETE FROM shown.life WHERE state = 'measured'")
            .await
            .expect("deleted");
        took.sort_unstable();
        took[took.len() / 2]
    }

    /// A number, of a query with one row and one column.
    pub async fn count(&self, query: &'static str) -> i64 {
        self.rows(query).await[0].get(0)
    }

    /// All that the database saw, with what clients and the provider saw beside it.
    pub async fn history(
        &self,
        tried: BTreeSet<String>,
        accepted: Vec<Accepted>,
        effects: Vec<Effect>,
        carried_out: Vec<CarriedOut>,
    ) -> History {
        History {
            ownership: self.ownership().await,
            writes: self.writes().await,
            deaths: self.deaths().await,
            schedules: self.schedules().await,
            runs: self.runs().await,
            tried,
            accepted,
            effects,
            carried_out,
            ..History::default()
        }
    }

    /// Of employees whose schedules are due each minute.
    async fn schedules(&self) -> Vec<Schedule> {
        let rows = self
            .rows(
                "SELECT s.id, e.created_us, f.due_us, f.times, f.run_id FROM schedule s
                 JOIN employee e ON e.org_id = s.org_id AND e.id = s.employee_id
                 JOIN schedule_fire f ON f.org_id = s.org_id AND f.schedule_id = s.id ORDER BY s.id, f.due_us",
            )
            .await;
        let minute = |row: &PgRow, column| row.get::<i64, _>(column).div_euclid(60_000_000);
        let mut schedules: Vec<Schedule> = Vec::new();
        for row in &rows {
            let id = row.get(0);
            if schedules.last().is_none_or(|last| last.id != id) {
                let first = minute(row, 1) + 1;
                schedules.push(Schedule {
                    id,
                    first,
                    fires: Vec::new(),
                });
            }
            let fires = &mut schedules.last_mut().expect("just made").fires;
            fires.push(Fire {
                minute: minute(row, 2),
                times: row.get(3),
                run: row.get(4),
            });
        }
        schedules
    }

    async fn ownership(&self) -> Vec<Ownership> {
        let rows = self
            .rows("SELECT at, entity, kind, node_id, incarnation, epoch FROM shown.ownership ORDER BY at")
            .await;
        let read = |row: &PgRow| Ownership {
            at: row.get(0),
            entity: row.get(1),
            kind: row.get(2),
            owner: life(row, 3),
            epoch: row.get(5),
        };
        rows.iter().map(read).collect()
    }

    async fn writes(&self) -> Vec<Write> {
        let rows = self
            .rows(
                "SELECT at, of_table, run_id, employee, writer, writer_incarnation, owner, owner_incarnation, epoch FROM shown.write
                 ORDER BY at",
            )
            .await;
        let read = |row: &PgRow| Write {
            at: row.get(0),
            table: row.get(1),
            run: row.get(2),
            employee: row.get(3),
            writer: life(row, 4),
            owner: life(row, 6),
            epoch: row.get(8),
        };
        rows.iter().map(read).collect()
    }

    /// A life ends when it is declared dead, and when the node's row gets another incarnation.
    async fn deaths(&self) -> Vec<Death> {
        let rows = self
            .rows("SELECT at, node_id, incarnation, state FROM shown.life ORDER BY at")
            .await;
        let mut current: BTreeMap<Uuid, i64> = BTreeMap::new();
        let mut deaths = Vec::new();
        for row in rows {
            let (at, node, incarnation): (i64, Uuid, i64) = (row.get(0), row.get(1), row.get(2));
            let before = current.insert(node, incarnation);
            if let Some(before) = before.filter(|before| *before != incarnation) {
                let life = Life {
                    node,
                    incarnation: before,
                };
                deaths.push(Death { at, life });
            }
            if row.get::<String, _>(3) == "dead" {
                deaths.push(Death {
                    at,
                    life: Life { node, incarnation },
                });
            }
        }
        // Dead first, replaced later: it ended when it died.
        deaths.sort_by_key(|one| std::cmp::Reverse(one.at));
        deaths
    }

    async fn runs(&self) -> Vec<Run> {
        let rows = self
            .rows(
                "SELECT r.id, CASE WHEN d.source LIKE 'api>%' THEN d.key ELSE d.source || ' ' || d.key END, r.finished_us IS NOT NULL,
                     r.source LIKE 'schedule:%'
                 FROM run r LEFT JOIN dedupe d ON d.org_id = r.org_id AND d.run_id = r.id",
            )
            .await;
        let read = |row: &PgRow| Run {
            id: row.get(0),
            key: row.get(1),
            finished: row.get(2),
            scheduled: row.get(3),
        };
        rows.iter().map(read).collect()
    }
}

/// Of two columns side by side.
fn life(row: &PgRow, column: usize) -> Option<Life> {
    let node: Option<Uuid> = row.get(column);
    let incarnation: Option<i64> = row.get(column + 1);
    Some(Life {
        node: node?,
        incarnation: incarnation?,
    })
}
