//! Who may import whom: every path that `src/` names is held against the order of the rooms.
//!
//! A compiler cannot say this, because all rooms are modules of one crate. What is read is the text (see `source`), so
//! re-exports and macros of other crates can get round it: this test guards against drift, not against malice.

mod cases;
mod lexer;
mod source;

use source::{Reference, SourceFile, Target};
use std::{collections::BTreeSet, fmt, fs, path::Path};

/// The rooms, lowest first. A room may import the rooms of lower layers; rooms of one layer do not know each other.
const LAYERS: &[&[&str]] = &[
    &["domain"],
    &["graph"],
    &["persistence", "connect", "hire", "llm", "tools", "security"],
    &["actors"],
    &["api", "sandbox"],
    &["cli"],
    &["main", "lib"],
];

/// Imports that the layers do not allow and that are allowed all the same: (who, whom). Say why beside each.
const EXCEPTIONS: &[(&str, &str)] = &[];

/// Rooms that stand beside the layers.
const SIDE_ROOMS: &[SideRoom] = &[
    // Names of spans and metrics: for everyone who does something, so not for the two pure rooms.
    SideRoom {
        name: "telemetry",
        imported_from: "persistence",
        imports: &["domain"],
    },
    // Read once at the start; what lies below the actors gets its settings as arguments.
    SideRoom {
        name: "config",
        imported_from: "actors",
        imports: &["domain", "telemetry"],
    },
];

struct SideRoom {
    name: &'static str,
    /// A room of the lowest layer that may import it.
    imported_from: &'static str,
    imports: &'static [&'static str],
}

/// A path that not every room may name.
struct Rule {
    path: &'static [&'static str],
    matches: Matches,
    rooms: Rooms,
    why: &'static str,
}

enum Matches {
    /// The named path begins with the rule's.
    Start,
    /// The named path has the rule's somewhere in it: for functions that are called on an imported type.
    Within,
}

enum Rooms {
    Only(&'static [&'static str]),
    Not(&'static [&'static str]),
}

const PURE: Rooms = Rooms::Not(&["domain", "graph"]);
/// The sandbox is the outside: what its providers send, they send for real.
const OUTBOUND: Rooms = Rooms::Only(&["connect", "llm", "tools", "agents", "sandbox", "cli"]);
/// Persistence too looks whether its private PostgreSQL answers.
const SOCKETS: Rooms = Rooms::Only(&["connect", "llm", "tools", "agents", "cli", "persistence"]);

const fn owned(path: &'static [&'static str], rooms: Rooms, why: &'static str) -> Rule {
    Rule {
        path,
        matches: Matches::Start,
        rooms,
        why,
    }
}

const fn called(path: &'static [&'static str], rooms: Rooms, why: &'static str) -> Rule {
    Rule {
        matches: Matches::Within,
        ..owned(path, rooms, why)
    }
}

const ONE_DATABASE_ROOM: &str = "SQL is written in persistence alone";
const ONE_ACTOR_ROOM: &str = "actors are reached through their handles";
const ONE_HTTP_ROOM: &str = "HTTP is served by api and sandbox alone";
const ONE_WAY_OUT: &str = "outbound connections are opened by connect, llm, tools, agents, the sandbox and the client of cli";
const NO_CLOCK: &str = "time is a parameter there";
const NO_CHANCE: &str = "ids and randomness are parameters there";
const NO_IO: &str = "domain and graph do no io";

const RULES: &[Rule] = &[
    owned(&["sqlx"], Rooms::Only(&["persistence"]), ONE_DATABASE_ROOM),
    owned(&["axum"], Rooms::Only(&["api", "sandbox"]), ONE_HTTP_ROOM),
    owned(&["utoipa_axum"], Rooms::Only(&["api"]), ONE_HTTP_ROOM),
    owned(&["ractor"], Rooms::Only(&["actors"]), ONE_ACTOR_ROOM),
    owned(
        &["ractor_cluster"],
        Rooms::Only(&["actors"]),
        ONE_ACTOR_ROOM,
    ),
    owned(&["reqwest"], OUTBOUND, ONE_WAY_OUT),
    owned(&["hyper", "client"], OUTBOUND, ONE_WAY_OUT),
    owned(&["hyper_util", "client"], OUTBOUND, ONE_WAY_OUT),
    called(&["TcpStream", "connect"], SOCKETS, ONE_WAY_OUT),
    owned(
        &["anyhow"],
        Rooms::Only(&["cli", "main"]),
        "a library's errors are typed",
    ),
    owned(&["tokio"], PURE, NO_IO),
    owned(&["tokio_util"], PURE, NO_IO),
    owned(&["tokio_stream"], PURE, NO_IO),
    owned(&["std", "fs"], PURE, NO_IO),
    owned(&["std", "net"], PURE, NO_IO),
    owned(&["std", "env"], PURE, NO_IO),
    owned(&["std", "process"], PURE, NO_IO),
    owned(&["std", "time", "SystemTime"], PURE, NO_CLOCK),
    owned(&["std", "time", "Instant"], PURE, NO_CLOCK),
    called(&["SystemTime", "now"], PURE, NO_CLOCK),
    called(&["Instant", "now"], PURE, NO_CLOCK),
    called(&["Utc", "now"], PURE, NO_CLOCK),
    called(&["Local", "now"], PURE, NO_CLOCK),
    called(&["Uuid", "now_v7"], PURE, NO_CLOCK),
    called(&["Uuid", "new_v4"], PURE, NO_CHANCE),
    owned(&["rand"], PURE, NO_CHANCE),
    owned(&["getrandom"], PURE, NO_CHANCE),
];

/// One thing that is wrong, at one place; displayed as `file:line: what`.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Problem {
    file: String,
    line: usize,
    what: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "src/{}:{}: {}", self.file, self.line, self.what)
    }
}

/// Holds `files` (paths below `src/`, and their texts) against the order. Sorted, each problem once.
fn check(files: &[(String, String)]) -> BTreeSet<Problem> {
    let files: Vec<SourceFile> = files
        .iter()
        .map(|(path, text)| SourceFile::read(path, text))
        .collect();
    // `#[cfg(test)] mod reference;` makes a test of another file.
    let test_modules: Vec<&[String]> = files.iter().flat_map(SourceFile::test_modules).collect();

    let mut problems = BTreeSet::new();
    for file in &files {
        let whole_file_is_test = test_modules
            .iter()
            .any(|test| file.module().starts_with(test));
        if layer_of(file.room()).is_none() && side_room(file.room()).is_none() {
            problems.insert(Problem {
                file: file.path().to_owned(),
                line: 1,
                what: format!(
                    "the room `{}` has no place in the order; give it one in tests/it/imports.rs",
                    file.room()
                ),
            });
            continue;
        }
        for reference in file.references() {
            let in_test = whole_file_is_test || reference.in_test;
            for what in complaints(file.room(), reference, in_test) {
                problems.insert(Problem {
                    file: file.path().to_owned(),
                    line: reference.line,
                    what,
                });
            }
        }
    }
    problems
}

fn complaints(room: &str, reference: &Reference, in_test: bool) -> Vec<String> {
    // A test may stand on whatever shows that its room is right: the sandbox, a live engine, a file.
    if in_test {
        return Vec::new();
    }
    match &reference.target {
        Target::Inside(path) => import_complaint(room, path).into_iter().collect(),
        Target::Outside(path) => RULES
            .iter()
            .filter(|rule| rule.forbids(room, path))
            .map(|rule| format!("{room} must not name `{}`: {}", path.join("::"), rule.why))
            .collect(),
    }
}

impl Rule {
    fn forbids(&self, room: &str, path: &[String]) -> bool {
        let allowed = match self.rooms {
            Rooms::Only(rooms) => rooms.contains(&room),
            Rooms::Not(rooms) => !rooms.contains(&room),
        };
        let named = match self.matches {
            Matches::Start => starts_with(path, self.path),
            Matches::Within => path
                .windows(self.path.len())
                .any(|part| starts_with(part, self.path)),
        };
        named && !allowed
    }
}

/// Whether `path` begins with `start`; a glob in it stands for whatever may follow.
fn starts_with(path: &[String], start: &[&str]) -> bool {
    for (i, wanted) in start.iter().enumerate() {
        match path.get(i).map(String::as_str) {
            Some("*") => return true,
            Some(segment) if segment == *wanted => {}
            _ => return false,
        }
    }
    true
}

/// What is wrong with `room` importing `path` (absolute in this crate), if anything is.
fn import_complaint(room: &str, path: &[String]) -> Option<String> {
    let imported = path.first()?.as_str();
    if imported == room || may_import(room, imported) {
        return None;
    }
    let path = path.join("::");
    Some(
        if layer_of(imported).is_some() || side_room(imported).is_some() {
            format!("{room} must not import {imported} (`crate::{path}`)")
        } else {
            format!("`crate::{path}` names no room of the order")
        },
    )
}

fn may_import(room: &str, imported: &str) -> bool {
    if EXCEPTIONS.contains(&(room, imported)) {
        return true;
    }
    if let Some(side) = side_room(room) {
        return side.imports.contains(&imported);
    }
    let lowest = match side_room(imported) {
        Some(side) => layer_of(side.imported_from),
        None => layer_of(imported).map(|layer| layer + 1),
    };
    matches!((layer_of(room), lowest), (Some(own), Some(lowest)) if own >= lowest)
}

fn layer_of(room: &str) -> Option<usize> {
    LAYERS.iter().position(|rooms| rooms.contains(&room))
}

fn side_room(room: &str) -> Option<&'static SideRoom> {
    SIDE_ROOMS.iter().find(|side| side.name == room)
}

/// All Rust files below `dir`, as (path below `root`, text).
fn read_sources(root: &Path, dir: &Path, files: &mut Vec<(String, String)>) {
    for entry in fs::read_dir(dir).expect("a readable directory") {
        let path = entry.expect("a readable entry").path();
        if path.is_dir() {
            read_sources(root, &path, files);
        } else if path.extension().is_some_and(|ext| ext == "rs") {
            let name = path.strip_prefix(root).expect("a path below the root");
            let text = fs::read_to_string(&path).expect("a readable file");
            files.push((name.display().to_string(), text));
        }
    }
}

#[test]
fn rooms_import_only_lower_rooms() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    read_sources(&src, &src, &mut files);
    assert!(files.len() > 5, "found only {} files", files.len());

    let problems: Vec<String> = check(&files).iter().map(Problem::to_string).collect();
    assert!(
        problems.is_empty(),
        "the order of the rooms is broken:\n{}",
        problems.join("\n")
    );
}
