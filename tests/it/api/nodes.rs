//! The nodes of the service, for its operator: here one node alone. Several are in the tests of the cluster.

use super::world::{pure, world};
use serde_json::json;

#[tokio::test]
async fn a_node_alone_shows_itself_and_gives_nothing_away() {
    let world = world().await;
    let employee = world.manager.hire(pure("clerk")).await;
    world.operator.work(&employee, json!({"a": 1})).await;
    let list = world.admin.get("/v1/nodes").await;
    assert_eq!(list.status, 200, "{list:?}");
    let nodes = list.body["items"].as_array().expect("a list");
    assert_eq!(nodes.len(), 1);
    let node = &nodes[0];
    assert_eq!(
        (&node["this"], &node["state"]),
        (&json!(true), &json!("alive"))
    );
    assert_eq!(
        node["status"],
        json!({"awake": 1, "owned": 1, "draining": false})
    );
    assert!(node["lease_left_ms"].as_u64() > Some(0), "{node}");
    assert_eq!(
        (&list.body["partial"], &list.body["missing"]),
        (&json!(false), &json!([]))
    );
    for path in [
        format!(
            "/v1/nodes/{}/drain",
            node["node_id"].as_str().expect("an id")
        ),
        "/v1/rebalance".into(),
    ] {
        let answer = world.admin.post(&path, json!({})).await;
        let problem = answer.problem(409, "not_clustered");
        let detail = problem["detail"].as_str().expect("a text");
        assert!(detail.contains("[cluster]"), "{detail}");
    }
}

#[tokio::test]
async fn nodes_are_the_operators() {
    let world = world().await;
    // The configuration of this world names the first org.
    for path in ["/v1/nodes/x/drain", "/v1/rebalance"] {
        let answer = world.other_org.post(path, json!({})).await;
        let problem = answer.problem(403, "forbidden");
        assert!(problem["detail"].to_string().contains("operator_org"));
    }
    let list = world.other_org.get("/v1/nodes").await;
    list.problem(403, "forbidden");
    let list = world.manager.get("/v1/nodes").await;
    list.problem(403, "forbidden");
    let list = world.admin.get("/v1/nodes?limit=1").await;
    list.problem(400, "invalid_parameter");
}
