//! The routes that make a provider send something. Each answers when the receiver has answered for the last time.

use super::{
    slack::{Click, Command, Event, Target, verify_url},
    webhooks::Webhook,
};
use crate::sandbox::{
    fields::Fields,
    problem::{Problem, read_json, shown},
    routes::{Desk, now},
};
use axum::{
    Router,
    body::Bytes,
    extract::State,
    http::{HeaderMap, StatusCode, header},
    response::Response,
    routing::post,
};
use serde_json::Value;

pub(in crate::sandbox) fn router() -> Router<Desk> {
    Router::new()
        .route("/slack/send_event", post(send_event))
        .route("/slack/click", post(click))
        .route("/slack/command", post(command))
        .route("/slack/url_verification", post(url_verification))
        .route("/github/deliver", post(deliver_github))
        .route("/stripe/deliver", post(deliver_stripe))
}

async fn send_event(
    State(desk): State<Desk>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Problem> {
    let body = read_json(&body)?;
    let fields = Fields::of(&body, &[&Target::FIELDS[..], &Event::FIELDS].concat())?;
    let target = Target::read(&fields, now(), &own_url(&headers))?;
    let event = Event::read(&fields, &target)?;
    Ok(told(&event.send(&desk.sender, &target).await))
}

async fn click(
    State(desk): State<Desk>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Problem> {
    let body = read_json(&body)?;
    let own_url = own_url(&headers);
    let read = move |keeper: &mut crate::sandbox::book::Keeper| {
        let fields = Fields::of(&body, &[&Target::FIELDS[..], &Click::FIELDS].concat())?;
        let target = Target::read(&fields, now(), &own_url)?;
        let click = Click::read(&fields, &target, &keeper.world, now())?;
        Ok::<_, crate::sandbox::fields::BadField>((target, click))
    };
    let (target, click) = desk.book.with(read).await??;
    Ok(told(&click.send(&desk.sender, &target).await))
}

async fn command(
    State(desk): State<Desk>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Problem> {
    let body = read_json(&body)?;
    let fields = Fields::of(&body, &[&Target::FIELDS[..], &Command::FIELDS].concat())?;
    let target = Target::read(&fields, now(), &own_url(&headers))?;
    let command = Command::read(&fields, &target, now())?;
    Ok(told(&command.send(&desk.sender, &target).await))
}

async fn url_verification(
    State(desk): State<Desk>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Problem> {
    let body = read_json(&body)?;
    let fields = Fields::of(&body, &Target::FIELDS)?;
    let target = Target::read(&fields, now(), &own_url(&headers))?;
    Ok(told(&verify_url(&desk.sender, &target).await))
}

async fn deliver_github(State(desk): State<Desk>, body: Bytes) -> Result<Response, Problem> {
    let body = read_json(&body)?;
    let webhook = Webhook::github(&Fields::of(&body, &Webhook::GITHUB_FIELDS)?)?;
    Ok(told(&webhook.send(&desk.sender).await))
}

async fn deliver_stripe(State(desk): State<Desk>, body: Bytes) -> Result<Response, Problem> {
    let body = read_json(&body)?;
    let webhook = Webhook::stripe(&Fields::of(&body, &Webhook::STRIPE_FIELDS)?, now())?;
    Ok(told(&webhook.send(&desk.sender).await))
}

fn told(result: &Value) -> Response {
    shown(StatusCode::OK, result)
}

/// Where the sandbox was reached just now, which is where a response URL reaches it.
fn own_url(headers: &HeaderMap) -> String {
    let host = headers.get(header::HOST);
    let host = host.and_then(|host| host.to_str().ok());
    format!("http://{}", host.unwrap_or("127.0.0.1"))
}
