//! Templates of a file, with every path in them held to what there is where they stand.

use crate::connect::{
    catalog::{
        AccountField,
        file::{BytesFile, GivenUrlFile, MultipartFile, PartFile, RequestFile},
    },
    request::{
        Address, BodyTemplate, BytesTemplate, Multipart, PartTemplate, RequestTemplate, Segment,
    },
    template::Template,
};
use reqwest::{Method, Url};
use serde_json::{Map, Value};

/// What the paths of templates may name.
#[derive(Clone, Copy)]
pub(super) struct Paths<'a> {
    /// The schema of the arguments.
    pub input: &'a Value,
    pub account: &'a [AccountField],
    /// The words that paths may start with here.
    pub roots: &'a [&'a str],
    /// Names of the steps that come before.
    pub steps: &'a [String],
    /// What every request of the integration carries.
    pub headers: &'a Map<String, Value>,
    pub base_url: &'a str,
}

impl<'a> Paths<'a> {
    /// The same with other roots.
    pub fn with_roots(self, roots: &'a [&'a str]) -> Self {
        Self { roots, ..self }
    }

    pub fn template(&self, source: &Value) -> Result<Template, String> {
        let template = Template::parse(source)?;
        for reference in template.references() {
            let (root, field) = (reference.root.as_str(), reference.keys.first());
            if !self.roots.contains(&root) {
                return Err(format!(
                    "`{{{}}}` means nothing here; there is {}",
                    [&[root.to_owned()], reference.keys.as_slice()]
                        .concat()
                        .join("."),
                    self.roots.join(", ")
                ));
            }
            let Some(field) = field else { continue };
            let known = match root {
                "input" => self.input["properties"].get(field).is_some(),
                "account" => self.account.iter().any(|known| known.name == *field),
                "step" => self.steps.contains(field),
                _ => true,
            };
            if !known {
                return Err(format!("`{{{root}.{field}}}` names no field"));
            }
        }
        Ok(template)
    }

    pub fn text(&self, source: &str) -> Result<Template, String> {
        self.template(&Value::String(source.into()))
    }

    fn fields(&self, source: &Map<String, Value>) -> Result<Vec<(String, Template)>, String> {
        source
            .iter()
            .map(|(name, value)| Ok((name.clone(), self.template(value)?)))
            .collect()
    }

    pub fn request(&self, file: &RequestFile) -> Result<RequestTemplate, String> {
        Ok(RequestTemplate {
            method: file
                .method
                .parse::<Method>()
                .map_err(|_| format!("`{}` is no method", file.method))?,
            address: self.address(file)?,
            query: self.fields(&file.query)?,
            headers: self.headers(file)?,
            body: self.body(file)?,
        })
    }

    fn address(&self, file: &RequestFile) -> Result<Address, String> {
        match (&file.path, &file.base, &file.url) {
            (Some(path), None, None) => Ok(Address::Path(self.segments(path)?)),
            (Some(path), Some(base), None) => Ok(Address::OtherHost {
                base: base
                    .parse::<Url>()
                    .ok()
                    .filter(|url| url.scheme() == "https" && url.host().is_some())
                    .ok_or_else(|| format!("`base` is no https URL: `{base}`"))?,
                instead_of: self.base_url.into(),
                path: self.segments(path)?,
            }),
            (None, None, Some(GivenUrlFile { from, hosts })) => Ok(Address::Given {
                url: self.text(from)?,
                hosts: hosts.clone(),
            }),
            _ => Err("a request has a `path`, with or without a `base`, or else a `url`".into()),
        }
    }

    /// `{input.path*}` may stand for several segments.
    fn segments(&self, path: &str) -> Result<Vec<Segment>, String> {
        path.split('/')
            .skip(1)
            .map(|segment| {
                let splits = segment.ends_with("*}");
                let written = if splits {
                    format!("{}}}", &segment[..segment.len() - 2])
                } else {
                    segment.to_owned()
                };
                Ok(Segment {
                    template: self.text(&written)?,
                    splits,
                })
            })
            .collect()
    }

    fn headers(&self, file: &RequestFile) -> Result<Vec<(String, Template)>, String> {
        // An address that an answer named gets what the file says and nothing else.
        let mut all = match file.url {
            None => self.headers.clone(),
            Some(_) => Map::new(),
        };
        for (name, value) in &file.headers {
            all.retain(|known, _| !known.eq_ignore_ascii_case(name));
            all.insert(name.clone(), value.clone());
        }
        self.fields(&all)
    }

    fn body(&self, file: &RequestFile) -> Result<Option<BodyTemplate>, String> {
        Ok(
            match (&file.json, &file.form, &file.bytes, &file.multipart) {
                (None, None, None, None) => None,
                (Some(json), None, None, None) => Some(BodyTemplate::Json(self.template(json)?)),
                (None, Some(form), None, None) => Some(BodyTemplate::Form(self.fields(form)?)),
                (None, None, Some(bytes), None) => Some(self.bytes(bytes)?),
                (None, None, None, Some(parts)) => Some(self.multipart(parts)?),
                _ => return Err("a request has at most one body".into()),
            },
        )
    }

    fn bytes(&self, file: &BytesFile) -> Result<BodyTemplate, String> {
        if file.text.is_none() && file.base64.is_none() {
            return Err("`bytes` wants `text` or `base64`".into());
        }
        let optional = |source: &Option<Value>| {
            source
                .as_ref()
                .map(|source| self.template(source))
                .transpose()
        };
        Ok(BodyTemplate::Bytes(Box::new(BytesTemplate {
            content_type: self.template(&file.content_type)?,
            text: optional(&file.text)?,
            base64: optional(&file.base64)?,
        })))
    }

    fn multipart(&self, file: &MultipartFile) -> Result<BodyTemplate, String> {
        let part = |part: &PartFile| {
            let content = match (&part.json, &part.bytes) {
                (Some(json), None) => BodyTemplate::Json(self.template(json)?),
                (None, Some(bytes)) => self.bytes(bytes)?,
                _ => return Err("a part has `json` or `bytes`".to_owned()),
            };
            Ok(PartTemplate {
                name: part.name.clone(),
                filename: part
                    .filename
                    .as_ref()
                    .map(|source| self.template(source))
                    .transpose()?,
                content,
            })
        };
        Ok(BodyTemplate::Multipart(Multipart {
            kind: file.kind.clone(),
            parts: file.parts.iter().map(part).collect::<Result<_, _>>()?,
        }))
    }
}
