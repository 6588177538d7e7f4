//! Starts that are refused, and starts that need not wait.

use super::service::{Place, Setup};
use serde_json::json;
use std::time::{Duration, Instant};

/// Longer than anything takes here, and shorter than the lease of a node that is alone.
const WITHOUT_A_LEASE: Duration = Duration::from_secs(8);

async fn service_with_another_master_key_is_refused(place: Place) {
    let key = place.org_with_key("acme", "admin");
    let setup = Setup::on(&place.url);
    let service = setup.start(place.home.path());
    // The first secret makes the org's data key, which the master key wraps.
    let hook = json!({"source": "crm", "scheme": "standard_webhooks"});
    let made = service.client(&key).post("/v1/hooks", &hook).await;
    assert_eq!(made.status, 201, "{made:?}");
    service.stop();

    let wrong = Setup {
        master_key: "0b".repeat(32),
        ..setup.clone()
    };
    let said = wrong.refused(place.home.path());
    assert!(
        said.err.contains("master_key"),
        "names the setting: {said:?}"
    );
    let error = said.err.lines().find(|line| line.starts_with("error:"));
    let ids: Vec<&str> = error
        .expect("an error")
        .split(|c: char| !c.is_ascii_alphanumeric())
        .filter(|word| word.len() == 8 && word.chars().all(|c| c.is_ascii_hexdigit()))
        .collect();
    let mut both = ids.clone();
    both.sort_unstable();
    both.dedup();
    assert_eq!(
        both.len(),
        2,
        "names the key that is needed and the one that is there: {said:?}"
    );
    assert!(
        !said.err.contains(&"0b".repeat(32)),
        "and not the key itself"
    );

    // Both at once, as during a rotation.
    let rotating = Setup {
        master_key: format!("{} {}", "0b".repeat(32), setup.master_key),
        ..setup
    };
    rotating.start(place.home.path()).stop();
}

#[tokio::test]
async fn service_with_another_master_key_is_refused_on_sqlite() {
    service_with_another_master_key_is_refused(Place::sqlite()).await;
}

#[tokio::test]
async fn service_with_another_master_key_is_refused_on_postgres() {
    service_with_another_master_key_is_refused(Place::postgres()).await;
}

fn node_of_another_name_starts_at_once_after_a_stop(place: &Place) {
    Setup::on(&place.url).start(place.home.path()).stop();
    let renamed = Setup {
        node_name: "another".into(),
        ..Setup::on(&place.url)
    };
    let began = Instant::now();
    renamed.start(place.home.path()).stop();
    assert!(
        began.elapsed() < WITHOUT_A_LEASE,
        "it waited for the lease of the one that had stopped"
    );
}

#[test]
fn node_of_another_name_starts_at_once_after_a_stop_on_sqlite() {
    node_of_another_name_starts_at_once_after_a_stop(&Place::sqlite());
}

#[test]
fn node_of_another_name_starts_at_once_after_a_stop_on_postgres() {
    node_of_another_name_starts_at_once_after_a_stop(&Place::postgres());
}
