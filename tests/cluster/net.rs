//! The network between the processes, in this one: every link goes through a door of ours, which looks up for each chunk what may pass
//! from whom to whom. TCP keeps what is held back, as it does when packets are lost for a while.

use std::{
    collections::{HashMap, HashSet},
    fs,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::PathBuf,
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
pub const PROVIDER: Place = "provider";
/// How many connects the kernel answers by itself before anybody accepts them.
const BACKLOG: i32 = 1_024;

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
            .address
    }

    pub async fn door_at(
        &self,
        at: IpAddr,
        visitor: Visitor,
        to: Place,
        target: SocketAddr,
    ) -> Door {
        let listener = TcpListener::bind((at, 0)).await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let (state, wanted) = watch::channel(Hold::Open);
        let state = Arc::new(state);
        let (net, told) = (self.clone(), state.clone());
        tokio::spawn(async move {
            let mut wanted = wanted;
            loop {
                tokio::select! {
                    biased;
                    () = async { drop(wanted.wait_for(|state| *state == Hold::Asked).await) } => {
                        let _full = fill(&listener, address).await;
                        told.send_if_modified(|state| {
                            let asked = *state == Hold::Asked;
                            if asked {
                                *state = Hold::Held;
                            }
                            asked
                        });
                        let _ = wanted.wait_for(|state| *state == Hold::Open).await;
                        backlog(&listener, BACKLOG);
                    }
                    accepted = listener.accept() => {
                        let Ok((stream, peer)) = accepted else { return };
                        tokio::spawn(net.clone().lead(visitor, stream, peer, to, target));
                    }
                }
            }
        });
        Door { address, state }
    }

    /// How many sockets of the place's process are just connecting to the address, and how many are connected.
    pub fn connecting(&self, place: Place, to: SocketAddr) -> (usize, usize) {
        let pid = self
            .processes
            .lock()
            .expect("unpoisoned")
            .get(place)
            .copied();
        let own = pid.map(sockets_of).unwrap_or_default();
        let table = sockets();
        let theirs = table.iter().filter(|socket| {
            Some(socket.remote.as_str()) == hex(to).as_deref() && own.contains(&socket.inode)
        });
        let in_state = |wanted: &str| {
            theirs
                .clone()
                .filter(|socket| socket.state == wanted)
                .count()
        };
        (in_state("02"), in_state("01"))
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
            Visitor::ByProcess => self.whose(peer).await.unwrap_or("somebody"),
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

    /// The place whose process holds the socket at `peer`. The kernel's table changes while it is read, and what is missed once is
    /// looked for again.
    async fn whose(&self, peer: SocketAddr) -> Option<Place> {
        for _ in 0..20 {
            let processes = self.processes.lock().expect("unpoisoned").clone();
            if processes.is_empty() {
                return None;
            }
            let own = hex(peer);
            let table = sockets();
            let socket = table
                .iter()
                .find(|socket| Some(&socket.local) == own.as_ref());
            let mut places = processes.into_iter();
            let found = socket.and_then(|socket| {
                places.find(|(_, pid)| sockets_of(*pid).contains(&socket.inode))
            });
            if let Some((place, _)) = found {
                return Some(place);
            }
            sleep(Duration::from_millis(10)).await;
        }
        None
    }
}

/// Whether connects are answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Hold {
    Open,
    Asked,
    Held,
}

/// Where visitors knock.
#[derive(Clone)]
pub struct Door {
    pub address: SocketAddr,
    state: Arc<watch::Sender<Hold>>,
}

impl Door {
    /// From now on connects hang: the kernel has no room for them and drops what they send, so that they try again by themselves.
    pub async fn hold_connects(&self) {
        self.state.send_replace(Hold::Asked);
        let mut state = self.state.subscribe();
        let held = state.wait_for(|state| *state != Hold::Asked).await;
        held.expect("the door is there");
    }

    /// Whoever is still trying gets in, whether its process is running or not.
    pub fn let_in(&self) {
        self.state.send_replace(Hold::Open);
    }
}

/// Leaves the kernel no room for another connect; until what is given back is dropped and the backlog is as it was.
async fn fill(listener: &TcpListener, address: SocketAddr) -> Option<TcpStream> {
    backlog(listener, 0);
    // If it hangs, others have filled it.
    let filling = tokio::time::timeout(Duration::from_millis(200), TcpStream::connect(address));
    filling.await.ok().and_then(Result::ok)
}

fn backlog(listener: &TcpListener, room: i32) {
    let listens = socket2::SockRef::from(listener).listen(room);
    listens.expect("it listens");
}

/// A row of the kernel's table.
struct Socket {
    local: String,
    remote: String,
    state: String,
    inode: String,
}

fn sockets() -> Vec<Socket> {
    let table = fs::read_to_string("/proc/net/tcp").unwrap_or_default();
    let row = |line: &str| {
        let mut fields = line.split_whitespace().skip(1).map(str::to_owned);
        Some(Socket {
            local: fields.next()?,
            remote: fields.next()?,
            state: fields.next()?,
            inode: fields.nth(5)?,
        })
    };
    table.lines().skip(1).filter_map(row).collect()
}

/// The inodes of a process's sockets.
fn sockets_of(pid: u32) -> HashSet<String> {
    let open = fs::read_dir(format!("/proc/{pid}/fd"))
        .into_iter()
        .flatten();
    let links = open
        .flatten()
        .filter_map(|fd| fs::read_link(fd.path()).ok());
    let inode = |link: PathBuf| {
        Some(
            link.to_str()?
                .strip_prefix("socket:[")?
                .strip_suffix(']')?
                .to_owned(),
        )
    };
    links.filter_map(inode).collect()
}

/// An address as the kernel's table has it.
fn hex(address: SocketAddr) -> Option<String> {
    let SocketAddr::V4(address) = address else {
        return None;
    };
    Some(format!(
        "{:08X}:{:04X}",
        u32::from_le_bytes(address.ip().octets()),
        address.port()
    ))
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

#[tokio::test]
async fn a_door_holds_back_connects() {
    let there = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let target = there.local_addr().expect("an address");
    let net = Net::new();
    net.moved_in("me", std::process::id());
    let door = net
        .door_at(
            Ipv4Addr::LOCALHOST.into(),
            Visitor::Known("me"),
            "there",
            target,
        )
        .await;
    TcpStream::connect(door.address)
        .await
        .expect("open at first");
    door.hold_connects().await;
    let connecting = tokio::spawn(TcpStream::connect(door.address));
    // It is on its way, and stays there.
    let began = tokio::time::Instant::now();
    while net.connecting("me", door.address).0 == 0 {
        assert!(!connecting.is_finished(), "it is held back");
        assert!(
            began.elapsed() < Duration::from_secs(10),
            "it was never seen"
        );
        sleep(Duration::from_millis(10)).await;
    }
    door.let_in();
    connecting
        .await
        .expect("it ran")
        .expect("the kernel tries again");
    TcpStream::connect(door.address).await.expect("open again");
}
