//! A directory of nodes in files: one a node, all changes under one lock.

use async_trait::async_trait;
use std::{
    fs::{self, File},
    net::SocketAddr,
    path::PathBuf,
    time::{Duration, SystemTime},
};
use tenure_cluster::{
    NodeIdentity,
    membership::{Directory, DirectoryError, Member},
    ownership::{LeaseTerms, NodeState},
};

pub const TERMS: LeaseTerms = LeaseTerms {
    ttl: Duration::from_secs(3),
    margin: Duration::from_secs(1),
    renew_every: Duration::from_millis(500),
};

pub struct Files(PathBuf);

/// When the lease is over, and the rest.
type Row = (SystemTime, Member);

impl Files {
    pub fn new(dir: &str) -> Self {
        Self(dir.into())
    }

    pub fn register(&self, identity: NodeIdentity, address: SocketAddr) {
        let _lock = self.lock();
        let member = Member {
            identity,
            state: NodeState::Alive,
            address: address.to_string(),
            build: String::new(),
            zone: String::new(),
            weight: 1,
            takes: Vec::new(),
            lease_left: TERMS.ttl,
        };
        self.write(&member, SystemTime::now() + TERMS.ttl);
    }

    fn lock(&self) -> File {
        let lock = File::create(self.0.join("lock")).unwrap();
        lock.lock().unwrap();
        lock
    }

    fn write(&self, member: &Member, until: SystemTime) {
        let until = until.duration_since(SystemTime::UNIX_EPOCH).unwrap();
        let state = match member.state {
            NodeState::Alive => "alive",
            NodeState::Draining => "draining",
            NodeState::Dead => "dead",
        };
        let NodeIdentity {
            node_id,
            incarnation,
        } = member.identity;
        let row = format!(
            "{node_id} {incarnation} {state} {} {}",
            member.address,
            until.as_micros()
        );
        fs::write(self.0.join(format!("{node_id}.row")), row).unwrap();
    }

    fn read(&self) -> Vec<Row> {
        let files = fs::read_dir(&self.0)
            .unwrap()
            .map(|file| file.unwrap().path());
        let rows = files.filter(|path| path.extension().is_some_and(|end| end == "row"));
        rows.map(|path| parse(&fs::read_to_string(path).unwrap()))
            .collect()
    }

    fn change(
        &self,
        node: NodeIdentity,
        change: impl FnOnce(&mut Row) -> bool,
    ) -> Result<bool, DirectoryError> {
        let _lock = self.lock();
        let is_it = |(_, member): &Row| member.identity == node && member.is_in_service();
        let row = self.read().into_iter().find(is_it);
        let mut row = row.ok_or(DirectoryError::Fenced)?;
        let changed = change(&mut row);
        self.write(&row.1, row.0);
        Ok(changed)
    }
}

fn parse(row: &str) -> Row {
    let words: Vec<&str> = row.split(' ').collect();
    let until = SystemTime::UNIX_EPOCH + Duration::from_micros(words[4].parse().unwrap());
    let member = Member {
        identity: NodeIdentity {
            node_id: words[0].parse().unwrap(),
            incarnation: words[1].parse().unwrap(),
        },
        state: match words[2] {
            "alive" => NodeState::Alive,
            "draining" => NodeState::Draining,
            _ => NodeState::Dead,
        },
        address: words[3].into(),
        build: String::new(),
        zone: String::new(),
        weight: 1,
        takes: Vec::new(),
        lease_left: until.duration_since(SystemTime::now()).unwrap_or_default(),
    };
    (until, member)
}

#[async_trait]
impl Directory for Files {
    async fn renew(&self, me: NodeIdentity) -> Result<(), DirectoryError> {
        let renew = |row: &mut Row| {
            row.0 = SystemTime::now() + TERMS.ttl;
            true
        };
        self.change(me, renew).map(drop)
    }

    async fn list(&self) -> Result<Vec<Member>, DirectoryError> {
        let _lock = self.lock();
        Ok(self.read().into_iter().map(|(_, member)| member).collect())
    }

    async fn declare_dead(&self, node: NodeIdentity) -> Result<bool, DirectoryError> {
        let declared = self.change(node, |(until, member)| {
            let over = *until <= SystemTime::now();
            if over {
                member.state = NodeState::Dead;
            }
            over
        });
        Ok(declared.unwrap_or(false))
    }

    async fn drain(&self, me: NodeIdentity) -> Result<(), DirectoryError> {
        let drain = |(_, member): &mut Row| {
            member.state = NodeState::Draining;
            true
        };
        self.change(me, drain).map(drop)
    }

    async fn leave(&self, me: NodeIdentity) -> Result<(), DirectoryError> {
        let leave = |(_, member): &mut Row| {
            member.state = NodeState::Dead;
            true
        };
        self.change(me, leave).map(drop)
    }
}
