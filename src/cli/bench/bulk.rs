//! Many requests of one kind, each sent once.

use super::{
    client::Client,
    http::{Answer, write_request},
    load::{self, Load},
};
use anyhow::{Context, Result, ensure};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Value, json};
use std::{cell::RefCell, time::Duration};

const IN_FLIGHT: usize = 64;
const DEADLINE: Duration = Duration::from_secs(600);

#[derive(Debug, Deserialize)]
pub struct Hired {
    pub id: String,
}

#[derive(Debug, Deserialize)]
pub struct Accepted {
    pub execution_id: String,
}

/// Posts each body to its path, 64 in flight; gives the answers in the order of the requests.
///
/// # Errors
/// The first answer with another status or shape.
pub async fn post_all<T: DeserializeOwned>(
    server: &Client,
    requests: impl IntoIterator<Item = (String, Value)>,
    status: u16,
) -> Result<(Load, Vec<T>)> {
    let requests: Vec<Vec<u8>> = requests
        .into_iter()
        .map(|(path, body)| {
            let mut request = Vec::new();
            let head = server.head("POST", &path, None);
            write_request(&mut request, &head, body.to_string().as_bytes());
            request
        })
        .collect();
    let answers: RefCell<Vec<Option<T>>> = RefCell::new(requests.iter().map(|_| None).collect());
    let write = |number: u64, out: &mut Vec<u8>| match requests.get(number as usize) {
        Some(request) => {
            out.extend_from_slice(request);
            true
        }
        None => false,
    };
    let accept = |number: u64, answer: Answer<'_>| {
        answer.expect(status)?;
        let answer = serde_json::from_slice(answer.body).context("answer of another shape")?;
        answers.borrow_mut()[number as usize] = Some(answer);
        Ok(())
    };
    let load = load::run(server.address, IN_FLIGHT, DEADLINE, write, accept).await?;
    // Every request was answered, else the load had failed.
    let answers = answers.into_inner().into_iter().flatten().collect();
    Ok((load, answers))
}

/// Hires so many employees; gives their ids.
///
/// # Errors
/// As [`post_all`].
pub async fn hire_all(
    server: &Client,
    count: usize,
    employee: impl Fn(&str) -> Value,
) -> Result<Vec<String>> {
    let requests =
        (0..count).map(|number| ("/v1/employees".into(), employee(&format!("bench {number}"))));
    let (_, hired) = post_all::<Hired>(server, requests, 201).await?;
    Ok(hired.into_iter().map(|hired| hired.id).collect())
}

/// Gives each of the employees one trigger; returns when all are accepted.
///
/// # Errors
/// As [`post_all`].
pub async fn trigger_all(
    server: &Client,
    employees: impl IntoIterator<Item = &String>,
) -> Result<(Load, Vec<Accepted>)> {
    let requests = employees.into_iter().enumerate().map(|(number, id)| {
        let payload = json!({"seq": number.to_string(), "amount": number});
        (
            format!("/v1/employees/{id}/triggers"),
            json!({"payload": payload}),
        )
    });
    post_all(server, requests, 202).await
}

/// Reads all of these runs, which have ended.
///
/// # Errors
/// One is not completed.
pub async fn all_completed(server: &mut Client, accepted: &[Accepted]) -> Result<()> {
    for run in accepted {
        let path = format!("/v1/runs/{}", run.execution_id);
        let run: Value = server.get(&path).await?;
        ensure!(
            run["status"] == "completed",
            "a run is not completed: {run}"
        );
    }
    Ok(())
}
