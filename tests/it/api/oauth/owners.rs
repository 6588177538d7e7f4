//! What belongs to one user is as unknown to another as if it were another org's.

use super::{Bench, bench};
use crate::api::world::Client;
use serde_json::{Value, json};
use tenure::domain::Role;

/// Connections of ann, of bob and of the org, all under the same name.
async fn furnish(bench: &Bench, ann: &Client, bob: &Client) -> [String; 3] {
    let slack = json!({"integration": "slack"});
    [
        bench.connect(ann, slack.clone()).await,
        bench.connect(bob, slack.clone()).await,
        bench.connect(&bench.world.admin, slack).await,
    ]
}

fn ids(list: &Value) -> Vec<String> {
    let items = list["items"].as_array().expect("a list").iter();
    items
        .map(|item| item["id"].as_str().expect("an id").to_owned())
        .collect()
}

#[tokio::test]
async fn one_users_connections_are_nobody_elses() {
    let bench = bench().await;
    let world = &bench.world;
    let ann = world.user("ann@acme.test", Role::Operator).await;
    // Even an admin, as long as the key is one person's.
    let bob = world.user("bob@acme.test", Role::Admin).await;
    let [of_ann, of_bob, of_org] = furnish(&bench, &ann, &bob).await;
    assert!(of_ann != of_bob && of_bob != of_org);

    let path = format!("/v1/connections/{of_ann}");
    assert_eq!(ann.get(&path).await.text("owner"), "ann@acme.test");
    for (who, stranger) in [
        ("bob", &bob),
        ("a viewer", &world.viewer),
        ("a manager", &world.manager),
        ("another org", &world.other_org),
    ] {
        assert_eq!(stranger.get(&path).await.status, 404, "{who}");
        let refused = stranger.delete(&path).await.status;
        assert!(matches!(refused.as_u16(), 403 | 404), "{who} {refused}");
        let again = json!({"integration": "slack", "connection_id": of_ann});
        for route in ["/oauth/start", "/v1/connect-links"] {
            let refused = stranger.post(route, again.clone()).await.status;
            assert!(
                matches!(refused.as_u16(), 403 | 404),
                "{who} {route} {refused}"
            );
        }
        let listed = stranger.get("/v1/connections").await;
        assert!(!ids(&listed.body).contains(&of_ann), "{who}");
    }
    bob.delete(&path).await.problem(404, "not_found");
    for (client, seen) in [
        (&ann, vec![&of_ann, &of_org]),
        (&bob, vec![&of_bob, &of_org]),
    ] {
        let mut found = ids(&client.get("/v1/connections").await.body);
        let mut seen: Vec<String> = seen.into_iter().cloned().collect();
        found.sort();
        seen.sort();
        assert_eq!(found, seen);
    }
    let all = ids(&world.admin.get("/v1/connections").await.body);
    assert_eq!(all.len(), 3, "the org's own admin key sees all");

    // What belongs to the org is seen by all and changed by admins.
    let path = format!("/v1/connections/{of_org}");
    assert_eq!(ann.get(&path).await.status, 200);
    ann.delete(&path).await.problem(403, "forbidden");
    let start = json!({"integration": "slack", "connection_id": of_org});
    ann.post("/oauth/start", start)
        .await
        .problem(403, "forbidden");
    assert_eq!(
        ann.delete(&format!("/v1/connections/{of_ann}"))
            .await
            .status,
        204
    );
}

#[tokio::test]
async fn nobody_ends_a_consent_that_another_began() {
    let bench = bench().await;
    let world = &bench.world;
    let ann = world.user("ann@acme.test", Role::Operator).await;
    let bob = world.user("bob@acme.test", Role::Operator).await;
    let of_bob = bench.connect(&bob, json!({"integration": "slack"})).await;
    let before = bob.get(&format!("/v1/connections/{of_bob}")).await;
    let started = ann
        .post("/oauth/start", json!({"integration": "slack"}))
        .await;
    let back = bench.decide(&started.text("authorize_url"), "allow").await;
    let part = |name: &str| {
        let query = back.split_once('?').expect("a query").1;
        let found = query
            .split('&')
            .find_map(|pair| pair.strip_prefix(&format!("{name}=")));
        found.expect("a parameter").to_owned()
    };
    let complete = |connection: &str| {
        json!({
            "org_id": world.org, "connection_id": connection, "auth_code": part("code"), "state": part("state"),
        })
    };
    // Bob has caught ann's code and state: neither ann's connection nor his own gets it.
    let theirs = bob
        .post("/oauth/complete", complete(&started.text("connection_id")))
        .await;
    theirs.problem(404, "not_found");
    let own = bob.post("/oauth/complete", complete(&of_bob)).await;
    own.problem(400, "invalid_state");
    let after = bob.get(&format!("/v1/connections/{of_bob}")).await;
    assert_eq!(before.body, after.body);
}

#[tokio::test]
async fn a_key_of_one_person_makes_no_keys_of_others() {
    let bench = bench().await;
    let bob = bench.world.user("bob@acme.test", Role::Admin).await;
    assert_eq!(
        bob.get("/v1/org").await.body["caller"]["user"],
        "bob@acme.test"
    );
    for user in [json!(null), json!("ann@acme.test")] {
        let body = json!({"name": "x", "role": "viewer", "user": user});
        bob.post("/v1/keys", body).await.problem(403, "forbidden");
    }
    let own = json!({"name": "x", "role": "viewer", "user": "bob@acme.test"});
    assert_eq!(bob.post("/v1/keys", own).await.status, 201);
}
