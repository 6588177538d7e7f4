use crate::connect::{
    Account, Addresses, CallOutcome, CallerConfig, Catalog, HttpCaller, Names, SendFence,
    ShapedRequest, shape,
};
use secrecy::SecretString;
use serde_json::{Value, json};
use std::{
    net::{IpAddr, Ipv4Addr},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::Notify,
};

const PATIENCE: Duration = Duration::from_secs(20);

/// A provider that counts bytes and whole requests.
#[derive(Clone, Default)]
struct Provider {
    bytes: Arc<AtomicUsize>,
    requests: Arc<AtomicUsize>,
    /// Told of each request before it is answered.
    came: Arc<Notify>,
}

impl Provider {
    async fn start(on_request: impl Fn(usize) + Clone + Send + 'static) -> (Self, u16) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let provider = Self::default();
        let own = provider.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(own.clone().serve(stream, on_request.clone()));
            }
        });
        (provider, port)
    }

    async fn serve(self, mut stream: TcpStream, on_request: impl Fn(usize)) {
        let (mut held, mut chunk) = (Vec::new(), [0; 4096]);
        while let Ok(read @ 1..) = stream.read(&mut chunk).await {
            self.bytes.fetch_add(read, Ordering::SeqCst);
            held.extend_from_slice(&chunk[..read]);
            if !is_whole(&held) {
                continue;
            }
            held.clear();
            on_request(self.requests.fetch_add(1, Ordering::SeqCst) + 1);
            self.came.notify_one();
            let body = r#"{"ok":true,"channel":"C1","ts":"1.1","upload_url":"https://files.slack.com/x","file_id":"F1"}"#;
            let answer = format!(
                "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
                body.len()
            );
            if stream.write_all(answer.as_bytes()).await.is_err() {
                return;
            }
        }
    }

    fn bytes(&self) -> usize {
        self.bytes.load(Ordering::SeqCst)
    }
    fn requests(&self) -> usize {
        self.requests.load(Ordering::SeqCst)
    }
}

fn is_whole(bytes: &[u8]) -> bool {
    let text = String::from_utf8_lossy(bytes);
    let Some((head, body)) = text.split_once("\r\n\r\n") else {
        return false;
    };
    let head = head.to_ascii_lowercase();
    let length = head
        .lines()
        .find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
    body.len() >= length.unwrap_or(0)
}

fn switch() -> (SendFence, Arc<AtomicBool>) {
    let open = Arc::new(AtomicBool::new(true));
    let own = open.clone();
    (SendFence::new(move || own.load(Ordering::SeqCst)), open)
}

fn config(fence: SendFence) -> CallerConfig {
    CallerConfig {
        addresses: "127.0.0.0/8".parse::<Addresses>().unwrap(),
        fence,
        ..CallerConfig::default()
    }
}

fn request(id: &str, host: &str, port: u16, arguments: Value) -> ShapedRequest {
    let catalog = Catalog::embedded().unwrap();
    let account = Account {
        base_url: format!("http://{host}:{port}"),
        ..Account::default()
    };
    let capability = catalog.capability(id).unwrap();
    let key = capability.write.then_some("tnr_key");
    shape(capability, &arguments, &account, key).unwrap()
}

fn post(host: &str, port: u16) -> ShapedRequest {
    let arguments = json!({"channel": "C123456789", "text": "pay 100"});
    request("slack.chat.post", host, port, arguments)
}

async fn call(caller: &HttpCaller, request: &ShapedRequest) -> CallOutcome {
    let token = SecretString::from("t");
    caller.call(request, &token, PATIENCE).await
}

#[tokio::test]
async fn a_fence_that_falls_while_it_connects_lets_nothing_leave() {
    let (provider, port) = Provider::start(|_| {}).await;
    let (fence, open) = switch();
    // The name is looked up until the fence has fallen, as for a node that is frozen meanwhile.
    let looked_up = Arc::new(Notify::new());
    let caller = HttpCaller::new(&CallerConfig {
        names: Names::new({
            let looked_up = looked_up.clone();
            move |_| {
                let looked_up = looked_up.clone();
                async move {
                    looked_up.notified().await;
                    Ok(vec![IpAddr::V4(Ipv4Addr::LOCALHOST)])
                }
            }
        }),
        ..config(fence)
    })
    .unwrap();
    let request = post("provider.test", port);
    let mut calling = Box::pin(call(&caller, &request));
    assert!(futures::poll!(&mut calling).is_pending());
    open.store(false, Ordering::SeqCst);
    looked_up.notify_one();
    let outcome = calling.await;
    assert!(!matches!(outcome, CallOutcome::Ok { .. }), "{outcome:?}");
    assert_eq!((provider.bytes(), provider.requests()), (0, 0));
    // And it is the fence that held it back.
    open.store(true, Ordering::SeqCst);
    looked_up.notify_one();
    let outcome = call(&caller, &request).await;
    assert!(matches!(outcome, CallOutcome::Ok { .. }), "{outcome:?}");
}

#[tokio::test]
async fn a_connection_of_the_pool_is_held_to_the_fence_as_well() {
    let (provider, port) = Provider::start(|_| {}).await;
    let (fence, open) = switch();
    let caller = HttpCaller::new(&config(fence)).unwrap();
    let request = post("127.0.0.1", port);
    assert!(matches!(
        call(&caller, &request).await,
        CallOutcome::Ok { .. }
    ));
    let before = provider.bytes();
    open.store(false, Ordering::SeqCst);
    let outcome = call(&caller, &request).await;
    assert!(matches!(outcome, CallOutcome::Unsent { .. }), "{outcome:?}");
    assert_eq!((provider.bytes(), provider.requests()), (before, 1));
}

#[tokio::test]
async fn a_chain_ends_at_the_request_before_which_the_fence_fell() {
    let (fence, open) = switch();
    let falls = open.clone();
    let (provider, port) = Provider::start(move |_| falls.store(false, Ordering::SeqCst)).await;
    let caller = HttpCaller::new(&config(fence)).unwrap();
    let upload = json!({"channel": "C123456789", "filename": "a.csv", "content": "a,b"});
    let request = request("slack.files.upload", "127.0.0.1", port, upload);
    let outcome = call(&caller, &request).await;
    assert!(matches!(outcome, CallOutcome::Unsent { .. }), "{outcome:?}");
    assert_eq!(provider.requests(), 1, "the read before the write alone");
}

/// Wherever the fence falls between two looks: what is said not to have been sent has not arrived.
#[tokio::test]
async fn what_is_said_not_to_have_left_has_not_arrived() {
    let mut ends = [0, 0];
    for looks in 0..12 {
        for pooled in [false, true] {
            let (provider, port) = Provider::start(|_| {}).await;
            let (left, counts) = (
                Arc::new(AtomicUsize::new(0)),
                Arc::new(AtomicBool::new(!pooled)),
            );
            let fence = SendFence::new({
                let (left, counts) = (left.clone(), counts.clone());
                move || {
                    !counts.load(Ordering::SeqCst) || left.fetch_add(1, Ordering::SeqCst) < looks
                }
            });
            let caller = HttpCaller::new(&config(fence)).unwrap();
            let request = post("127.0.0.1", port);
            if pooled {
                let outcome = call(&caller, &request).await;
                assert!(matches!(outcome, CallOutcome::Ok { .. }), "{outcome:?}");
                counts.store(true, Ordering::SeqCst);
            }
            let before = provider.bytes();
            let outcome = call(&caller, &request).await;
            match outcome {
                CallOutcome::Unsent { .. } => {
                    ends[0] += 1;
                    assert_eq!(provider.bytes(), before, "{looks} looks: {outcome:?}");
                }
                CallOutcome::Ok { .. } => ends[1] += 1,
                CallOutcome::Unknown { .. } => {}
                other => panic!("{looks} looks: {other:?}"),
            }
        }
    }
    assert!(ends.iter().all(|end| *end > 0), "{ends:?}");
}
