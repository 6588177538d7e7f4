//! `/openapi.json`: the document (OpenAPI 3.1) is made from the list of routes, so that neither can have what the other lacks.

use super::{
    error::Problem,
    json_text::json_text,
    query::{NoQuery, Query},
    route::{Access, Route},
    routes::routes,
};
use axum::{body::Bytes, response::Response};
use serde_json::{Map, Value, json};
use std::sync::LazyLock;

static DOCUMENT: LazyLock<Bytes> = LazyLock::new(|| describe(&routes()).to_string().into());

pub async fn document(Query(NoQuery {}): Query<NoQuery>) -> Response {
    json_text(DOCUMENT.clone())
}

/// The document of these routes.
pub fn describe(routes: &[Route]) -> Value {
    let mut paths = Map::new();
    for route in routes {
        let path = paths
            .entry(openapi_path(route.path))
            .or_insert_with(|| json!({}));
        path[route.method.as_str().to_lowercase()] = operation(route);
    }
    let codes: Vec<&str> = Problem::ALL.iter().map(|problem| problem.code()).collect();
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Tenure",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "The runtime that employs digital employees. Lists are `{items, next}`; errors are problem details with a stable `code`.",
        },
        "paths": paths,
        "components": {
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer", "description": "An API key: `tnk_`, 43 letters and digits, and six more that are their checksum (CRC-32 of all before them in base 62)"}},
            "schemas": {"Problem": {
                "type": "object",
                "required": ["type", "title", "status", "code", "detail"],
                "properties": {
                    "type": {"type": "string", "format": "uri"},
                    "title": {"type": "string"},
                    "status": {"type": "integer"},
                    "code": {"type": "string", "enum": codes},
                    "detail": {"type": "string"},
                    "field": {"type": "string"},
                    "request_id": {"type": "string"},
                    "errors": {"type": "array", "items": {"type": "object"}},
                },
            }},
        },
    })
}

/// A parameter that takes the rest of the path is written like any other.
fn openapi_path(path: &str) -> String {
    path.replace("{*", "{")
}

fn operation(route: &Route) -> Value {
    let problem = json!({
        "description": "A problem (RFC 9457)",
        "content": {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}},
    });
    let content = match route.path {
        "/metrics" => json!({"text/plain": {"schema": {"type": "string"}}}),
        "/v1/events" | "/v1/runs/{id}/events" => json!({
            "text/event-stream": {"schema": {"type": "string"}},
            "application/json": {"schema": {"type": "object"}},
        }),
        "/connect/{token}" | "/oauth/callback/{integration}" => {
            json!({"text/html": {"schema": {"type": "string"}}})
        }
        _ => json!({"application/json": {"schema": {"type": "object"}}}),
    };
    let mut success = json!({"description": route.summary});
    if route.status != axum::http::StatusCode::NO_CONTENT {
        success["content"] = content;
    }
    let mut operation = json!({
        "operationId": operation_id(route),
        "summary": route.summary,
        "parameters": parameters(route),
        "responses": {route.status.as_str(): success, "default": problem},
    });
    if let Some(body) = &route.body {
        operation["requestBody"] = json!({
            "required": !route.body_optional,
            "content": {"application/json": {"schema": body}},
        });
    }
    match route.access {
        Access::Public => {}
        Access::Key(role) => {
            operation["security"] = json!([{"key": []}]);
            operation["x-role"] = json!(role.name());
        }
        Access::Metrics => operation["security"] = json!([{"key": []}]),
    }
    operation
}

/// For example `get_v1_runs_id_steps`.
fn operation_id(route: &Route) -> String {
    let words = route
        .path
        .split(|c: char| !c.is_ascii_alphanumeric() && c != '_')
        .filter(|word| !word.is_empty());
    let mut id = route.method.as_str().to_lowercase();
    for word in words {
        id.push('_');
        id.push_str(word);
    }
    id
}

fn parameters(route: &Route) -> Vec<Value> {
    let path = route.path.split('/').filter_map(|part| {
        let name = part.strip_prefix('{')?.strip_suffix('}')?;
        Some(name.trim_start_matches('*'))
    });
    let mut all: Vec<Value> = path
        .map(|name| json!({"name": name, "in": "path", "required": true, "schema": {"type": "string"}}))
        .collect();
    let query = route
        .query
        .as_ref()
        .and_then(|schema| schema["properties"].as_object());
    for (name, schema) in query.into_iter().flatten() {
        let mut schema = schema.clone();
        let description = schema
            .as_object_mut()
            .and_then(|fields| fields.remove("description"));
        let mut parameter = json!({"name": name, "in": "query", "schema": schema});
        if let Some(text) = description {
            parameter["description"] = text;
        }
        all.push(parameter);
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn the_document_has_every_route_and_no_other() {
        let routes = routes();
        let listed: BTreeSet<(String, String)> = routes
            .iter()
            .map(|route| {
                (
                    openapi_path(route.path),
                    route.method.as_str().to_lowercase(),
                )
            })
            .collect();
        assert_eq!(listed.len(), routes.len(), "a route is listed twice");
        let document = describe(&routes);
        let described: BTreeSet<(String, String)> = document["paths"]
            .as_object()
            .expect("an object")
            .iter()
            .flat_map(|(path, operations)| {
                let methods = operations.as_object().expect("an object").keys();
                methods.map(|method| (path.clone(), method.clone()))
            })
            .collect();
        assert_eq!(listed, described);
    }

    #[test]
    fn operations_have_names_of_their_own() {
        let routes = routes();
        let ids: BTreeSet<String> = routes.iter().map(operation_id).collect();
        assert_eq!(ids.len(), routes.len());
    }

    #[test]
    fn only_health_webhooks_and_consent_are_public() {
        let public: Vec<_> = routes()
            .iter()
            .filter(|route| route.access == Access::Public)
            .map(|route| route.path)
            .collect();
        assert_eq!(
            public,
            [
                "/oauth/callback/{integration}",
                "/connect/{token}",
                "/connect/{token}",
                "/hooks/{source}/{endpoint}",
                "/healthz",
                "/readyz"
            ]
        );
    }
}
