//! Backup while the service is at work, and restore to a new database: what waited goes on there. Whatever is not whole or does not fit is refused.

use super::service::{ORG, Place, Setup, psql, sql};
use crate::cli::dev::{Said, run, tenure};
use serde_json::{Value, json};
use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};
use tokio::time::{Instant, sleep};

const PATIENCE: Duration = Duration::from_secs(30);

/// Asks, and says what it was told.
fn asker() -> Value {
    json!({
        "name": "asker",
        "graph": {"graph_id": "g", "type": "employee", "edges": [],
            "nodes": [{"id": "skill", "type": "skill", "skill_graph": "sg", "permissions": []}]},
        "skill_graphs": {"sg": {"graph_id": "sg", "type": "skill",
            "nodes": [
                {"id": "ask", "type": "approval", "title": "May I?", "arguments": {"n": "input.n"}},
                {"id": "after", "type": "transform", "output": {"n": "trigger.payload.n"}}],
            "edges": [{"from": "ask", "to": "after"}]}},
    })
}

struct BackedUp {
    place: Place,
    key: String,
    run: String,
    backup: PathBuf,
}

/// A service with a run that waits for a decision, backed up while it is at work; then the run is decided, which the backup does not know.
async fn backed_up(place: Place, database: Option<&str>) -> BackedUp {
    let key = place.org_with_key(ORG, "admin");
    let service = Setup::on(&place.url).start(place.home.path());
    let client = service.client(&key);
    assert_eq!(client.post("/v1/employees", &asker()).await.status, 201);
    let told = json!({"payload": {"n": 7}, "idempotency_key": "once"});
    let told = client.post("/v1/employees/asker/triggers", &told).await;
    assert_eq!(told.status, 202, "{told:?}");
    let run = told.body["execution_id"]
        .as_str()
        .expect("an id")
        .to_owned();
    pending(&client).await;
    let hook = json!({"source": "crm", "scheme": "standard_webhooks"});
    assert_eq!(client.post("/v1/hooks", &hook).await.status, 201);

    let backup = place.home.path().join("backup");
    let said = take(database.unwrap_or(&place.url), &backup);
    assert_eq!(said.code, 0, "{said:?}");
    decide(&client).await;
    service.stop();
    BackedUp {
        place,
        key,
        run,
        backup,
    }
}

fn take(database: &str, out: &Path) -> Said {
    let out = out.to_string_lossy();
    tenure(&["backup", "--database-url", database, "--out", &out])
}

fn restore(database: &str, from: &Path, master_key: &str) -> Said {
    let from = from.to_string_lossy();
    run(
        &["restore", "--database-url", database, "--from", &from],
        &[("TENURE_MASTER_KEY", master_key)],
    )
}

async fn pending(client: &crate::process::Client) -> Value {
    let began = Instant::now();
    loop {
        let waiting = client.try_list("/v1/approvals?status=pending").await;
        match waiting.expect("a list").into_iter().next() {
            Some(approval) => return approval,
            None => assert!(began.elapsed() < PATIENCE, "no approval waits"),
        }
        sleep(Duration::from_millis(50)).await;
    }
}

async fn decide(client: &crate::process::Client) {
    let approval = pending(client).await;
    let id = approval["id"].as_str().expect("an id");
    let decision = json!({"decision": "approve", "arguments_hash": approval["arguments_hash"]});
    let path = format!("/v1/approvals/{id}/decision");
    let decided = client.post(&path, &decision).await;
    assert_eq!(decided.status, 200, "{decided:?}");
}

async fn waiting_run_goes_on_after_a_restore(before: BackedUp) {
    let target = before.place.empty_url("restored");
    let key = super::service::MASTER_KEY;
    let said = restore(&target, &before.backup, key);
    assert_eq!(said.code, 0, "{said:?}");
    let home = before.place.home.path();
    let service = Setup::on(&target).start(home);
    let client = service.client(&before.key);
    // The key is still known: the trigger is a duplicate of the run that waits.
    let told = json!({"payload": {"n": 7}, "idempotency_key": "once"});
    let again = client.post("/v1/employees/asker/triggers", &told).await;
    assert_eq!(again.body["execution_id"], before.run.as_str(), "{again:?}");
    decide(&client).await;
    let began = Instant::now();
    loop {
        let run = client.get(&format!("/v1/runs/{}", before.run)).await.body;
        if run["status"] == "completed" {
            break;
        }
        assert!(began.elapsed() < PATIENCE, "{run}");
        sleep(Duration::from_millis(50)).await;
    }
    service.stop();

    // Neither a database that has something in it, nor one that others use.
    for taken in [&target, &before.place.url] {
        let said = restore(taken, &before.backup, key);
        assert_eq!(said.code, 1, "{said:?}");
        assert!(said.err.contains("already"), "{said:?}");
    }
}

#[tokio::test]
async fn waiting_run_goes_on_after_a_restore_on_sqlite() {
    waiting_run_goes_on_after_a_restore(backed_up(Place::sqlite(), None).await).await;
}

#[tokio::test]
async fn waiting_run_goes_on_after_a_restore_on_postgres() {
    waiting_run_goes_on_after_a_restore(backed_up(Place::postgres(), None).await).await;
}

/// Between the rows that are back and the doubt about what had not left, the database looks whole.
#[tokio::test]
async fn nothing_works_with_a_database_that_is_half_restored_on_postgres() {
    let before = backed_up(Place::postgres(), None).await;
    let (place, key) = (&before.place, super::service::MASTER_KEY);
    for attempt in 0..10 {
        let target = place.empty_url(&format!("half_{attempt}"));
        // Takes the ledger as soon as it can be seen, so that the restore waits for it.
        let take = "DO $$ BEGIN
            WHILE to_regclass('effect') IS NULL LOOP PERFORM pg_sleep(0.001); COMMIT; END LOOP;
            LOCK TABLE effect;
            PERFORM pg_sleep(60);
        END $$";
        let mut holding = psql(&target, take).spawn().expect("psql is installed");
        let mut restoring = Command::new(env!("CARGO_BIN_EXE_tenure"))
            .args(["restore", "--database-url", &target, "--from"])
            .arg(&before.backup)
            .env("TENURE_MASTER_KEY", key)
            .spawn()
            .expect("the binary starts");
        let waits =
            "SELECT count(*) FROM pg_locks WHERE relation = to_regclass('effect') AND NOT granted";
        let is_caught = loop {
            if restoring.try_wait().expect("a child").is_some() {
                break false;
            }
            if sql(&target, waits) != "0" {
                break true;
            }
        };
        restoring.kill().expect("SIGKILL");
        restoring.wait().expect("it ends");
        holding.kill().expect("SIGKILL");
        holding.wait().expect("it ends");
        if !is_caught {
            continue;
        }
        sql(
            &target,
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()",
        );
        let said = Setup::on(&target).refused(place.home.path());
        assert!(said.err.contains("broken off"), "{said:?}");
        let said = restore(&target, &before.backup, key);
        assert_ne!(said.code, 0, "{said:?}");
        return;
    }
    panic!("it was never caught in between");
}

/// Managed databases give no superuser: the dump has every row all the same.
#[tokio::test]
async fn role_that_row_security_binds_backs_up_every_row() {
    let place = Place::postgres();
    let bound = place.as_bound_owner().expect("PostgreSQL");
    waiting_run_goes_on_after_a_restore(backed_up(place, Some(&bound)).await).await;
}

#[tokio::test]
async fn backup_that_is_not_whole_or_does_not_fit_is_refused() {
    let before = backed_up(Place::sqlite(), None).await;
    let key = super::service::MASTER_KEY;
    let target = before.place.empty_url("restored.db");
    let refused = |what: &str, words: &str, said: Said| {
        assert_ne!(said.code, 0, "{what}: {said:?}");
        assert!(said.err.contains(words), "{what}: {said:?}");
        let path = target.trim_start_matches("sqlite:");
        assert!(!Path::new(path).exists(), "{what}: nothing is half done");
    };
    let said = restore(&target, &before.backup, &"0b".repeat(32));
    refused("another master key", "master key", said);
    let said = restore("postgres://nobody@127.0.0.1:1/none", &before.backup, key);
    refused("another kind of database", "own kind", said);

    let changed = |name: &str, change: &dyn Fn(&Path)| {
        let copy = before.place.home.path().join(name);
        fs::create_dir(&copy).expect("a directory");
        for file in ["database.sqlite", "manifest.json"] {
            fs::copy(before.backup.join(file), copy.join(file)).expect("copied");
        }
        change(&copy);
        restore(&target, &copy, key)
    };
    let whole = fs::read(before.backup.join("database.sqlite")).expect("the copy");
    let half = |at: &Path| {
        fs::write(at.join("database.sqlite"), &whole[..whole.len() / 2]).expect("written")
    };
    refused("half a file", "not whole", changed("half", &half));
    let flipped = |at: &Path| {
        let mut bytes = whole.clone();
        let place = bytes.len() / 2;
        bytes[place] ^= 1;
        fs::write(at.join("database.sqlite"), bytes).expect("written");
    };
    refused("a flipped bit", "SHA-256", changed("flipped", &flipped));
    let without = |at: &Path| fs::remove_file(at.join("manifest.json")).expect("removed");
    refused("no manifest", "manifest.json", changed("without", &without));
    let newer = |at: &Path| edit(at, |manifest| manifest["migration"] = json!(9999));
    refused("a newer database", "newer binary", changed("newer", &newer));
    let outside = |at: &Path| edit(at, |manifest| manifest["file"] = json!("../../etc/passwd"));
    refused("a file elsewhere", "file is", changed("outside", &outside));

    let said = take(&before.place.url, &before.backup);
    assert_eq!(said.code, 2, "{said:?}");
    assert!(said.err.contains("not empty"), "{said:?}");
    let said = take(
        "sqlite:nowhere/at-all.db",
        &before.place.home.path().join("new"),
    );
    assert_ne!(said.code, 0, "{said:?}");
    assert!(said.err.contains("does not exist"), "{said:?}");
}

fn edit(at: &Path, change: impl Fn(&mut Value)) {
    let path = at.join("manifest.json");
    let text = fs::read(&path).expect("a manifest");
    let mut manifest = serde_json::from_slice(&text).expect("JSON");
    change(&mut manifest);
    fs::write(&path, manifest.to_string()).expect("written");
}
