//! The pages that a person sees.

use super::authorize::AuthorizeRequest;
use crate::sandbox::{call::Provider, seed};

const STYLE: &str = "\
body{font:16px/1.5 system-ui,sans-serif;background:#f2f3f5;margin:0;display:grid;place-items:center;min-height:100vh}\
main{background:#fff;border:1px solid #d8dbe0;border-radius:8px;padding:2rem;width:26rem;max-width:90vw}\
h1{font-size:1.2rem;margin:0 0 1rem}ul{padding-left:1.2rem}label{display:block;margin:1rem 0}\
button,select{font:inherit;padding:.5rem 1rem;border-radius:6px;border:1px solid #9aa1ab;background:#fff}\
button[value=allow]{background:#14532d;border-color:#14532d;color:#fff}\
footer{margin-top:1.5rem;font-size:.8rem;color:#5b6470}";

/// Asks whether the client may have what it wants. The form goes to the page's own address, so that the request is checked again.
pub(super) fn page(request: &AuthorizeRequest) -> String {
    let provider = request.integration.title();
    let client = escape(&request.client_id);
    let scopes: String = request
        .scope
        .split([' ', ','])
        .chain(request.user_scope.split([' ', ',']))
        .filter(|scope| !scope.is_empty())
        .map(|scope| format!("<li><code>{}</code></li>", escape(scope)))
        .collect();
    let users: String = seed::USERS
        .iter()
        .map(|(id, _, name, mail)| format!("<option value=\"{id}\">{name} ({mail})</option>"))
        .collect();
    let company = if request.integration == Provider::Quickbooks {
        format!("<p>Company: Demo ({})</p>", seed::REALM_ID)
    } else {
        String::new()
    };
    document(
        &format!("{provider}: allow access?"),
        &format!(
            "<h1><b>{client}</b> wants to use your {provider} account</h1>{company}<ul>{scopes}</ul>\
             <form method=\"post\"><label>Signed in as <select name=\"user\" id=\"user\">{users}</select></label>\
             <button type=\"submit\" name=\"decision\" value=\"allow\" id=\"allow\">Allow</button> \
             <button type=\"submit\" name=\"decision\" value=\"deny\" id=\"deny\">Deny</button></form>"
        ),
    )
}

/// Says what is wrong with a request that must not be sent back.
pub(super) fn error_page(message: &str) -> String {
    let text = format!(
        "<h1>This request cannot be answered</h1><p id=\"error\">{}</p>",
        escape(message)
    );
    document("Bad request", &text)
}

fn document(title: &str, body: &str) -> String {
    format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width\"><title>{title}</title><style>{STYLE}</style></head>\
         <body><main>{body}<footer>Tenure sandbox. Nothing here reaches a real account.</footer></main></body></html>"
    )
}

fn escape(text: &str) -> String {
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
