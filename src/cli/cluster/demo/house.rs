//! What the nodes share: the database, the sandbox, an org with a key and accounts, the master key and the authority.

use crate::{
    actors::{Clock, hub},
    cli::dev::demo,
    connect::{Sealer, seal::read_or_create_master_key},
    domain::OrgId,
    persistence::{self, Db, DbConfig, database_create, private_postgres::PrivatePostgres},
    sandbox::{Sandbox, SandboxHandle},
};
use anyhow::Context;
use secrecy::{ExposeSecret, SecretString};
use std::{
    fs,
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    sync::Arc,
};
use tenure_cluster::tls::{Authority, ClusterName};

const DATABASE: &str = "tenure";
/// The database that every new PostgreSQL has.
const MAINTENANCE: &str = "postgres";
/// For the table; the nodes have connections of their own.
const CONNECTIONS: u32 = 2;

pub struct House {
    pub db: Db,
    pub database_url: String,
    pub org: OrgId,
    key: SecretString,
    pub sandbox: SandboxHandle,
    pub authority: Authority,
    pub cluster: ClusterName,
    path: PathBuf,
    /// What goes with the house.
    ground: Option<Ground>,
}

/// What a house stands on, if it is the house's own.
struct Ground {
    postgres: PrivatePostgres,
    // Last: what lies in it is in use until then.
    directory: Directory,
}

/// Deleted with the value.
struct Directory(PathBuf);

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

impl House {
    /// Starts and furnishes it in a new directory below `parent`.
    ///
    /// # Errors
    /// PostgreSQL is not installed, or a part does not start.
    pub async fn open(parent: PathBuf) -> anyhow::Result<Self> {
        let directory = Directory(parent.join(format!("tenure-cluster-{}", std::process::id())));
        fs::create_dir_all(&directory.0)
            .with_context(|| format!("cannot make the directory {}", directory.0.display()))?;
        let starting = tokio::task::spawn_blocking(move || PrivatePostgres::start(&parent));
        let postgres = starting.await??;
        database_create(&postgres.url(MAINTENANCE), DATABASE).await?;
        let database_url = postgres.url(DATABASE);
        let mut house = Self::furnish(database_url, directory.0.clone()).await?;
        house.ground = Some(Ground {
            postgres,
            directory,
        });
        Ok(house)
    }

    /// Starts and furnishes it on an empty database that is there, in a directory that is there. Both stay when it is closed.
    ///
    /// # Errors
    /// A part does not start.
    pub async fn furnish(database_url: String, path: PathBuf) -> anyhow::Result<Self> {
        persistence::migrate(&database_url)
            .await
            .context("the database could not be migrated")?;
        let config = DbConfig {
            app_connections: CONNECTIONS,
            engine_connections: CONNECTIONS,
            ..DbConfig::new(database_url.clone())
        };
        let db = Db::connect(&config).await?;
        let clock = Clock::system();
        let today = clock.now().to_chrono().date_naive();
        let anywhere = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let sandbox = Sandbox::start(anywhere, path.join("sandbox"), today).await?;
        let (org, key) = furnish(&db, &clock, &path, &sandbox).await?;
        let cluster = ClusterName::new("demo")?;
        Ok(Self {
            db,
            database_url,
            org,
            key,
            sandbox,
            authority: Authority::generate(cluster.clone())?,
            cluster,
            path,
            ground: None,
        })
    }

    pub fn key(&self) -> &str {
        self.key.expose_secret()
    }

    pub fn master_key_file(&self) -> PathBuf {
        master_key_file(&self.path)
    }

    /// A new directory below the house's.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn room(&self, name: &str) -> anyhow::Result<PathBuf> {
        let room = self.path.join(name);
        fs::create_dir_all(&room)?;
        Ok(room)
    }

    /// Stops everything in it and deletes what goes with it.
    pub async fn close(self) {
        let Self {
            db,
            sandbox,
            ground,
            ..
        } = self;
        db.close().await;
        sandbox.shutdown().await;
        if let Some(Ground {
            postgres,
            directory,
        }) = ground
        {
            // Waits for the server.
            let _ = tokio::task::spawn_blocking(move || drop(postgres)).await;
            drop(directory);
        }
    }
}

fn master_key_file(directory: &Path) -> PathBuf {
    directory.join("master.key")
}

/// An org with an admin's key and the sandbox's accounts, as `tenure dev` has it.
async fn furnish(
    db: &Db,
    clock: &Clock,
    directory: &Path,
    sandbox: &SandboxHandle,
) -> anyhow::Result<(OrgId, SecretString)> {
    let file = master_key_file(directory);
    read_or_create_master_key(&file)?;
    let sealer = Arc::new(Sealer::from_file(&file)?);
    let org = demo::org(db, clock).await?;
    let key = demo::key(db, clock, org, None).await?;
    let vault = hub::keys::vault(db, clock, &sealer);
    demo::connections(db, clock, &vault, org, sandbox.accounts()).await?;
    Ok((org, key))
}
