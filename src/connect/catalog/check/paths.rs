//! Templates of a file, with every path in them held to what there is.

use crate::connect::{
    catalog::{AccountField, file::RequestFile},
    request::{BodyTemplate, RequestTemplate},
    template::Template,
};
use reqwest::Method;
use serde_json::{Map, Value};

/// What the paths of templates may name.
pub(super) struct Paths<'a> {
    /// The schema of the arguments.
    pub input: &'a Value,
    pub account: &'a [AccountField],
}

impl Paths<'_> {
    pub fn template(&self, source: &Value) -> Result<Template, String> {
        let template = Template::parse(source)?;
        for reference in template.references() {
            if reference.root == "credential" {
                return Err("`{credential}` is for the auth section alone".into());
            }
            let Some(field) = reference.keys.first() else {
                continue;
            };
            let known = match reference.root.as_str() {
                "input" => self.input["properties"].get(field).is_some(),
                "account" => self.account.iter().any(|known| known.name == *field),
                _ => true,
            };
            if !known {
                return Err(format!("`{{{}.{field}}}` names no field", reference.root));
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
        let body = match (&file.json, &file.form) {
            (Some(json), _) => Some(BodyTemplate::Json(self.template(json)?)),
            (None, Some(form)) => Some(BodyTemplate::Form(
                self.fields(form.as_object().ok_or("`form` is not an object")?)?,
            )),
            (None, None) => None,
        };
        Ok(RequestTemplate {
            method: file
                .method
                .parse::<Method>()
                .map_err(|_| format!("`{}` is no method", file.method))?,
            path: file
                .path
                .split('/')
                .skip(1)
                .map(|segment| self.text(segment))
                .collect::<Result<_, _>>()?,
            query: self.fields(&file.query)?,
            headers: self.fields(&file.headers)?,
            body,
        })
    }
}
