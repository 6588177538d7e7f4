//! The network between the processes, in this one: every link goes through a door of ours, which looks up for each chunk what may pass
//! from whom to whom. TCP keeps what is held back, as it does when packets are lost for a while.

use std::{
    collections::HashMap,
    fs,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex},
    time::Duration,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::watch,
    time::sleep,
};

/// What becomes of bytes on their way from one place to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    Pass,
    /// Nothing arrives, nobody is told.
    BlackHole,
    /// Each chunk comes so much later.
    Slow(Duration),
    /// Links are reset, and new ones too.
    Reset,
}

/// A node's name, or a service's.
pub type Place = &'static str;
pub const POSTGRES: Place = "postgres";

#[derive(Clone)]
pub struct Net {
    rules: watch::Sender<HashMap<(Place, Place), Rule>>,
    processes: Arc<Mutex<HashMap<Place, u32>>>,
}

/// How a door knows who comes.
#[derive(Clone, Copy)]
pub enum Visitor {
    Known(Place),
    /// By whose socket it is: other nodes all come from the same address.
    ByProcess,
}

impl Net {
    pub fn new() -> Self {
        Self {
            rules: watch::Sender::default(),
            processes: Arc::default(),
        }
    }

    /// Tells by which process a place is known from now on.
    pub fn moved_in(&self, place: Place, pid: u32) {
        let mut processes = self.processes.lock().expect("unpoisoned");
        processes.insert(place, pid);
    }

    /// One way only.
    pub fn set(&self, from: Place, to: Place, rule: Rule) {
        self.rules.send_modify(|rules| {
            rules.insert((from, to), rule);
        });
    }

    pub fn set_both(&self, one: Place, other: Place, rule: Rule) {
        self.set(one, other, rule);
        self.set(other, one, rule);
    }

    pub fn heal(&self) {
        self.rules.send_modify(HashMap::clear);
    }

    /// Opens a door to `to` at `target`; gives its address.
    pub async fn door(&self, visitor: Visitor, to: Place, target: SocketAddr) -> SocketAddr {
        self.door_at(Ipv4Addr::LOCALHOST.into(), visitor, to, target)
            .await
    }

    pub async fn door_at(
        &self,
        at: IpAddr,
        visitor: Visitor,
        to: Place,
        target: SocketAddr,
    ) -> SocketAddr {
        let listener = TcpListener::bind((at, 0)).await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let net = self.clone();
        tokio::spawn(async move {
            while let Ok((stream, peer)) = listener.accept().await {
                tokio::spawn(net.clone().lead(visitor, stream, peer, to, target));
            }
        });
        address
    }

    async fn lead(
        self,
        visitor: Visitor,
        stream: TcpStream,
        peer: SocketAddr,
        to: Place,
        target: SocketAddr,
    ) {
        let from = match visitor {
            Visitor::Known(place) => place,
            Visitor::ByProcess => self.whose(peer).unwrap_or("somebody"),
        };
        let mut rules = self.rules.subscribe();
        // Whoever knocks at a black hole hears nothing until it is gone.
        let opened = loop {
            match rule(&mut rules, from, to) {
                Rule::Reset => break None,
                Rule::BlackHole => {
                    if rules.changed().await.is_err() {
                        break None;
                    }
                }
                Rule::Pass | Rule::Slow(_) => break TcpStream::connect(target).await.ok(),
            }
        };
        let Some(there) = opened else {
            return reset(stream);
        };
        let _ = (stream.set_nodelay(true), there.set_nodelay(true));
        let (read_here, write_here) = stream.into_split();
        let (read_there, write_there) = there.into_split();
        let way = |from, to| Way {
            rules: self.rules.subscribe(),
            from,
            to,
        };
        let (forth, back) = (way(from, to), way(to, from));
        tokio::select! {
            () = forth.clone().until_reset() => {}
            () = back.clone().until_reset() => {}
            _ = async { tokio::join!(forth.pump(read_here, write_there), back.pump(read_there, write_here)) } => {}
        }
    }

    /// The place whose process holds the socket at `peer`.
    fn whose(&self, peer: SocketAddr) -> Option<Place> {
        let inode = inode_of(peer)?;
        let wanted = format!("socket:[{inode}]");
        let processes = self.processes.lock().expect("unpoisoned").clone();
        let holds = |pid: &u32| {
            let sockets = fs::read_dir(format!("/proc/{pid}/fd"))
                .into_iter()
                .flatten();
            let mut links = sockets
                .flatten()
                .filter_map(|fd| fs::read_link(fd.path()).ok());
            links.any(|link| link.to_str() == Some(&wanted))
        };
        let mut found = processes.into_iter().filter(|(_, pid)| holds(pid));
        found.next().map(|(place, _)| place)
    }
}

/// Of the socket whose own address this is.
fn inode_of(peer: SocketAddr) -> Option<String> {
    let SocketAddr::V4(peer) = peer else {
        return None;
    };
    let own = format!(
        "{:08X}:{:04X}",
        u32::from_le_bytes(peer.ip().octets()),
        peer.port()
    );
    let table = fs::read_to_string("/proc/net/tcp").ok()?;
    let mut lines = table.lines().map(|line| line.split_whitespace());
    lines.find_map(|mut fields| {
        let is_it = fields.nth(1) == Some(&own);
        is_it.then(|| fields.nth(7).map(str::to_owned))?
    })
}

fn rule(
    rules: &mut watch::Receiver<HashMap<(Place, Place), Rule>>,
    from: Place,
    to: Place,
) -> Rule {
    let rules = rules.borrow_and_update();
    rules.get(&(from, to)).copied().unwrap_or(Rule::Pass)
}

fn reset(stream: TcpStream) {
    let _ = stream.set_zero_linger();
}

/// One direction of a link.
#[derive(Clone)]
struct Way {
    rules: watch::Receiver<HashMap<(Place, Place), Rule>>,
    from: Place,
    to: Place,
}

impl Way {
    async fn pump(mut self, mut read: OwnedReadHalf, mut write: OwnedWriteHalf) {
        let mut chunk = vec![0; 64 * 1024];
        while let Ok(count @ 1..) = read.read(&mut chunk).await {
            self.until_it_may_pass().await;
            if write.write_all(&chunk[..count]).await.is_err() {
                return;
            }
        }
        // The end travels like bytes do.
        self.until_it_may_pass().await;
        let _ = write.shutdown().await;
    }

    async fn until_it_may_pass(&mut self) {
        loop {
            match rule(&mut self.rules, self.from, self.to) {
                Rule::Pass => return,
                Rule::Slow(time) => return sleep(time).await,
                Rule::Reset | Rule::BlackHole => self.until_changed().await,
            }
        }
    }

    async fn until_reset(mut self) {
        while rule(&mut self.rules, self.from, self.to) != Rule::Reset {
            self.until_changed().await;
        }
    }

    async fn until_changed(&mut self) {
        if self.rules.changed().await.is_err() {
            std::future::pending().await
        }
    }
}

#[tokio::test]
async fn a_door_knows_whose_socket_comes() {
    let echo = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let target = echo.local_addr().expect("an address");
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = echo.accept().await {
            tokio::spawn(async move {
                let (mut read, mut write) = stream.split();
                let _ = tokio::io::copy(&mut read, &mut write).await;
            });
        }
    });
    let net = Net::new();
    net.moved_in("me", std::process::id());
    let door = net.door(Visitor::ByProcess, "echo", target).await;
    let mut stream = TcpStream::connect(door).await.expect("connects");
    let mut answer = [0; 2];
    stream.write_all(b"hi").await.expect("written");
    stream.read_exact(&mut answer).await.expect("the echo");

    // One way: what I say does not arrive, until it does.
    net.set("me", "echo", Rule::BlackHole);
    stream.write_all(b"yo").await.expect("written");
    let waited = tokio::time::timeout(Duration::from_millis(100), stream.read_exact(&mut answer));
    assert!(waited.await.is_err(), "nothing comes through");
    net.heal();
    stream.read_exact(&mut answer).await.expect("the echo");
    assert_eq!(&answer, b"yo");

    net.set("echo", "me", Rule::Reset);
    let ended = stream.read(&mut answer).await;
    assert!(matches!(ended, Ok(0) | Err(_)), "{ended:?}");
}
