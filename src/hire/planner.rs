//! The planner without a model: clauses in order, each against the skill templates.

mod forbidden;
mod reader;

use super::{
    CatalogView, HireError, HirePlan, JobDescription, MAX_TEXT_BYTES, MissingConnection, Planner,
    Template, TemplateError, clause::Splitter, flow::Flow, graph, matching::Matcher, naming,
    words::Words, zone,
};
use async_trait::async_trait;
use reader::Reader;
use rust_embed::RustEmbed;
use std::collections::{BTreeMap, BTreeSet};

#[derive(RustEmbed)]
#[folder = "catalog/skills"]
struct SkillCatalog;

const WORDS: &str = "words.yaml";
/// The question about limits, which no clause calls for.
const LIMITS: &str = "limits.yaml";

/// Composes employees from the skill templates of `catalog/skills`.
pub struct TemplatePlanner {
    words: Words,
    templates: Vec<Template>,
    limits: Template,
    /// Groups of the words that begin a clause.
    verbs: BTreeSet<String>,
}

impl TemplatePlanner {
    /// With the templates that are built in.
    ///
    /// # Errors
    /// A template of the catalog is wrong.
    pub fn new() -> Result<Self, TemplateError> {
        let text = |file: &str| {
            SkillCatalog::get(file)
                .map(|file| String::from_utf8_lossy(&file.data).into_owned())
                .unwrap_or_default()
        };
        let mut files: Vec<String> = SkillCatalog::iter()
            .filter(|file| file != WORDS && file != LIMITS && file.ends_with(".yaml"))
            .map(|file| file.into_owned())
            .collect();
        files.sort_unstable();
        let texts: Vec<(String, String)> = files
            .into_iter()
            .map(|file| (file.clone(), text(&file)))
            .collect();
        Self::from_texts(
            &text(WORDS),
            texts
                .iter()
                .map(|(file, text)| (file.as_str(), text.as_str())),
        )
    }

    /// With the given vocabulary and templates, each as file name and YAML.
    ///
    /// # Errors
    /// One of them is wrong, or two templates have one id.
    pub fn from_texts<'y>(
        words: &str,
        templates: impl IntoIterator<Item = (&'y str, &'y str)>,
    ) -> Result<Self, TemplateError> {
        let words = Words::parse(words).map_err(|reason| TemplateError {
            file: WORDS.into(),
            reason,
        })?;
        let limits = SkillCatalog::get(LIMITS).map(|file| file.data);
        let limits = String::from_utf8_lossy(limits.as_deref().unwrap_or_default()).into_owned();
        let limits = Template::parse(LIMITS, &limits, &words)?;
        let templates: Vec<Template> = templates
            .into_iter()
            .map(|(file, yaml)| Template::parse(file, yaml, &words))
            .collect::<Result<_, _>>()?;
        let mut ids = BTreeSet::new();
        if let Some(double) = templates.iter().find(|template| !ids.insert(&template.id)) {
            return Err(TemplateError {
                file: double.id.clone(),
                reason: "two templates have this id".into(),
            });
        }
        let verbs = templates
            .iter()
            .map(|template| template.act.clone())
            .collect();
        Ok(Self {
            words,
            templates,
            limits,
            verbs,
        })
    }

    /// As [`Planner::plan`], without a future.
    ///
    /// # Errors
    /// As [`Planner::plan`].
    pub fn plan_now(
        &self,
        request: &JobDescription,
        catalog: &dyn CatalogView,
        connected: &[String],
    ) -> Result<HirePlan, HireError> {
        check(request)?;
        let splitter = Splitter {
            words: &self.words,
            verbs: &self.verbs,
        };
        let clauses = splitter.clauses(&request.text);
        let matcher = Matcher {
            words: &self.words,
            templates: &self.templates,
            catalog,
        };
        let reader = Reader::new(matcher, &request.text, &clauses);
        let read = reader.read(&clauses, &self.limits);
        if read.flows.iter().all(|flow| flow.skills.is_empty()) {
            return Err(HireError::NothingUnderstood {
                not_understood: read.not_understood,
            });
        }
        let given = request
            .name
            .as_deref()
            .map(str::trim)
            .filter(|name| !name.is_empty())
            .map(str::to_owned);
        let zone = request.time_zone.as_deref().unwrap_or("UTC");
        let graphs = graph::assemble(&read.flows, zone);
        Ok(HirePlan {
            name: given
                .or_else(|| clauses.iter().find_map(naming::name))
                .unwrap_or_else(|| naming::NAMELESS.into()),
            graph: graphs.employee,
            skill_graphs: graphs.skills,
            schedules: graphs.schedules,
            subscriptions: graphs.subscriptions,
            understood: read.understood,
            not_understood: read.not_understood,
            missing_connections: missing(&read.flows, catalog, connected),
        })
    }
}

#[async_trait]
impl Planner for TemplatePlanner {
    async fn plan(
        &self,
        request: &JobDescription,
        catalog: &dyn CatalogView,
        connected: &[String],
    ) -> Result<HirePlan, HireError> {
        self.plan_now(request, catalog, connected)
    }
}

fn check(request: &JobDescription) -> Result<(), HireError> {
    if request.text.trim().is_empty() {
        return Err(HireError::Empty);
    }
    if request.text.len() > MAX_TEXT_BYTES {
        return Err(HireError::TooLong {
            bytes: request.text.len(),
        });
    }
    match request.time_zone.as_deref() {
        Some(name) if !zone::is_zone(name) => Err(HireError::UnknownTimeZone(name.to_owned())),
        _ => Ok(()),
    }
}

fn missing(
    flows: &[Flow<'_>],
    catalog: &dyn CatalogView,
    connected: &[String],
) -> Vec<MissingConnection> {
    let mut needed: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for placed in flows.iter().flat_map(|flow| &flow.skills) {
        let integrations: BTreeSet<String> = placed
            .found
            .template
            .needs
            .iter()
            .filter_map(|capability| catalog.integration_of(capability))
            .collect();
        for integration in integrations
            .into_iter()
            .filter(|integration| !connected.contains(integration))
        {
            needed
                .entry(integration)
                .or_default()
                .push(placed.node.clone());
        }
    }
    needed
        .into_iter()
        .map(|(integration, needed_by)| MissingConnection {
            integration,
            needed_by,
        })
        .collect()
}
