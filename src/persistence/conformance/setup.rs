use super::{on_both, world::*};
use crate::persistence::*;
use std::time::Duration;

on_both!(
    migrations_can_be_applied_again_and_at_once,
    a_read_cannot_write,
    what_is_not_committed_is_gone
);

async fn migrations_can_be_applied_again_and_at_once(world: World) {
    let (first, second) = tokio::join!(migrate(&world.url), migrate(&world.url));
    first.and(second).unwrap();
    assert!(
        Db::connect(&DbConfig::new(world.url.as_str()))
            .await
            .is_ok()
    );
}

async fn a_read_cannot_write(world: World) {
    let mut tx = world.read().await;
    assert!(org_set_settings(&mut tx, "{}").await.is_err());
    let mut tx = world.system_read().await;
    let hour = Duration::from_secs(3_600);
    assert!(node_heartbeat(&mut tx, world.fence, hour).await.is_err());
}

async fn what_is_not_committed_is_gone(world: World) {
    let mut tx = world.write().await;
    org_set_settings(&mut tx, r#"{"x":1}"#).await.unwrap();
    drop(tx);
    assert_eq!(
        org_get(&mut world.read().await)
            .await
            .unwrap()
            .unwrap()
            .settings,
        "{}"
    );
}

#[tokio::test]
async fn two_processes_make_the_same_sqlite_file() {
    let directory = tempfile::TempDir::new().unwrap();
    let url = format!("sqlite:{}", directory.path().join("new.db").display());
    let results = tokio::join!(migrate(&url), migrate(&url), migrate(&url));
    results.0.and(results.1).and(results.2).unwrap();
    Db::connect(&DbConfig::new(url)).await.unwrap();
}

#[tokio::test]
async fn a_database_that_is_not_ready_is_refused_in_words() {
    let directory = tempfile::TempDir::new().unwrap();
    let missing = format!("sqlite:{}", directory.path().join("missing.db").display());
    for (url, word) in [
        (missing.as_str(), "tenure migrate"),
        ("mysql://x", "sqlite:"),
        ("sqlite::memory:", "memory"),
    ] {
        let error = Db::connect(&DbConfig::new(url)).await.unwrap_err();
        assert!(
            matches!(&error, DbError::Setup(text) if text.contains(word)),
            "{error}"
        );
    }
    let empty = directory.path().join("empty.db");
    std::fs::write(&empty, "").unwrap();
    let error = Db::connect(&DbConfig::new(format!("sqlite:{}", empty.display())))
        .await
        .unwrap_err();
    assert!(error.to_string().contains("not migrated"), "{error}");
}

#[test]
fn a_password_is_not_shown() {
    let config = DbConfig::new("postgres://ann:secret@db/tenure");
    assert!(!format!("{config:?}").contains("secret"));
}
