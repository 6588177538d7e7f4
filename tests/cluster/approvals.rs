//! What is asked at one node is decided at another.

use crate::{
    employees::asker,
    load::{Nodes, Report, Teller},
    world::{NAMES, World, until},
};
use serde_json::json;

pub async fn show(world: &World, report: &mut Report) {
    let employees = world.hire(9, asker).await;
    let mails = world.carried_out().await.len();
    for (n, employee) in employees.iter().enumerate() {
        let nodes = Nodes::new(vec![world.client(NAMES[n % 3])]);
        Teller::new(nodes, 0).tell(employee, report).await;
    }
    // Each node decides on whatever it sees, so that each decides on questions of the others.
    let mut decided = 0;
    until("all are decided", async || {
        let client = world.client(NAMES[decided % 3]);
        let pending = client.try_list("/v1/approvals?status=pending").await;
        if let Some(approval) = pending.expect("a list").first() {
            let id = approval["id"].as_str().expect("an id");
            let body = json!({"decision": "approve", "arguments_hash": approval["arguments_hash"]});
            let answer = client
                .post(&format!("/v1/approvals/{id}/decision"), &body)
                .await;
            assert_eq!(answer.status, 200, "{answer:?}");
            let again = world
                .client(NAMES[(decided + 1) % 3])
                .post(&format!("/v1/approvals/{id}/decision"), &body)
                .await;
            assert_eq!(again.status, 409, "decided once: {again:?}");
            decided += 1;
        }
        decided == employees.len()
    })
    .await;
    until("what was approved is sent", async || {
        world.carried_out().await.len() == mails + employees.len()
    })
    .await;
}
