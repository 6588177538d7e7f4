//! Bodies as senders write them: packed, in forms, in other charsets; and what becomes of those that cannot be read.

use super::world::{Answer, World, pure, send, world};
use flate2::{Compression, write::GzEncoder, write::ZlibEncoder};
use reqwest::Method;
use serde_json::{Value, json};
use std::io::Write;
use tenure::connect::webhook::{sign_github, sign_stripe};

const SECRET: &str = "a-secret-of-24-characters";

struct Hook<'w> {
    world: &'w World,
    path: String,
}

impl<'w> Hook<'w> {
    /// A hook as GitHub calls it, and somebody who listens to what is opened.
    async fn new(world: &'w World) -> Self {
        let mut body = pure("listener");
        body["subscriptions"] =
            json!([{"source": "hook:github", "when": "event.action == 'opened'"}]);
        world.manager.hire(body).await;
        let hook = json!({"source": "github", "scheme": "github", "secret": SECRET});
        let hook = world.admin.post("/v1/hooks", hook).await;
        assert_eq!(hook.status, 201, "{hook:?}");
        let path = hook.text("path");
        Self { world, path }
    }

    /// Signs `signed` and sends `body`.
    async fn send(&self, headers: &[(&str, &str)], signed: &[u8], body: &[u8]) -> Answer {
        let mut request = self
            .world
            .anonymous
            .request(Method::POST, &self.path)
            .header(
                "x-hub-signature-256",
                sign_github(&SECRET.to_owned().into(), signed),
            )
            .header("x-github-event", "issues")
            .body(body.to_vec());
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        send(request).await
    }

    async fn event(&self, id: &str) -> Value {
        self.world.viewer.get(&format!("/v1/inbox/{id}")).await.body
    }
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut packed = GzEncoder::new(Vec::new(), Compression::default());
    packed.write_all(bytes).expect("packed");
    packed.finish().expect("packed")
}
fn zlib(bytes: &[u8]) -> Vec<u8> {
    let mut packed = ZlibEncoder::new(Vec::new(), Compression::default());
    packed.write_all(bytes).expect("packed");
    packed.finish().expect("packed")
}

#[tokio::test]
async fn an_event_is_read_however_its_sender_writes_it() {
    let world = world().await;
    let hook = Hook::new(&world).await;
    let body = |n: u32| format!("{{\"action\":\"opened\",\"n\":{n},\"who\":\"Zo\u{eb}\"}}");
    let utf_16: Vec<u8> = body(6).encode_utf16().flat_map(u16::to_le_bytes).collect();
    let latin: Vec<u8> = body(7).chars().map(|c| c as u8).collect();
    let form = |text: &str| -> Vec<u8> {
        let escaped: String = text.bytes().map(|byte| format!("%{byte:02X}")).collect();
        format!("payload={escaped}").into_bytes()
    };
    let (json, urlencoded) = ("application/json", "application/x-www-form-urlencoded");
    for (headers, body) in [
        (vec![("content-type", json)], body(1).into_bytes()),
        (vec![("content-type", urlencoded)], form(&body(2))),
        (
            vec![("content-type", json), ("content-encoding", "gzip")],
            gzip(body(3).as_bytes()),
        ),
        (
            vec![("content-type", urlencoded), ("content-encoding", "gzip")],
            gzip(&form(&body(4))),
        ),
        (
            vec![("content-type", json), ("content-encoding", "deflate")],
            zlib(body(5).as_bytes()),
        ),
        (
            vec![("content-type", "application/json; charset=utf-16le")],
            utf_16,
        ),
        (
            vec![("content-type", "application/json; charset=iso-8859-1")],
            latin,
        ),
        (
            vec![("content-type", "application/vnd.github+json")],
            body(8).into_bytes(),
        ),
        (vec![], body(9).into_bytes()),
        (
            vec![("content-type", json)],
            [b"\xef\xbb\xbf", body(10).as_bytes()].concat(),
        ),
        (vec![("content-type", "text/plain")], body(11).into_bytes()),
    ] {
        let answer = hook.send(&headers, &body, &body).await;
        assert_eq!(
            (answer.status.as_u16(), &answer.body["verdict"]),
            (202, &json!("accepted")),
            "{headers:?} {answer:?}"
        );
        let event = hook.event(&answer.text("id")).await;
        assert_eq!(event["payload"]["who"], "Zo\u{eb}", "{headers:?}");
    }
    // Some sign what they pack, and not what they send; it is the same event, however it is packed.
    let plain = body(12).into_bytes();
    let headers = [("content-type", json), ("content-encoding", "gzip")];
    let first = hook.send(&headers, &plain, &gzip(&plain)).await;
    assert_eq!(first.body["duplicate"], json!(false), "{first:?}");
    let headers = [("content-type", json), ("content-encoding", "deflate")];
    let again = hook.send(&headers, &plain, &zlib(&plain)).await;
    assert_eq!(again.body["duplicate"], json!(true), "{again:?}");
    let other = hook.send(&headers, &plain, &zlib(b"{}")).await;
    other.problem(401, "invalid_signature");
}

#[tokio::test]
async fn what_a_body_says_of_its_event_is_read_however_it_is_written() {
    let world = world().await;
    let mut listener = pure("listener");
    listener["subscriptions"] =
        json!([{"source": "hook:stripe", "when": "event.type == 'invoice.paid'"}]);
    world.manager.hire(listener).await;
    let hook = json!({"source": "stripe", "scheme": "stripe", "secret": SECRET});
    let hook = world.admin.post("/v1/hooks", hook).await;
    let path = hook.text("path");
    let body = |n: u32| format!("{{\"id\":\"evt_{n}\",\"type\":\"invoice.paid\"}}").into_bytes();
    let twice = br#"{"type":"x","id":"evt_0","id":"evt_5","type":"invoice.paid"}"#.to_vec();
    let utf_16 = String::from_utf8(body(4)).expect("a text");
    let utf_16 = utf_16.encode_utf16().flat_map(u16::to_be_bytes).collect();
    let kind = ("content-type", "application/json; charset=utf-8");
    for (n, headers, body) in [
        (1, vec![kind], body(1)),
        (2, vec![kind], [b"\xef\xbb\xbf", &*body(2)].concat()),
        (3, vec![kind, ("content-encoding", "gzip")], gzip(&body(3))),
        (
            4,
            vec![("content-type", "application/json; charset=utf-16be")],
            utf_16,
        ),
        (5, vec![kind], twice),
        (
            6,
            vec![kind, ("content-encoding", "deflate")],
            zlib(&body(6)),
        ),
    ] {
        let signature = sign_stripe(&SECRET.to_owned().into(), world.engine.now(), &body);
        let request = world.anonymous.request(Method::POST, &path);
        let mut request = request.header("stripe-signature", signature).body(body);
        for (name, value) in &headers {
            request = request.header(*name, *value);
        }
        let answer = send(request).await;
        assert_eq!(answer.body["verdict"], "accepted", "{headers:?} {answer:?}");
        let event = world
            .viewer
            .get(&format!("/v1/inbox/{}", answer.text("id")))
            .await
            .body;
        assert_eq!(
            (&event["kind"], &event["external_id"]),
            (&json!("invoice.paid"), &json!(format!("evt_{n}"))),
        );
    }
}

#[tokio::test]
async fn a_proved_event_that_cannot_be_read_is_kept_and_can_be_read_again() {
    let world = world().await;
    let hook = Hook::new(&world).await;
    let xml = b"<event/>".as_slice();
    let bomb = gzip(&vec![b' '; 32 * 1024 * 1024]);
    let json = "application/json";
    for (headers, body, status, problem) in [
        (
            vec![("content-type", json)],
            b"{\"action\":".to_vec(),
            400,
            "malformed_json",
        ),
        (
            vec![("content-type", "application/xml")],
            xml.to_vec(),
            415,
            "unsupported_media_type",
        ),
        (
            vec![("content-type", "multipart/form-data; boundary=x")],
            b"--x--".to_vec(),
            415,
            "unsupported_media_type",
        ),
        (
            vec![("content-type", "application/json; charset=klingon")],
            b"{\"k\":1}".to_vec(),
            415,
            "unsupported_media_type",
        ),
        (
            vec![("content-type", json), ("content-encoding", "br")],
            b"{\"b\":1}".to_vec(),
            415,
            "unsupported_media_type",
        ),
        (
            vec![("content-type", json), ("content-encoding", "gzip")],
            b"{\"g\":1}".to_vec(),
            400,
            "bad_webhook",
        ),
        (
            vec![("content-type", json), ("content-encoding", "gzip")],
            bomb,
            413,
            "payload_too_large",
        ),
        (
            vec![("content-type", "application/x-www-form-urlencoded")],
            b"action=opened".to_vec(),
            400,
            "bad_webhook",
        ),
    ] {
        let answer = hook.send(&headers, &body, &body).await;
        let id = answer.problem(status, problem)["event"]
            .as_str()
            .expect("an event")
            .to_owned();
        let event = hook.event(&id).await;
        assert_eq!(event["verdict"], "unreadable", "{headers:?}");
        assert!(
            event["detail"]
                .as_str()
                .is_some_and(|detail| !detail.is_empty())
        );
        let again = hook.send(&headers, &body, &body).await;
        assert_eq!(
            again.problem(status, problem)["event"],
            json!(id),
            "{headers:?}"
        );
        assert_eq!(hook.event(&id).await["deliveries"], 2);
        // It is read once more, and cannot be by this service either.
        let replayed = world
            .manager
            .post(&format!("/v1/inbox/{id}/replay"), json!({}))
            .await;
        assert_eq!(replayed.status, 202, "{replayed:?}");
        assert_eq!(
            (&replayed.body["verdict"], &replayed.body["replays"]),
            (&json!("unreadable"), &json!(1))
        );
    }
    let listed = world.viewer.get("/v1/inbox?verdict=unreadable").await.body;
    assert_eq!(listed["items"].as_array().map(Vec::len), Some(8));
    let filtered = world.viewer.get("/v1/inbox?verdict=filtered").await.body;
    assert_eq!(filtered["items"], json!([]));
    // What is not proved is not kept.
    let headers = [("content-type", "application/xml")];
    hook.send(&headers, b"other", xml)
        .await
        .problem(401, "invalid_signature");
    let listed = world.viewer.get("/v1/inbox?verdict=unreadable").await.body;
    assert_eq!(listed["items"].as_array().map(Vec::len), Some(8));
}
