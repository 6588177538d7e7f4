//! `tenure backup` and `tenure restore`: a copy of the whole database in a directory, and a new database from it.
//!
//! ```text
//! database.sqlite or database.dump   the copy
//! manifest.json                      what it is; written last, so that a copy without it is not whole
//! ```

use super::{
    database::{DatabaseArgs, database_url},
    exit::Failure,
    output::{Output, note},
    progress::slow,
    secrets,
};
use crate::{
    actors::Clock,
    config::Config,
    domain::Timestamp,
    persistence::{self, Backend, Db, backup},
};
use anyhow::Context;
use serde::{Deserialize, Serialize};
use serde_json::json;
use sha2::{Digest, Sha256};
use std::{
    fs::{self, File},
    io::{self, Read, Write},
    path::{Path, PathBuf},
};

/// The form of the directory.
const FORMAT: u32 = 1;
const MANIFEST: &str = "manifest.json";

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:
  tenure backup --config tenure.toml --out /backups/2027-01-31
  tenure backup --database-url sqlite:.tenure/tenure.db --out backup

The service may be at work meanwhile: the copy is one moment of the database. PostgreSQL is copied by pg_dump, which must be at least as new as
the server. The master key is not in the copy, and its secrets do not open without it: keep the key elsewhere.")]
pub struct BackupArgs {
    #[command(flatten)]
    database: DatabaseArgs,
    /// Directory of the backup; must not be there yet, or be empty
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
}

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:
  tenure restore --config tenure.toml --from /backups/2027-01-31
  tenure restore --database-url sqlite:new/tenure.db --from backup

The database must be empty (PostgreSQL) or not be there (SQLite), and no service may be at work that the backup was taken from. What waited goes
on when the service is started. A write to the outside that had not left when the backup was made may have left since: it is looked up at its
provider, or a person is asked, before anything is sent again.")]
pub struct RestoreArgs {
    #[command(flatten)]
    database: DatabaseArgs,
    /// Directory of the backup
    #[arg(long, value_name = "DIR")]
    from: PathBuf,
}

/// What a backup is.
#[derive(Debug, Serialize, Deserialize)]
struct Manifest {
    format: u32,
    /// `sqlite` or `postgres`.
    database: String,
    /// The newest migration that is applied in it.
    migration: i64,
    /// Of the binary that made it.
    version: String,
    created_at: Timestamp,
    file: String,
    bytes: u64,
    /// Of the file, in hexadecimal digits.
    sha256: String,
    /// Ids of the master keys that wrap the data keys in it.
    master_keys: Vec<String>,
}

/// # Errors
/// The database cannot be read, or the directory is not empty or cannot be written.
pub async fn run(args: BackupArgs, out: Output) -> anyhow::Result<()> {
    let config = args.database.load()?;
    let url = database_url(&config)?;
    let backend = Backend::of(&url)?;
    let directory = empty_directory(&args.out)?;
    let db = Db::connect(&super::database::db_config(&config)?).await?;
    let master_keys = master_keys(&db).await;
    db.close().await;
    let file = directory.join(backup::file_name(backend));
    let copied = slow("copying the database", backup::backup(&url, &file)).await;
    let migration = match copied {
        Ok(migration) => migration,
        Err(error) => {
            // Half a copy is of no use; the directory was empty.
            let _ = fs::remove_file(&file);
            return Err(error).context("the database could not be copied");
        }
    };
    let manifest = finish(&directory, &file, backend, migration, master_keys?)?;
    let people = format!(
        "{} is a backup of {} bytes, up to migration {migration}{}",
        args.out.display(),
        manifest.bytes,
        match manifest.master_keys.as_slice() {
            [] => String::new(),
            ids => format!("; its secrets open with master key {}", ids.join(", ")),
        }
    );
    out.thing(&serde_json::to_value(&manifest)?, "file", people)?;
    Ok(())
}

async fn master_keys(db: &Db) -> anyhow::Result<Vec<String>> {
    let mut tx = db.begin_system_read("which master keys are needed").await?;
    let rows = persistence::org_keys_by_master(&mut tx).await?;
    Ok(rows.into_iter().map(|row| row.master_id).collect())
}

fn finish(
    directory: &Path,
    file: &Path,
    backend: Backend,
    migration: i64,
    master_keys: Vec<String>,
) -> anyhow::Result<Manifest> {
    private(file)?;
    File::open(file)
        .and_then(|file| file.sync_all())
        .with_context(|| file.display().to_string())?;
    let (bytes, sha256) = digest(file)?;
    let manifest = Manifest {
        format: FORMAT,
        database: name_of(backend).into(),
        migration,
        version: env!("CARGO_PKG_VERSION").into(),
        created_at: Clock::system().now(),
        file: backup::file_name(backend).into(),
        bytes,
        sha256,
        master_keys,
    };
    let path = directory.join(MANIFEST);
    let mut text = serde_json::to_vec_pretty(&manifest)?;
    text.push(b'\n');
    let written = File::create(&path).and_then(|mut file| {
        file.write_all(&text)?;
        file.sync_all()
    });
    written.with_context(|| format!("cannot write {}", path.display()))?;
    Ok(manifest)
}

/// # Errors
/// The backup is not whole or does not fit, or the database is not empty; nothing has changed then.
pub async fn restore(args: RestoreArgs, out: Output) -> anyhow::Result<()> {
    let config = args.database.load()?;
    let url = database_url(&config)?;
    let manifest = read_manifest(&args.from)?;
    check(&manifest, Backend::of(&url)?)?;
    let file = args.from.join(&manifest.file);
    check_file(&manifest, &file)?;
    check_master_key(&manifest, &config)?;
    let restored = slow("restoring the database", backup::restore(&url, &file)).await;
    let doubted = restored.context("the backup could not be restored")?;
    let mut people = format!(
        "the database is what it was at {}; `tenure serve` goes on from there",
        manifest.created_at
    );
    if doubted > 0 {
        people.push_str(&format!(
            "\n{doubted} writes to the outside had not left by then and may have left since: each is looked up, or asked about, before it is sent"
        ));
    }
    let value =
        json!({"restored": true, "created_at": manifest.created_at, "effects_in_doubt": doubted});
    out.thing(&value, "created_at", people)?;
    Ok(())
}

fn read_manifest(directory: &Path) -> anyhow::Result<Manifest> {
    let path = directory.join(MANIFEST);
    let text = match fs::read(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(Failure::failed(format!(
                "{} is no whole backup: it has no {MANIFEST}, which is written last",
                directory.display()
            )));
        }
        Err(error) => return Err(error).with_context(|| path.display().to_string()),
    };
    serde_json::from_slice(&text)
        .with_context(|| format!("{} is not what `tenure backup` writes", path.display()))
}

fn check(manifest: &Manifest, target: Backend) -> anyhow::Result<()> {
    if manifest.format != FORMAT {
        return Err(Failure::failed(format!(
            "the backup has form {}, this binary reads {FORMAT}: use the binary that made it ({}), or a newer one",
            manifest.format, manifest.version
        )));
    }
    if manifest.database != name_of(target) {
        return Err(Failure::usage(format!(
            "the backup is of {}, and database_url is {}: it can be restored to its own kind only",
            manifest.database,
            name_of(target)
        )));
    }
    let known = persistence::schema_version(target);
    if manifest.migration > known {
        return Err(Failure::failed(format!(
            "the backup has migration {}, this binary knows {known}: use a newer binary",
            manifest.migration
        )));
    }
    // The name is ours; anything else could lead out of the directory.
    if manifest.file != backup::file_name(target) {
        return Err(Failure::failed(format!(
            "{MANIFEST}: file is `{}` and should be `{}`",
            manifest.file,
            backup::file_name(target)
        )));
    }
    Ok(())
}

fn check_file(manifest: &Manifest, file: &Path) -> anyhow::Result<()> {
    let (bytes, sha256) = digest(file)?;
    if bytes != manifest.bytes {
        return Err(Failure::failed(format!(
            "{} has {bytes} bytes and the backup had {}: it is not whole",
            file.display(),
            manifest.bytes
        )));
    }
    if sha256 != manifest.sha256 {
        return Err(Failure::failed(format!(
            "{} is not what was backed up: its SHA-256 differs from that of {MANIFEST}",
            file.display()
        )));
    }
    Ok(())
}

/// A database whose secrets nobody can open should be noticed before it is put to work.
fn check_master_key(manifest: &Manifest, config: &Config) -> anyhow::Result<()> {
    if manifest.master_keys.is_empty() {
        return Ok(());
    }
    let needed = manifest.master_keys.join(", ");
    if config.secrets.master_key.is_none() && config.secrets.master_key_file.is_none() {
        note!(
            "its secrets open with master key {needed}; none is configured here, so this was not checked"
        );
        return Ok(());
    }
    let configured = secrets::sealer(&config.secrets)?.key_ids();
    let mut ids = manifest.master_keys.iter();
    match ids.find(|id| !configured.contains(id)) {
        None => Ok(()),
        Some(missing) => Err(Failure::failed(format!(
            "the secrets of the backup open with master key {missing}, and the configured master key is {}",
            configured.join(", ")
        ))),
    }
}

fn name_of(backend: Backend) -> &'static str {
    match backend {
        Backend::Sqlite => "sqlite",
        Backend::Postgres => "postgres",
    }
}

/// The directory, made if it was not there.
fn empty_directory(path: &Path) -> anyhow::Result<PathBuf> {
    fs::create_dir_all(path).with_context(|| format!("cannot make {}", path.display()))?;
    let mut entries = fs::read_dir(path).with_context(|| path.display().to_string())?;
    if entries.next().is_some() {
        return Err(Failure::usage(format!(
            "--out {} is not empty: a backup has a directory of its own",
            path.display()
        )));
    }
    // SQLite resolves a relative name by its own rules.
    path.canonicalize()
        .with_context(|| path.display().to_string())
}

/// Readable by its owner alone: it holds what all orgs do.
fn private(file: &Path) -> anyhow::Result<()> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        fs::set_permissions(file, fs::Permissions::from_mode(0o600))
            .with_context(|| file.display().to_string())?;
    }
    Ok(())
}

/// Length and SHA-256 of a file.
fn digest(path: &Path) -> anyhow::Result<(u64, String)> {
    let named = || path.display().to_string();
    let mut file = File::open(path).with_context(named)?;
    let mut hasher = Sha256::new();
    let (mut bytes, mut buffer) = (0, vec![0; 1 << 20]);
    loop {
        let read = file.read(&mut buffer).with_context(named)?;
        if read == 0 {
            break;
        }
        hasher.update(&buffer[..read]);
        bytes += read as u64;
    }
    let digest = hasher.finalize();
    let text = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    Ok((bytes, text))
}
