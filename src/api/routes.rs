//! Every route of the service, in one list: the router, the guard and the OpenAPI document are made from it.

use super::{
    actors, approvals, calendars, catalog, connect_links, connect_page, connections, effects,
    employees, events, graphs, health, hooks, inbox, integrations, keys, memory, nodes, oauth,
    oauth_clients, openapi, org, org_keys, people, policies, proxy, proxy_raw,
    query::{NoQuery, PageQuery},
    route::{Access, Route, delete, get, patch, post, put},
    runs, schedules, sources, triggers, webhook,
};
use crate::{connect::policy::RuleSpec, domain::Role};
use axum::http::StatusCode;

const VIEWER: Access = Access::Key(Role::Viewer);
const OPERATOR: Access = Access::Key(Role::Operator);
const MANAGER: Access = Access::Key(Role::Manager);
const ADMIN: Access = Access::Key(Role::Admin);

#[rustfmt::skip]
pub fn routes() -> Vec<Route> {
    vec![
        post("/v1/employees", MANAGER, "Hire an employee from a job description or from graphs", employees::hire)
            .query::<employees::HireQuery>().body::<employees::HireBody>().answers(StatusCode::CREATED),
        get("/v1/employees", VIEWER, "List the employees", employees::list).query::<employees::ListQuery>(),
        get("/v1/employees/{id}", VIEWER, "Show an employee, by id or name", employees::show),
        delete("/v1/employees/{id}", MANAGER, "Dismiss an employee; its unfinished runs end by themselves", employees::dismiss),
        post("/v1/employees/{id}/hold", ADMIN, "Let an employee start nothing until it is released", employees::hold),
        post("/v1/employees/{id}/release", ADMIN, "Release an employee from hold or quarantine", employees::release),
        get("/v1/employees/{id}/graph", VIEWER, "Show the graphs that new runs use", graphs::show),
        put("/v1/employees/{id}/graph", MANAGER, "Make a new version of the graphs", graphs::replace).body::<graphs::GraphBody>(),
        get("/v1/employees/{id}/graph/versions", VIEWER, "List the versions, newest first", graphs::versions),
        get("/v1/employees/{id}/graph/versions/{version}", VIEWER, "Show a version", graphs::version),
        post("/v1/employees/{id}/triggers", OPERATOR, "Tell an employee to work; with `Prefer: wait=SECONDS` wait for the end", triggers::trigger)
            .body::<triggers::TriggerBody>().answers(StatusCode::ACCEPTED),
        post("/v1/triggers", OPERATOR, "Hand an event to everybody whom it concerns", triggers::route)
            .body::<triggers::RouteBody>().answers(StatusCode::ACCEPTED),

        get("/v1/runs", VIEWER, "List the runs, newest first", runs::list).query::<runs::ListQuery>(),
        get("/v1/runs/{id}", VIEWER, "Show a run", runs::show),
        get("/v1/runs/{id}/steps", VIEWER, "List the steps of a run", runs::steps).query::<PageQuery>(),
        get("/v1/runs/{id}/journal", VIEWER, "List the facts of a run", runs::journal).query::<PageQuery>(),
        get("/v1/runs/{id}/effects", VIEWER, "List the writes of a run to the outside", runs::effects).query::<PageQuery>(),
        get("/v1/runs/{id}/events", VIEWER, "Follow a run to its end (SSE)", events::run).query::<events::EventsQuery>(),
        post("/v1/runs/{id}/cancel", OPERATOR, "Stop a run with everything below it", runs::cancel).optional_body::<runs::CancelBody>(),
        get("/v1/events", VIEWER, "Follow what happens in the org (SSE), or read a page of it", events::org).query::<events::EventsQuery>(),

        get("/v1/approvals", VIEWER, "List the questions to people", approvals::list).query::<approvals::ListQuery>(),
        get("/v1/approvals/{id}", VIEWER, "Show a question", approvals::show),
        post("/v1/approvals/{id}/decision", MANAGER, "Approve or deny exactly these arguments", approvals::decide)
            .body::<approvals::DecisionBody>(),

        get("/v1/schedules", VIEWER, "List the schedules", schedules::list).query::<schedules::ListQuery>(),
        get("/v1/schedules/{id}", VIEWER, "Show a schedule", schedules::show),
        post("/v1/schedules/{id}/pause", MANAGER, "Let a schedule rest", schedules::pause),
        post("/v1/schedules/{id}/resume", MANAGER, "Let a schedule go on from now", schedules::resume),
        get("/v1/schedules/{id}/fires", VIEWER, "List what became of each time that it was due", schedules::fires).query::<PageQuery>(),

        get("/v1/calendars", VIEWER, "List the calendars that say which days the org works", calendars::list).query::<NoQuery>(),
        get("/v1/calendars/{name}", VIEWER, "Show a calendar", calendars::show).query::<NoQuery>(),
        put("/v1/calendars/{name}", ADMIN, "Make a calendar or replace it; schedules that go by it are due anew", calendars::put)
            .body::<calendars::CalendarBody>(),
        delete("/v1/calendars/{name}", ADMIN, "Remove a calendar that no schedule goes by", calendars::delete)
            .answers(StatusCode::NO_CONTENT),

        get("/v1/memory", VIEWER, "List what is remembered", memory::list).query::<memory::ListQuery>(),
        put("/v1/memory/{layer}/{key}", MANAGER, "Remember a value", memory::put)
            .query::<memory::OwnerQuery>().body::<memory::ValueBody>(),
        delete("/v1/memory/{layer}/{key}", MANAGER, "Forget a value", memory::delete)
            .query::<memory::OwnerQuery>().answers(StatusCode::NO_CONTENT),

        get("/v1/effects", VIEWER, "List the writes to the outside", effects::list).query::<effects::ListQuery>(),
        get("/v1/effects/{id}", VIEWER, "Show a write", effects::show),
        post("/v1/effects/{id}/reconcile", MANAGER, "Say whether an ambiguous write happened", effects::reconcile)
            .body::<effects::ReconcileBody>(),

        get("/v1/actors", VIEWER, "List the live actors, or show them as a tree", actors::list).query::<actors::ListQuery>(),
        get("/v1/actors/{*path}", VIEWER, "Show a live actor and its children", actors::show),

        get("/v1/nodes", ADMIN, "List the nodes of the service and what they say of themselves, as an operator", nodes::list).query::<NoQuery>(),
        post("/v1/nodes/{id}/drain", ADMIN, "Let a node, by id or name, give away what lives there, as an operator", nodes::drain),
        post("/v1/rebalance", ADMIN, "Let every node give away what should live elsewhere, as an operator", nodes::rebalance),

        get("/v1/connections", VIEWER, "List the connections", connections::list).query::<connections::ListQuery>(),
        post("/v1/connections", OPERATOR, "Connect an account by what one types: one's own, or as an admin the org's", connections::create)
            .body::<connections::ConnectionBody>().answers(StatusCode::CREATED),
        get("/v1/connections/{id}", VIEWER, "Show a connection", connections::show),
        post("/v1/connections/{id}/probe", OPERATOR, "Ask the provider at once whether the account still works", connections::probe),
        delete("/v1/connections/{id}", OPERATOR, "Remove a connection: one's own, or as an admin the org's", connections::delete)
            .answers(StatusCode::NO_CONTENT),
        post("/v1/connect-links", OPERATOR, "Make a link by which a person connects an account, once; shown once", connect_links::create)
            .body::<connect_links::LinkBody>().answers(StatusCode::CREATED),
        get("/v1/connect-links/{id}", VIEWER, "Show what became of a connect link", connect_links::show).query::<NoQuery>(),
        get("/v1/oauth-clients", ADMIN, "List the org's apps at providers, without their secrets", oauth_clients::list).query::<NoQuery>(),
        put("/v1/oauth-clients/{integration}", ADMIN, "Register the org's app at a provider, or change it", oauth_clients::put)
            .body::<oauth_clients::ClientBody>(),
        delete("/v1/oauth-clients/{integration}", ADMIN, "Forget the org's app at a provider", oauth_clients::delete)
            .answers(StatusCode::NO_CONTENT),
        post("/oauth/start", OPERATOR, "Begin a consent: where to send the browser", oauth::start).body::<oauth::StartBody>(),
        post("/oauth/complete", OPERATOR, "End a consent with the code that came back", oauth::complete).body::<oauth::CompleteBody>(),
        get("/oauth/callback/{integration}", Access::Public, "Where providers send browsers back to (HTML)", oauth::callback),
        get("/connect/{token}", Access::Public, "The page behind a connect link (HTML); uses nothing up", connect_page::show),
        post("/connect/{token}", Access::Public, "What a person decided or typed there (a form)", connect_page::submit),
        get("/v1/hooks", VIEWER, "List the webhook endpoints", hooks::list).query::<PageQuery>(),
        post("/v1/hooks", ADMIN, "Make a webhook endpoint; its secret is shown once", hooks::create)
            .body::<hooks::HookBody>().answers(StatusCode::CREATED),
        post("/v1/hooks/{id}/rotate", ADMIN, "Make or take a new secret, shown once; the old one is good for 24 hours", hooks::rotate)
            .query::<hooks::RotateQuery>().optional_body::<hooks::RotateBody>(),
        delete("/v1/hooks/{id}", ADMIN, "Remove a webhook endpoint", hooks::delete).answers(StatusCode::NO_CONTENT),
        get("/v1/inbox", VIEWER, "List what came from outside, newest first", inbox::list).query::<inbox::ListQuery>(),
        get("/v1/inbox/{id}", VIEWER, "Show an event with its payload", inbox::show),
        post("/v1/inbox/{id}/replay", MANAGER, "Give an event once more to whom it concerns now", inbox::replay)
            .answers(StatusCode::ACCEPTED),
        get("/v1/sources", VIEWER, "List what is asked for news", sources::list).query::<PageQuery>(),
        post("/v1/sources", ADMIN, "Ask an outside system for news now and then", sources::create)
            .body::<sources::SourceBody>().answers(StatusCode::CREATED),
        get("/v1/sources/{id}", VIEWER, "Show a source", sources::show),
        post("/v1/sources/{id}/pause", MANAGER, "Ask a source no more until it is resumed", sources::pause),
        post("/v1/sources/{id}/resume", MANAGER, "Ask a source on from where it stopped", sources::resume),
        delete("/v1/sources/{id}", ADMIN, "Remove a source", sources::delete).answers(StatusCode::NO_CONTENT),
        post("/hooks/{source}/{endpoint}", Access::Public, "Take a webhook, proved by its endpoint's scheme", webhook::receive)
            .body::<serde_json::Value>().answers(StatusCode::ACCEPTED),

        get("/v1/keys", ADMIN, "List the API keys", keys::list).query::<PageQuery>(),
        post("/v1/keys", ADMIN, "Make an API key, shown once", keys::create).body::<keys::KeyBody>().answers(StatusCode::CREATED),
        delete("/v1/keys/{id}", ADMIN, "Revoke an API key", keys::revoke).answers(StatusCode::NO_CONTENT),
        get("/v1/org", VIEWER, "Show the org and who asks", org::show).query::<NoQuery>(),
        get("/v1/org/keys", ADMIN, "List the data keys that seal the org's secrets, without the keys themselves", org_keys::list).query::<NoQuery>(),
        post("/v1/org/keys/rotate", ADMIN, "Make a new data key and seal all secrets anew", org_keys::rotate),
        patch("/v1/org", ADMIN, "Change what the org chose", org::change).body::<org::OrgBody>(),
        get("/v1/org/people", VIEWER, "List who somebody is in Slack", people::show),
        put("/v1/org/people", ADMIN, "Say who somebody is in Slack", people::replace).body::<people::PeopleBody>(),
        post("/proxy/{capability}", OPERATOR, "Call an outside system through the org's connection", proxy::forward)
            .query::<proxy::ProxyQuery>().body::<proxy::ProxyBody>(),
        get("/proxy/connections/{connection}/{*path}", MANAGER, "Read anything below a connection's base URL", proxy_raw::forward),
        post("/proxy/connections/{connection}/{*path}", MANAGER, "Send anything below a connection's base URL; the write is in the ledger",
            proxy_raw::forward),
        put("/proxy/connections/{connection}/{*path}", MANAGER, "The same with PUT", proxy_raw::forward),
        patch("/proxy/connections/{connection}/{*path}", MANAGER, "The same with PATCH", proxy_raw::forward),
        delete("/proxy/connections/{connection}/{*path}", MANAGER, "The same with DELETE", proxy_raw::forward),
        get("/v1/catalog", VIEWER, "List the integrations and what they can do", catalog::list).query::<catalog::CatalogQuery>(),
        get("/v1/catalog/{id}", VIEWER, "Show an integration, or one of its capabilities", catalog::show),
        get("/catalog", VIEWER, "List the integrations and what they can do (the same as /v1/catalog)", catalog::list)
            .query::<catalog::CatalogQuery>(),
        get("/v1/integrations", VIEWER, "List the integrations that the org has added", integrations::list),
        post("/v1/integrations", ADMIN, "Add an integration to the org's catalog, or replace one (JSON, or YAML)", integrations::put)
            .body::<serde_json::Value>().answers(StatusCode::CREATED),
        get("/v1/integrations/{id}", VIEWER, "Show an integration that the org has added, as it was written", integrations::show),
        delete("/v1/integrations/{id}", ADMIN, "Remove an integration from the org's catalog", integrations::delete)
            .answers(StatusCode::NO_CONTENT),

        get("/v1/policies", VIEWER, "List the rules about what may be called", policies::list),
        post("/v1/policies", ADMIN, "Make a rule about what may be called (JSON, or YAML)", policies::create)
            .body::<RuleSpec>().answers(StatusCode::CREATED),
        post("/v1/policies/check", VIEWER, "Say what would become of a call, and which rule decides", policies::dry_run)
            .body::<policies::CheckBody>(),
        get("/v1/policies/{id}", VIEWER, "Show a rule", policies::show),
        put("/v1/policies/{id}", ADMIN, "Replace a rule (JSON, or YAML)", policies::replace).body::<RuleSpec>(),
        delete("/v1/policies/{id}", ADMIN, "Remove a rule", policies::delete).answers(StatusCode::NO_CONTENT),

        get("/healthz", Access::Public, "Whether the process lives", health::alive),
        get("/readyz", Access::Public, "Whether it can take work", health::ready),
        get("/metrics", Access::Metrics, "Metrics in the text format of Prometheus, for the operator", health::metrics),
        get("/openapi.json", VIEWER, "This document", openapi::document),
    ]
}
