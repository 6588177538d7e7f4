//! The record: reading it, forgetting it, and what damages it.

use super::*;
use std::io::Write;

#[tokio::test]
async fn the_record_can_be_read_in_pages_and_reset() {
    let folder = tempfile::tempdir().unwrap();
    let (_handle, bench) = Bench::start(folder.path()).await;
    bench.call("gmail.send", mail()).await;
    for _ in 0..3 {
        bench.call("slack.chat.post", message()).await;
    }
    let item = &bench.record("integration=gmail").await["items"][0];
    assert_eq!(item["idempotency_key"], "tnr_test");
    assert_eq!(item["path"], "/gmail/v1/users/me/messages/send");
    let readable = json!({
        "to": "a@b.example", "cc": null, "bcc": null, "subject": "Grüezi", "message_id": "<tnr_test@tenure>", "text": "Hello",
    });
    assert_eq!(item["body"]["message"], readable);
    assert!(!item.to_string().contains("sandbox-gmail-token"));
    let first = bench.record("integration=slack&limit=2").await;
    assert_eq!(
        (first["items"].as_array().unwrap().len(), &first["next"]),
        (2, &json!(3))
    );
    let second = bench.record("integration=slack&limit=2&after=3").await;
    assert_eq!(
        (second["items"].as_array().unwrap().len(), &second["next"]),
        (1, &Value::Null)
    );
    assert_eq!(
        bench
            .http
            .delete(format!("{}/record", bench.url))
            .send()
            .await
            .unwrap()
            .status(),
        204
    );
    assert_eq!(bench.record("").await["items"], json!([]));
    assert_eq!(
        bench
            .happened("slack.chat.post", &message(), "tnr_test")
            .await,
        None
    );
}

#[tokio::test]
async fn a_torn_last_line_is_cut_off_and_any_other_damage_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let (handle, bench) = Bench::start(folder.path()).await;
    bench.call("slack.chat.post", message()).await;
    handle.shutdown().await;
    let path = folder.path().join("record.jsonl");
    let append = |text: &str| {
        std::fs::OpenOptions::new()
            .append(true)
            .open(&path)
            .unwrap()
            .write_all(text.as_bytes())
            .unwrap()
    };
    append("{\"seq\":2,\"at\":\"20");
    let (handle, bench) = Bench::start(folder.path()).await;
    bench.call("gmail.send", mail()).await;
    assert_eq!(bench.statuses("slack").await, [200]);
    assert_eq!(bench.statuses("gmail").await, [200]);
    handle.shutdown().await;
    append("nonsense\n");
    let failed = Sandbox::start(([127, 0, 0, 1], 0).into(), folder.path().into(), today()).await;
    assert!(matches!(failed, Err(SandboxError::Damaged { line: 3, .. })));
}
