//! What steers the sandbox and what it remembers: `/record`, `/faults`, `/quotas`.

use super::{
    call::Provider,
    faults::Fault,
    problem::{Problem, as_json, list, read_json, shown},
    quotas::Quota,
    routes::Desk,
    urlencoded,
};
use axum::{
    Router,
    body::Bytes,
    extract::{RawQuery, State},
    http::StatusCode,
    response::Response,
    routing::{get, post},
};

const PAGE: usize = 10_000;
const LONGEST_PAGE: usize = 100_000;

pub(super) fn router() -> Router<Desk> {
    Router::new()
        .route("/record", get(read_record).delete(reset_record))
        .route(
            "/faults",
            post(add_fault).get(list_faults).delete(clear_faults),
        )
        .route(
            "/quotas",
            post(set_quota).get(list_quotas).delete(clear_quotas),
        )
}

pub(super) fn read_provider(name: &str) -> Result<Provider, Problem> {
    Provider::named(name).ok_or_else(|| Problem::bad("integration", Provider::MUST_BE))
}

async fn read_record(
    State(desk): State<Desk>,
    RawQuery(query): RawQuery,
) -> Result<Response, Problem> {
    let (mut provider, mut after, mut limit) = (None, 0, PAGE);
    for (name, value) in urlencoded::pairs(&query.unwrap_or_default()) {
        match name.as_str() {
            "integration" => provider = Some(read_provider(&value)?),
            "after" => {
                after = value
                    .parse()
                    .map_err(|_| Problem::bad("after", "must be a whole number"))?
            }
            "limit" => {
                let number = value
                    .parse()
                    .ok()
                    .filter(|number| (1..=LONGEST_PAGE).contains(number));
                limit = number.ok_or_else(|| {
                    Problem::bad("limit", format!("must be from 1 to {LONGEST_PAGE}"))
                })?;
            }
            other => {
                return Err(Problem::bad(
                    other,
                    "is not known; known are integration, after, limit",
                ));
            }
        }
    }
    let page = desk
        .book
        .with(move |keeper| keeper.record.page(provider, after, limit))
        .await?;
    let read = tokio::task::spawn_blocking(move || page.read())
        .await
        .map_err(std::io::Error::other)?;
    Ok(as_json(StatusCode::OK, read?))
}

async fn reset_record(State(desk): State<Desk>) -> Result<StatusCode, Problem> {
    desk.book.with(|keeper| keeper.reset()).await??;
    Ok(StatusCode::NO_CONTENT)
}

async fn add_fault(State(desk): State<Desk>, body: Bytes) -> Result<Response, Problem> {
    let fault = Fault::parse(&read_json(&body)?)?;
    let said = fault.to_json();
    desk.book
        .with(move |keeper| keeper.faults.add(fault))
        .await??;
    Ok(shown(StatusCode::CREATED, &said))
}

async fn list_faults(State(desk): State<Desk>) -> Result<Response, Problem> {
    let faults = desk.book.with(|keeper| keeper.faults.list()).await?;
    Ok(list(faults.iter().map(Fault::to_json).collect()))
}

async fn clear_faults(State(desk): State<Desk>) -> Result<StatusCode, Problem> {
    desk.book.with(|keeper| keeper.faults.clear()).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn set_quota(State(desk): State<Desk>, body: Bytes) -> Result<Response, Problem> {
    let quota = Quota::parse(&read_json(&body)?)?;
    let said = desk.book.with(|keeper| keeper.quotas.set(quota)).await?;
    Ok(shown(StatusCode::CREATED, &said))
}

async fn list_quotas(State(desk): State<Desk>) -> Result<Response, Problem> {
    Ok(list(desk.book.with(|keeper| keeper.quotas.list()).await?))
}

async fn clear_quotas(State(desk): State<Desk>) -> Result<StatusCode, Problem> {
    desk.book.with(|keeper| keeper.quotas.clear()).await?;
    Ok(StatusCode::NO_CONTENT)
}
