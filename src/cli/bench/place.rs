//! Where a measured server keeps its data: a new directory, and on PostgreSQL a new database in a cluster of the bench's own.

use crate::persistence::{database_create, database_drop, private_postgres::PrivatePostgres};
use anyhow::{Context, Result};
use std::{fmt, fs, path::PathBuf};

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Database {
    Sqlite,
    Postgres,
}

impl fmt::Display for Database {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Database::Sqlite => "sqlite",
            Database::Postgres => "postgres",
        })
    }
}

/// The embedded database in the data directory of `tenure dev`.
const SQLITE_FILE: &str = "tenure.db";
/// The database that every new cluster has.
const MAINTENANCE: &str = "postgres";

/// Makes places, below one directory.
pub struct Places {
    directory: PathBuf,
    /// Started when it is first needed.
    cluster: Option<PrivatePostgres>,
}

impl Places {
    /// `directory` must lie on the disk that is to be measured.
    pub fn below(directory: PathBuf) -> Self {
        Self {
            directory,
            cluster: None,
        }
    }

    /// An empty place.
    ///
    /// # Errors
    /// If PostgreSQL is not installed or the directory cannot be written.
    pub async fn make(&mut self, database: Database) -> Result<Place> {
        let name = format!("tenure_bench_{}", uuid::Uuid::new_v4().simple());
        let directory = self.directory.join(&name);
        fs::create_dir_all(&directory)
            .with_context(|| format!("make the directory {}", directory.display()))?;
        let mut place = Place {
            directory,
            name,
            database_url: None,
        };
        if database == Database::Postgres {
            let cluster = self.cluster()?;
            database_create(&cluster.url(MAINTENANCE), &place.name).await?;
            place.database_url = Some(cluster.url(&place.name));
        }
        Ok(place)
    }

    /// Deletes a place, so that nothing is vacuumed there while the next one is measured. One that is only dropped leaves its database
    /// until the cluster goes.
    ///
    /// # Errors
    /// If the database cannot be dropped.
    pub async fn remove(&mut self, place: Place) -> Result<()> {
        if let (Some(cluster), Some(_)) = (&self.cluster, &place.database_url) {
            database_drop(&cluster.url(MAINTENANCE), &place.name).await?;
        }
        Ok(())
    }

    fn cluster(&mut self) -> Result<&PrivatePostgres> {
        if self.cluster.is_none() {
            self.cluster = Some(PrivatePostgres::start(&self.directory)?);
        }
        self.cluster.as_ref().context("there is no cluster")
    }
}

/// Deleted with the value.
pub struct Place {
    directory: PathBuf,
    name: String,
    database_url: Option<String>,
}

impl Place {
    pub fn data(&self) -> PathBuf {
        self.directory.join("data")
    }

    /// Where a sandbox keeps its record.
    pub fn sandbox(&self) -> PathBuf {
        self.directory.join("sandbox")
    }

    pub fn log(&self) -> PathBuf {
        self.directory.join("server.log")
    }

    /// What `--database-url` takes; `None`: the embedded database in [`Place::data`].
    pub fn database_url(&self) -> Option<&str> {
        self.database_url.as_deref()
    }

    /// Address of the database for its owner.
    pub fn owner_url(&self) -> String {
        let file = self.data().join(SQLITE_FILE);
        let embedded = || format!("sqlite:{}", file.display());
        self.database_url.clone().unwrap_or_else(embedded)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.directory);
    }
}
