//! The checker itself, held against small bad files: a test that cannot fail guards nothing.

use super::{Problem, check};

/// The problems of one file, as they are printed.
fn problems(path: &str, text: &str) -> Vec<String> {
    problems_of(&[(path, text)])
}

fn problems_of(files: &[(&str, &str)]) -> Vec<String> {
    let files: Vec<(String, String)> = files
        .iter()
        .map(|(path, text)| (path.to_string(), text.to_string()))
        .collect();
    check(&files).iter().map(Problem::to_string).collect()
}

#[test]
fn a_bad_file_is_told_by_line() {
    let text = r#"//! The employee, who reaches for the database.

use crate::{
    domain::OrgId,
    persistence::{Db, Tx},
};
use std::{fs, time::{Duration, Instant}};

/// `crate::api::Route` in a comment is no import.
pub fn now() -> u64 {
    let text = "crate::api::Route";
    rand::random()
}
"#;
    assert_eq!(
        problems("domain/employee.rs", text),
        [
            "src/domain/employee.rs:5: domain must not import persistence (`crate::persistence::Db`)",
            "src/domain/employee.rs:5: domain must not import persistence (`crate::persistence::Tx`)",
            "src/domain/employee.rs:7: domain must not name `std::fs`: domain and graph do no io",
            "src/domain/employee.rs:7: domain must not name `std::time::Instant`: time is a parameter there",
            "src/domain/employee.rs:12: domain must not name `rand::random`: ids and randomness are parameters there",
        ]
    );
}

#[test]
fn imports_that_go_up_or_sideways_are_refused() {
    for (path, text) in [
        ("domain/org.rs", "use crate::graph::Plan;"),
        ("graph/mod.rs", "fn f(db: &crate::persistence::Db) {}"),
        ("graph/mod.rs", "use crate::telemetry::RUNS;"),
        ("persistence/journal.rs", "use crate::connect::Catalog;"),
        ("persistence/journal.rs", "use crate::config::Config;"),
        ("connect/hub.rs", "use crate::actors;"),
        ("hire/planner.rs", "use super::super::connect::Catalog;"),
        (
            "hire/planner.rs",
            "mod tests { use super::super::super::api; }",
        ),
        ("actors/node.rs", "pub use crate::api::Routes as R;"),
        ("api/runs.rs", "use crate::sandbox::{self};"),
        (
            "sandbox/slack.rs",
            "macro_rules! m { () => { $crate::api::f() } }",
        ),
        ("telemetry.rs", "use crate::persistence::Db;"),
        ("config.rs", "use crate::actors::Node;"),
        ("api/runs.rs", "use crate::*;"),
        ("api/runs.rs", "use crate::nowhere::Thing;"),
        ("attic/mod.rs", ""),
    ] {
        assert_eq!(problems(path, text).len(), 1, "{path}: {text}");
    }
}

#[test]
fn crates_stay_in_their_rooms() {
    for (path, text) in [
        ("actors/journal.rs", "use sqlx::Row;"),
        ("actors/journal.rs", "use ::sqlx;"),
        ("actors/journal.rs", "use {axum, tokio::sync};"),
        ("actors/journal.rs", "fn f() { return ::sqlx::query() }"),
        ("api/runs.rs", "#[derive(sqlx::FromRow)] struct Run;"),
        ("actors/node.rs", "use axum as http;"),
        ("main.rs", "use axum::Router;"),
        (
            "api/runs.rs",
            "async fn f() { ractor::Actor::spawn().await }",
        ),
        ("actors/node.rs", "use reqwest::Client;"),
        ("actors/node.rs", "use hyper::{client::conn, body::Body};"),
        ("hire/mod.rs", "fn f() { TcpStream::connect(address) }"),
        ("persistence/mod.rs", "use anyhow::Context;"),
        ("graph/run.rs", "use std::time::*;"),
        (
            "graph/run.rs",
            "use std::time; fn f() { time::SystemTime::now() }",
        ),
        ("graph/run.rs", "fn f() { chrono::Utc::now() }"),
        ("graph/run.rs", "fn f() { Uuid::new_v4() }"),
        (
            "graph/run.rs",
            "fn f<'a>(c: char) { if c == '\\'' { tokio::spawn(g()) } }",
        ),
        (
            "graph/run.rs",
            "#[cfg(not(test))] mod live { use tokio::sync; }",
        ),
        (
            "graph/run.rs",
            "#[cfg(test)] mod tests {} fn f() { tokio::spawn(g()) }",
        ),
    ] {
        assert!(!problems(path, text).is_empty(), "{path}: {text}");
    }
}

#[test]
fn what_is_allowed_is_let_pass() {
    for (path, text) in [
        (
            "domain/org.rs",
            "use super::ids::OrgId; use crate::domain::hash;",
        ),
        (
            "graph/run.rs",
            "use crate::domain::{OrgId, RunId}; use std::time::Duration;",
        ),
        (
            "persistence/journal.rs",
            "use crate::{domain::*, graph::Fact, telemetry}; use sqlx::Row;",
        ),
        (
            "persistence/journal.rs",
            "fn f() { crate::on_tx!(tx, query()) }",
        ),
        (
            "hire/planner.rs",
            "mod tests { use super::*; use super::super::text; }",
        ),
        (
            "actors/node.rs",
            "use crate::{config::Node, hire, connect}; use ractor::Actor; use tokio::spawn;",
        ),
        (
            "api/runs.rs",
            "use crate::{actors::EmployeeHandle, persistence::Db}; use axum::Json;",
        ),
        (
            "cli/tell.rs",
            "use crate::{api, sandbox}; use reqwest::Client; use anyhow::Context;",
        ),
        (
            "main.rs",
            "fn main() -> anyhow::Result<()> { tenure::cli::main() }",
        ),
        ("lib.rs", "pub mod api; pub mod domain;"),
        (
            "graph/run.rs",
            "#[cfg(test)] mod tests { #[tokio::test] async fn f() { tokio::spawn(g()) } }",
        ),
        ("graph/run.rs", "#![cfg(test)] use tokio::time;"),
        (
            "graph/run.rs",
            "#[cfg(test)] mod tests { use rand::Rng; use crate::sandbox; }",
        ),
        (
            "graph/run.rs",
            "/* /* */ use tokio::time; */ const A: &str = r##\"\"# use tokio::time;\"##;",
        ),
        (
            "graph/run.rs",
            "const A: (u8, char, &[u8]) = (b'\\'', '\"', b\"\\\" rand::random()\");",
        ),
        (
            "graph/run.rs",
            "fn f(tokio: u8, rand: u8) { tokio + rand; 'rand: loop {} }",
        ),
        (
            "graph/run.rs",
            "fn f<'a>() -> impl Sized + use<'a> { 1..2; 0x1f_u8 }",
        ),
    ] {
        assert_eq!(problems(path, text), [""; 0], "{path}: {text}");
    }
}

#[test]
fn a_file_declared_as_a_test_is_one() {
    let user = ("graph/reference/mod.rs", "use tokio::sync::mpsc;");
    let declared = ("graph/mod.rs", "#[cfg(test)]\nmod reference;\nmod run;");
    let not_declared = ("graph/mod.rs", "#[cfg(test)]\nmod run;\nmod reference;");
    assert_eq!(problems_of(&[declared, user]), [""; 0]);
    assert_eq!(problems_of(&[not_declared, user]).len(), 1);
}
