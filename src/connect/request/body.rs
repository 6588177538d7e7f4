//! Bodies: JSON, forms, and bytes alone or in parts.

use super::{BadParams, Body};
use crate::{
    connect::template::{Scope, Template, as_text},
    domain::ContentHash,
};
use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::Value;

#[derive(Debug)]
pub(crate) enum BodyTemplate {
    Json(Template),
    /// Objects and lists of objects in it are written with brackets: `metadata[key]`, `items[0][price]`.
    Form(Vec<(String, Template)>),
    Bytes(Box<BytesTemplate>),
    Multipart(Multipart),
}

/// Bytes that an argument holds.
#[derive(Debug)]
pub(crate) struct BytesTemplate {
    pub content_type: Template,
    /// Text, taken as UTF-8; the first of the two that has a value counts.
    pub text: Option<Template>,
    pub base64: Option<Template>,
}

#[derive(Debug)]
pub(crate) struct Multipart {
    /// `related` or `form-data`.
    pub kind: String,
    pub parts: Vec<PartTemplate>,
}

#[derive(Debug)]
pub(crate) struct PartTemplate {
    pub name: Option<String>,
    pub filename: Option<Template>,
    pub content: BodyTemplate,
}

impl BodyTemplate {
    pub fn fill(&self, scope: &Scope) -> Result<Body, BadParams> {
        Ok(match self {
            Self::Json(json) => Body::Json(json.render(scope)?.unwrap_or(Value::Null)),
            Self::Form(fields) => {
                let mut pairs = Vec::with_capacity(fields.len());
                for (name, template) in fields {
                    if let Some(value) = template.render(scope)? {
                        flatten(name, &value, &mut pairs);
                    }
                }
                Body::Form(pairs)
            }
            Self::Bytes(bytes) => bytes.fill(scope)?,
            Self::Multipart(multipart) => multipart.fill(scope)?,
        })
    }

    pub fn templates(&self) -> Vec<&Template> {
        match self {
            Self::Json(json) => vec![json],
            Self::Form(fields) => fields.iter().map(|(_, template)| template).collect(),
            Self::Bytes(bytes) => [Some(&bytes.content_type), bytes.text.as_ref()]
                .into_iter()
                .chain([bytes.base64.as_ref()])
                .flatten()
                .collect(),
            Self::Multipart(multipart) => multipart
                .parts
                .iter()
                .flat_map(|part| part.content.templates().into_iter().chain(&part.filename))
                .collect(),
        }
    }
}

fn flatten(name: &str, value: &Value, pairs: &mut Vec<(String, String)>) {
    match value {
        Value::Object(fields) => {
            for (key, value) in fields {
                flatten(&format!("{name}[{key}]"), value, pairs);
            }
        }
        // A plain list is the field several times, one of objects has numbers.
        Value::Array(items) if items.iter().any(Value::is_object) => {
            for (place, item) in items.iter().enumerate() {
                flatten(&format!("{name}[{place}]"), item, pairs);
            }
        }
        Value::Array(items) => {
            pairs.extend(items.iter().map(|item| (name.to_owned(), as_text(item))));
        }
        value => pairs.push((name.to_owned(), as_text(value))),
    }
}

impl BytesTemplate {
    fn fill(&self, scope: &Scope) -> Result<Body, BadParams> {
        let content_type = self
            .content_type
            .render_text(scope)?
            .unwrap_or_else(|| "application/octet-stream".into());
        if content_type.chars().any(char::is_control) {
            return Err(BadParams::new("content_type", "must be one line"));
        }
        let render = |template: &Option<Template>| match template {
            Some(template) => template.render_text(scope),
            None => Ok(None),
        };
        let bytes = match (render(&self.text)?, render(&self.base64)?) {
            (Some(text), _) => text.into_bytes(),
            (None, Some(encoded)) => STANDARD
                .decode(encoded)
                .map_err(|_| BadParams::new("content_base64", "is not base64"))?,
            (None, None) => return Err(BadParams::new("content", "is missing")),
        };
        Ok(Body::Bytes {
            content_type,
            bytes,
        })
    }
}

impl Multipart {
    fn fill(&self, scope: &Scope) -> Result<Body, BadParams> {
        let mut parts = Vec::with_capacity(self.parts.len());
        for part in &self.parts {
            parts.push((part.head(scope)?, bytes_of(part.content.fill(scope)?)));
        }
        // Made from the content, so that the same call gives the same bytes; nobody can write a text that holds its own hash.
        let mut all = Vec::new();
        parts
            .iter()
            .for_each(|(_, (_, bytes))| all.extend_from_slice(bytes));
        let boundary = boundary(&all);
        let mut bytes = Vec::with_capacity(all.len() + 400 * parts.len());
        for (head, (content_type, content)) in parts {
            bytes.extend_from_slice(
                format!("--{boundary}\r\n{head}Content-Type: {content_type}\r\n\r\n").as_bytes(),
            );
            bytes.extend_from_slice(&content);
            bytes.extend_from_slice(b"\r\n");
        }
        bytes.extend_from_slice(format!("--{boundary}--\r\n").as_bytes());
        Ok(Body::Bytes {
            content_type: format!("multipart/{}; boundary={boundary}", self.kind),
            bytes,
        })
    }
}

impl PartTemplate {
    fn head(&self, scope: &Scope) -> Result<String, BadParams> {
        let Some(name) = &self.name else {
            return Ok(String::new());
        };
        let filename = match &self.filename {
            Some(template) => template.render_text(scope)?,
            None => None,
        };
        let filename = filename.map(|text| {
            // As browsers write it: quotes and line ends encoded.
            let text = text
                .replace('"', "%22")
                .replace('\r', "%0D")
                .replace('\n', "%0A");
            format!("; filename=\"{text}\"")
        });
        Ok(format!(
            "Content-Disposition: form-data; name=\"{name}\"{}\r\n",
            filename.unwrap_or_default()
        ))
    }
}

fn boundary(content: &[u8]) -> String {
    let hash = ContentHash::of(content);
    let digits = hash.bytes()[..20].iter();
    digits.fold("tenure-".to_owned(), |text, byte| {
        format!("{text}{byte:02x}")
    })
}

fn bytes_of(body: Body) -> (String, Vec<u8>) {
    match body {
        Body::Json(json) => (
            "application/json; charset=UTF-8".into(),
            json.to_string().into_bytes(),
        ),
        Body::Form(pairs) => {
            let text: Vec<String> = pairs.into_iter().map(|(_, value)| value).collect();
            (
                "text/plain; charset=UTF-8".into(),
                text.join("\n").into_bytes(),
            )
        }
        Body::Bytes {
            content_type,
            bytes,
        } => (content_type, bytes),
    }
}
