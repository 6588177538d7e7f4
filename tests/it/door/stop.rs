//! What streams and connections hear of a stop.

use super::{PATIENCE, Service};
use serde_json::json;
use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};
use tokio::time::timeout;

/// Hires somebody and gives a trigger for them.
async fn work(service: &Service) -> String {
    let employee = json!({
        "name": "counter",
        "graph": {
            "graph_id": "emp", "type": "employee", "edges": [],
            "nodes": [{"id": "count", "type": "skill", "skill_graph": "sg", "permissions": []}],
        },
        "skill_graphs": {"sg": {
            "graph_id": "sg", "type": "skill", "edges": [],
            "nodes": [{"id": "n1", "type": "transform", "output": {"got": "size(input)"}}],
        }},
    });
    let post = |path: &str, body: String| {
        let more = format!(
            "content-type: application/json\r\ncontent-length: {}\r\n",
            body.len()
        );
        format!("{}{body}", service.request("POST", path, &more))
    };
    let mut socket = service.connect().await;
    let hired = socket
        .ask(&post("/v1/employees", employee.to_string()))
        .await;
    assert_eq!(hired, Some(201));
    post(
        "/v1/employees/counter/triggers",
        json!({"payload": {}}).to_string(),
    )
}

#[tokio::test]
async fn busy_stream_ends_at_once_with_a_place_to_go_on_from() {
    let mut service = Service::start(&[]).await;
    let trigger = work(&service).await;
    let mut stream = service.connect().await;
    stream.send(&service.request("GET", "/v1/events", "")).await;
    // Somebody works all the time, so that the stream never has nothing to say.
    let over = Arc::new(AtomicBool::new(false));
    let mut busy = service.connect().await;
    let working = tokio::spawn({
        let over = over.clone();
        async move {
            let mut taken = 0;
            while !over.load(Ordering::Relaxed) && busy.ask(&trigger).await == Some(202) {
                taken += 1;
            }
            taken
        }
    });
    // Behind by more than it could be sent in a moment.
    while service_is_young(&service).await {}
    let reading = tokio::spawn(async move { stream.until_the_end().await });
    let idle = service.connect().await;
    timeout(PATIENCE, service.stop()).await.expect("it ends");
    over.store(true, Ordering::Relaxed);
    let taken = working.await.expect("worked");
    let read = reading.await.expect("read");
    assert!(taken > 0 && read.contains("executionResult"));
    let last = read
        .trim_end()
        .rsplit("\n\n")
        .find(|frame| frame.contains("come back"));
    let last = last.expect("a last word");
    assert!(last.contains("retry:"), "{last}");
    let place = read.lines().rfind(|line| line.starts_with("id:"));
    assert!(place.is_some());
    drop(idle);
}

/// Until some hundred runs have been done.
async fn service_is_young(service: &Service) -> bool {
    let mut socket = service.connect().await;
    let request = service.request("GET", "/v1/runs?limit=200", "connection: close\r\n");
    socket.send(&request).await;
    let answer = socket.until_the_end().await;
    answer.matches("\"execution_id\"").count() < 100
}
