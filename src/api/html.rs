//! Pages for people: small, without scripts, with a policy that allows nothing else.

use super::error::{ApiError, Problem};
use axum::{
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};

const STYLE: &str = "\
:root{color-scheme:light dark}\
body{font:16px/1.5 system-ui,sans-serif;margin:0;min-height:100vh;display:grid;place-items:center;background:#f3f4f6;color:#111827}\
main{box-sizing:border-box;background:#fff;border:1px solid #d1d5db;border-radius:8px;padding:2rem;width:28rem;max-width:94vw}\
h1{font-size:1.3rem;margin:0 0 1rem}h2{font-size:1.05rem;margin:1.5rem 0 .5rem}\
label{display:block;margin:1rem 0 0;font-weight:600}\
input{box-sizing:border-box;width:100%;font:inherit;padding:.5rem;border:1px solid #6b7280;border-radius:6px;background:#fff;color:#111827}\
textarea{box-sizing:border-box;width:100%;font:inherit;border:1px solid #6b7280;border-radius:6px}\
small{display:block;color:#4b5563;font-weight:400}\
button{font:inherit;margin-top:1.25rem;padding:.6rem 1.2rem;border:0;border-radius:6px;background:#1d4ed8;color:#fff;cursor:pointer}\
button:focus-visible,input:focus-visible{outline:3px solid #93c5fd;outline-offset:2px}\
.error{border-left:4px solid #b91c1c;padding:.5rem .75rem;background:#fef2f2;color:#7f1d1d}\
footer{margin-top:1.75rem;font-size:.85rem;color:#4b5563}\
@media (prefers-color-scheme:dark){body{background:#111827;color:#f9fafb}main{background:#1f2937;border-color:#374151}\
small,footer{color:#d1d5db}.error{background:#450a0a;color:#fecaca}}";

/// A page, or a redirect from one.
pub struct Html {
    status: StatusCode,
    title: String,
    /// HTML; whatever is not ours in it has been escaped.
    body: String,
    /// Where its form may lead, besides here.
    form_to: Option<String>,
    location: Option<String>,
    cookie: Option<String>,
}

impl Html {
    /// `body` is HTML: escape what is not ours.
    pub fn page(status: StatusCode, title: &str, body: String) -> Self {
        Self {
            status,
            title: title.into(),
            body,
            form_to: None,
            location: None,
            cookie: None,
        }
    }

    /// A heading and a paragraph of text.
    pub fn said(status: StatusCode, title: &str, text: &str) -> Self {
        let body = format!("<h1>{}</h1><p>{}</p>", escape(title), escape(text));
        Self::page(status, title, body)
    }

    /// Sends the browser elsewhere after a form.
    pub fn redirect(location: String, cookie: Option<String>) -> Self {
        Self {
            location: Some(location),
            cookie,
            ..Self::page(StatusCode::SEE_OTHER, "Redirect", String::new())
        }
    }

    /// Browsers hold a form's redirects to the policy too, so the page has to say where they lead.
    pub fn with_form_to(mut self, origins: impl IntoIterator<Item = String>) -> Self {
        let origins: Vec<String> = origins.into_iter().collect();
        self.form_to = Some(origins.join(" "));
        self
    }
}

impl IntoResponse for Html {
    fn into_response(self) -> Response {
        let text = format!(
            "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">\
             <title>{}</title><style>{STYLE}</style></head><body><main>{}</main></body></html>",
            escape(&self.title),
            self.body
        );
        let mut response = (self.status, text).into_response();
        let policy = format!(
            "default-src 'none'; style-src '{}'; base-uri 'none'; frame-ancestors 'none'; form-action 'self' {}",
            style_hash(),
            self.form_to.as_deref().unwrap_or_default()
        );
        let headers = response.headers_mut();
        for (name, value) in [
            (header::CONTENT_TYPE, "text/html; charset=utf-8"),
            (header::CACHE_CONTROL, "no-store"),
            (header::REFERRER_POLICY, "no-referrer"),
            (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
            (header::X_FRAME_OPTIONS, "DENY"),
        ] {
            headers.insert(name, HeaderValue::from_static(value));
        }
        let texts = [
            (header::CONTENT_SECURITY_POLICY, Some(policy)),
            (header::LOCATION, self.location),
            (header::SET_COOKIE, self.cookie),
        ];
        for (name, text) in texts {
            if let Some(value) = text.and_then(|text| HeaderValue::from_str(&text).ok()) {
                headers.insert(name, value);
            }
        }
        response
    }
}

/// So that our own style is the only one that a browser applies.
fn style_hash() -> String {
    use base64::{Engine, engine::general_purpose::STANDARD};
    use sha2::{Digest, Sha256};
    static HASH: std::sync::LazyLock<String> =
        std::sync::LazyLock::new(|| STANDARD.encode(Sha256::digest(STYLE.as_bytes())));
    format!("sha256-{}", *HASH)
}

/// An error as a page.
pub fn of_error(error: ApiError) -> Html {
    let problem = error.problem();
    let text = match problem {
        Problem::Internal => "Something went wrong here. It has been logged.",
        _ => error.detail(),
    };
    Html::said(problem.status(), problem.title(), text)
}

/// Text as HTML, in elements and in attributes.
pub fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            other => escaped.push(other),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_others_wrote_is_text() {
        let page = Html::said(StatusCode::OK, "<b>", "\"><script>alert('x')</script>&");
        assert!(!page.body.contains("<script") && !page.body.contains("<b>"));
        let response = page.into_response();
        let policy = response.headers()["content-security-policy"]
            .to_str()
            .unwrap();
        assert!(
            policy.starts_with("default-src 'none'; style-src 'sha256-"),
            "{policy}"
        );
        assert!(!policy.contains("unsafe-inline"));
    }
}
