//! A PostgreSQL cluster of one's own: for tests and for `tenure bench`. Real durability (fsync on), a directory and a port of its own, only
//! reachable from this machine, stopped with the value; a shell that waits for this process stops it should the process be killed.

use std::{
    fs,
    io::{self, Read, Write},
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

/// A running cluster.
#[derive(Debug)]
pub struct PrivatePostgres {
    bin: PathBuf,
    user: Option<&'static str>,
    directory: PathBuf,
    port: u16,
    /// Ends the server when its input is closed, by us or by our death.
    keeper: Child,
}

#[derive(Debug, thiserror::Error)]
pub enum PrivatePostgresError {
    #[error(
        "no PostgreSQL found (initdb and postgres): install the Debian package `postgresql` (15 or newer), or put its bin directory in PATH"
    )]
    NotInstalled,
    #[error(
        "postgres does not run as root: an unprivileged user `postgres` or `nobody` is needed, with `runuser`"
    )]
    NoUser,
    #[error("{what} failed: {detail}")]
    Failed { what: &'static str, detail: String },
    #[error("{what}: {source}")]
    Io {
        what: &'static str,
        source: io::Error,
    },
}

type Result<T> = std::result::Result<T, PrivatePostgresError>;

fn io_failed(what: &'static str) -> impl FnOnce(io::Error) -> PrivatePostgresError {
    move |source| PrivatePostgresError::Io { what, source }
}

/// How long a server may take to begin to answer on a busy machine.
const START_TIMEOUT: Duration = Duration::from_secs(60);

impl PrivatePostgres {
    /// Makes a cluster in a new directory below `parent` and starts it. Blocks for a second or two.
    ///
    /// # Errors
    /// `NotInstalled`, `NoUser`, or what initdb and postgres said.
    pub fn start(parent: &Path) -> Result<Self> {
        let bin = find_bin()?;
        let user = unprivileged_user()?;
        let directory = new_directory(parent, user)?;
        let data = directory.join("data");
        let init = as_user(user, &bin.join("initdb"))
            .args([
                "--auth=trust",
                "--username=owner",
                "--encoding=UTF8",
                "--locale=C",
                "--no-instructions",
                "-D",
            ])
            .arg(&data)
            .current_dir("/")
            .output()
            .map_err(io_failed("initdb"))?;
        if !init.status.success() {
            let _ = fs::remove_dir_all(&directory);
            return Err(PrivatePostgresError::Failed {
                what: "initdb",
                detail: String::from_utf8_lossy(&init.stderr).into_owned(),
            });
        }
        let port = free_port()?;
        let keeper = spawn_keeper(&bin, user, &directory, port)?;
        let mut cluster = Self {
            bin,
            user,
            directory,
            port,
            keeper,
        };
        cluster.wait_until_ready()?;
        Ok(cluster)
    }

    /// Address of a database as the owner of everything, a superuser: what `migrate` may be given.
    pub fn url(&self, database: &str) -> String {
        format!("postgres://owner@127.0.0.1:{}/{database}", self.port)
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// Stops the server as a crash would, and waits until it is gone.
    ///
    /// # Errors
    /// It cannot be told or waited for.
    pub fn stop(&mut self) -> Result<()> {
        fs::write(self.kept(), "").map_err(io_failed("keep the directory of postgres"))?;
        self.tell("-QUIT", &[&self.server()?])?;
        // Closes the input of the shell, which waits for its server.
        self.keeper.wait().map_err(io_failed("wait for postgres"))?;
        Ok(())
    }

    /// Starts the server again that was stopped, at the same address with the same data.
    ///
    /// # Errors
    /// What postgres said.
    pub fn start_again(&mut self) -> Result<()> {
        fs::remove_file(self.kept()).map_err(io_failed("start postgres again"))?;
        self.keeper = spawn_keeper(&self.bin, self.user, &self.directory, self.port)?;
        self.wait_until_ready()
    }

    /// Makes the server hang: it and all of its connections stand still, and new ones are not answered.
    ///
    /// # Errors
    /// It cannot be told.
    pub fn pause(&self) -> Result<()> {
        let server = self.server()?;
        self.tell("-STOP", &[&server])?;
        self.tell_children("-STOP", &server)
    }

    /// Lets a server go on that hung.
    ///
    /// # Errors
    /// It cannot be told.
    pub fn go_on(&self) -> Result<()> {
        let server = self.server()?;
        self.tell_children("-CONT", &server)?;
        self.tell("-CONT", &[&server])
    }

    /// While it is there, the directory outlives its server.
    fn kept(&self) -> PathBuf {
        self.directory.join("kept")
    }

    /// The server's process id, as it wrote it itself.
    fn server(&self) -> Result<String> {
        let file = self.directory.join("data/postmaster.pid");
        let text = fs::read_to_string(file).map_err(io_failed("read postmaster.pid"))?;
        Ok(text.lines().next().unwrap_or_default().to_owned())
    }

    fn tell(&self, signal: &str, processes: &[&str]) -> Result<()> {
        let told = Command::new("kill").arg(signal).args(processes).status();
        told.map_err(io_failed("kill")).map(drop)
    }

    fn tell_children(&self, signal: &str, server: &str) -> Result<()> {
        let told = Command::new("pkill").args([signal, "-P", server]).status();
        told.map_err(io_failed("pkill")).map(drop)
    }

    fn log(&self) -> String {
        fs::read_to_string(self.directory.join("log")).unwrap_or_default()
    }

    /// Waits for the first byte of the server's answer to a request for TLS: it is sent by a server that takes connections.
    fn wait_until_ready(&mut self) -> Result<()> {
        let begin = Instant::now();
        while begin.elapsed() < START_TIMEOUT {
            if self
                .keeper
                .try_wait()
                .map_err(io_failed("wait for postgres"))?
                .is_some()
            {
                break;
            }
            if self.log().contains("ready to accept connections") && answers(self.port) {
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Err(PrivatePostgresError::Failed {
            what: "start of postgres",
            detail: self.log(),
        })
    }
}

impl Drop for PrivatePostgres {
    fn drop(&mut self) {
        let _ = self.go_on();
        drop(self.keeper.stdin.take());
        let _ = self.keeper.wait();
        let _ = fs::remove_dir_all(&self.directory);
    }
}

fn find_bin() -> Result<PathBuf> {
    places()
        .into_iter()
        .find(|bin| bin.join("initdb").is_file() && bin.join("postgres").is_file())
        .ok_or(PrivatePostgresError::NotInstalled)
}

/// Where a program of PostgreSQL is, the newest version that is installed.
pub(super) fn program(name: &str) -> Option<PathBuf> {
    // Debian's wrapper in PATH picks a version by a cluster of the machine, which need not be ours: real programs go before it.
    let (wrapped, real): (Vec<PathBuf>, Vec<PathBuf>) = places()
        .into_iter()
        .map(|bin| bin.join(name))
        .filter(|path| path.is_file())
        .partition(|path| path.starts_with("/usr/bin"));
    real.into_iter().chain(wrapped).next()
}

/// Directories of PostgreSQL's programs: those in PATH, then where Debian and others put them, the newest version first.
fn places() -> Vec<PathBuf> {
    let path: Vec<PathBuf> = std::env::var_os("PATH")
        .map(|path| std::env::split_paths(&path).collect())
        .unwrap_or_default();
    let mut versions: Vec<(u32, PathBuf)> = fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| {
            Some((
                entry.file_name().to_str()?.parse().ok()?,
                entry.path().join("bin"),
            ))
        })
        .collect();
    versions.sort_by_key(|(version, _)| std::cmp::Reverse(*version));
    let usual = [
        PathBuf::from("/usr/local/bin"),
        PathBuf::from("/usr/local/pgsql/bin"),
    ];
    path.into_iter()
        .chain(versions.into_iter().map(|(_, bin)| bin))
        .chain(usual)
        .collect()
}

/// Whom to run as: nobody else unless we are root, which postgres refuses.
fn unprivileged_user() -> Result<Option<&'static str>> {
    let id = Command::new("id")
        .arg("-u")
        .output()
        .map_err(io_failed("id -u"))?;
    if id.stdout.trim_ascii() != b"0" {
        return Ok(None);
    }
    let exists = |user: &&str| {
        Command::new("id")
            .arg(user)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .is_ok_and(|s| s.success())
    };
    ["postgres", "nobody"]
        .into_iter()
        .find(exists)
        .map(Some)
        .ok_or(PrivatePostgresError::NoUser)
}

fn as_user(user: Option<&str>, program: &Path) -> Command {
    match user {
        None => Command::new(program),
        Some(user) => {
            let mut command = Command::new("runuser");
            command.args(["-u", user, "--"]).arg(program);
            command
        }
    }
}

fn new_directory(parent: &Path, user: Option<&str>) -> Result<PathBuf> {
    let directory = parent.join(format!(
        "tenure-postgres-{}-{}",
        std::process::id(),
        free_port()?
    ));
    fs::create_dir_all(&directory).map_err(io_failed("make the directory of postgres"))?;
    if let Some(user) = user {
        let owned = Command::new("chown")
            .arg(user)
            .arg(&directory)
            .status()
            .map_err(io_failed("chown"))?;
        if !owned.success() {
            return Err(PrivatePostgresError::Failed {
                what: "chown",
                detail: format!("{} to {user}", directory.display()),
            });
        }
    }
    Ok(directory)
}

/// A port that was free a moment ago.
fn free_port() -> Result<u16> {
    let listener = TcpListener::bind("127.0.0.1:0").map_err(io_failed("find a free port"))?;
    Ok(listener
        .local_addr()
        .map_err(io_failed("find a free port"))?
        .port())
}

/// Starts the server below a shell that reads its input until the end and then stops the server: the end comes when we close it or die,
/// however that happens. Nothing of the cluster is kept, so it stops at once, without a checkpoint.
fn spawn_keeper(bin: &Path, user: Option<&str>, directory: &Path, port: u16) -> Result<Child> {
    const KEEP: &str = r#"
        "$1" -D "$2/data" -p "$3" -k "$2" -c listen_addresses=127.0.0.1 -c fsync=on -c synchronous_commit=on \
            -c max_connections=200 -c shared_buffers=128MB -c max_wal_size=2GB >"$2/log" 2>&1 </dev/null &
        server=$!
        ( while kill -0 $server 2>/dev/null; do sleep 1; done; kill $$ 2>/dev/null ) </dev/null >/dev/null 2>&1 &
        watch=$!
        trap 'exit 1' TERM
        cat >/dev/null
        kill $watch 2>/dev/null
        kill -QUIT $server 2>/dev/null
        wait $server
        [ -e "$2/kept" ] || rm -rf "$2"
    "#;
    as_user(user, Path::new("/bin/sh"))
        .args(["-c", KEEP, "keeper"])
        .arg(bin.join("postgres"))
        .arg(directory)
        .arg(port.to_string())
        .current_dir("/")
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .map_err(io_failed("start postgres"))
}

fn answers(port: u16) -> bool {
    let Ok(mut stream) = std::net::TcpStream::connect(("127.0.0.1", port)) else {
        return false;
    };
    let request_tls = [0, 0, 0, 8, 4, 210, 22, 47];
    let _ = stream.set_read_timeout(Some(Duration::from_secs(2)));
    let mut answer = [0];
    stream.write_all(&request_tls).is_ok() && stream.read_exact(&mut answer).is_ok()
}
