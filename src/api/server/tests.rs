//! A server that ends while clients are coming.

use super::*;
use axum::routing::get;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    sync::oneshot,
};

const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nhost: here\r\n\r\n";

async fn listener() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    (listener, address)
}

fn serving(
    listener: TcpListener,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> JoinHandle<io::Result<()>> {
    let router = Router::new().route("/", get(|| async { "good" }));
    tokio::spawn(serve(listener, router, ServerSettings::default(), shutdown))
}

async fn answer(mut stream: TcpStream) -> String {
    let mut text = String::new();
    let read = timeout(Duration::from_secs(20), stream.read_to_string(&mut text));
    read.await.expect("it ends").expect("it is not reset");
    text
}

#[tokio::test]
async fn whoever_the_kernel_has_connected_is_answered() {
    let (listener, address) = listener().await;
    let mut clients = Vec::new();
    for _ in 0..50 {
        let mut client = TcpStream::connect(address).await.expect("connects");
        client.write_all(REQUEST).await.expect("written");
        clients.push(client);
    }
    let ending = serving(listener, std::future::ready(()));
    for client in clients {
        let answer = answer(client).await;
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    }
    ending.await.expect("ran").expect("ended");
}

#[tokio::test]
async fn whoever_is_about_to_ask_is_answered_and_whoever_is_silent_holds_nothing_up() {
    let (listener, address) = listener().await;
    let (end, ended) = oneshot::channel();
    let ending = serving(listener, async { drop(ended.await) });
    let mut asking = TcpStream::connect(address).await.expect("connects");
    let silent = TcpStream::connect(address).await.expect("connects");
    // Half a request says that it is being read.
    asking.write_all(&REQUEST[..10]).await.expect("written");
    sleep(Duration::from_millis(50)).await;
    let began = Instant::now();
    end.send(()).expect("it waits");
    while TcpStream::connect(address).await.is_ok() {
        sleep(Duration::from_millis(5)).await;
    }
    asking.write_all(&REQUEST[10..]).await.expect("written");
    let answer = answer(asking).await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    ending.await.expect("ran").expect("ended");
    assert!(
        began.elapsed() < SHUTDOWN_GRACE / 2,
        "{:?}",
        began.elapsed()
    );
    drop(silent);
}
