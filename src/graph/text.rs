//! Texts: minijinja with strict undefined, a budget, and the data of the run. What comes from data is escaped for the target of the text.

mod builtins;
mod escape;
mod meter;
mod program;

use super::{
    budget::{Budget, MAX_TEXT},
    expr::EvalError,
    markup::Markup,
    scope::{Data, Names, Place},
};
use minijinja::{Environment, Template, UndefinedBehavior, machinery, value::Value as Jinja};
use serde_json::Value;
use std::{
    collections::BTreeSet,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, OnceLock},
};

/// Longest template, in bytes.
pub const MAX_SOURCE: usize = 64 * 1024;
/// Instructions of one rendering. Most of what they cost beyond that is charged to the budget of the evaluation.
const INSTRUCTIONS: u64 = 400_000;

/// Collects the texts of a graph, so that all of them share one environment.
pub struct TextSet {
    environment: Environment<'static>,
    shared: Arc<OnceLock<Environment<'static>>>,
    count: usize,
}

/// A checked text.
#[derive(Clone)]
pub struct Text(Kind);

#[derive(Clone)]
enum Kind {
    /// Without any tag.
    Plain(Box<str>),
    Template {
        environment: Arc<OnceLock<Environment<'static>>>,
        name: Box<str>,
        reads: Box<[Read]>,
    },
}

/// A variable of the template and what it stands for.
#[derive(Clone, Debug)]
struct Read {
    name: Box<str>,
    place: Place,
    /// The steps that it names, of `steps`.
    steps: NamedSteps,
}

/// Ids of steps and where their outputs are.
type NamedSteps = Box<[(Box<str>, Place)]>;

impl std::fmt::Debug for Text {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.0 {
            Kind::Plain(text) => write!(f, "Text({text:?})"),
            Kind::Template { name, reads, .. } => write!(f, "Text({name}, {reads:?})"),
        }
    }
}

impl Default for TextSet {
    fn default() -> Self {
        // Without anything of the engine's: a filter that stands in no table of ours, with what it costs, does not exist.
        let mut environment = Environment::empty();
        environment.set_undefined_behavior(UndefinedBehavior::Strict);
        environment.set_auto_escape_callback(|_| escape::auto_escape(Markup::Plain));
        environment.set_formatter(escape::write);
        environment.set_fuel(Some(INSTRUCTIONS));
        environment.set_recursion_limit(50);
        builtins::add_to(&mut environment);
        Self {
            environment,
            shared: Arc::default(),
            count: 0,
        }
    }
}

impl TextSet {
    /// # Errors
    /// One sentence: what does not parse, which variable is unknown.
    pub fn compile(&mut self, source: &str, names: &Names<'_>) -> Result<Text, String> {
        if source.len() > MAX_SOURCE {
            return Err(format!(
                "the text has {} bytes, at most {MAX_SOURCE} are allowed",
                source.len()
            ));
        }
        if !["{{", "{%", "{#"].iter().any(|mark| source.contains(mark)) {
            return Ok(Text(Kind::Plain(source.into())));
        }
        let name = format!("text {}", self.count);
        self.count += 1;
        let wrong = |error| format!("the text is no minijinja template: {}", describe(&error));
        let metered = program::without_constant_products(source).map_err(wrong)?;
        self.environment
            .add_template_owned(name.clone(), metered)
            .map_err(wrong)?;
        let template = self
            .environment
            .get_template(&name)
            .map_err(|error| describe(&error))?;
        program::check(machinery::get_compiled_template(&template))?;
        let reads = reads(
            &template.undeclared_variables(true),
            &self.environment,
            names,
        )?;
        Ok(Text(Kind::Template {
            environment: self.shared.clone(),
            name: name.into(),
            reads,
        }))
    }

    /// Makes the texts usable. No text can be added after it.
    pub fn finish(self) {
        // The cell is ours alone until here, so it cannot be full.
        let _ = self.shared.set(self.environment);
    }
}

fn describe(error: &minijinja::Error) -> String {
    error.detail().map_or_else(
        || error.kind().to_string(),
        |detail| format!("{}: {detail}", error.kind()),
    )
}

fn reads(
    paths: &std::collections::HashSet<String>,
    environment: &Environment<'_>,
    names: &Names<'_>,
) -> Result<Box<[Read]>, String> {
    let is_global = |name: &str| environment.globals().any(|(global, _)| global == name);
    let roots: BTreeSet<&str> = paths
        .iter()
        .filter_map(|path| path.split('.').next())
        .filter(|root| !is_global(root))
        .collect();
    roots
        .into_iter()
        .map(|root| {
            let place = names.place(root).ok_or_else(|| {
                format!("there is no variable `{root}`; known are {}", names.known())
            })?;
            let whole = place == Place::Steps && paths.contains("steps");
            let steps = if place == Place::Steps && !whole {
                named_steps(paths, names)?
            } else {
                Box::default()
            };
            Ok(Read {
                name: root.into(),
                place,
                steps,
            })
        })
        .collect()
}

fn named_steps(
    paths: &std::collections::HashSet<String>,
    names: &Names<'_>,
) -> Result<NamedSteps, String> {
    let mut steps = std::collections::BTreeMap::new();
    for path in paths.iter().filter_map(|path| path.strip_prefix("steps.")) {
        let mut parts = path.split('.');
        let id = parts.next().unwrap_or_default();
        steps.insert(id, Place::Step(names.step(id, parts.next())?));
    }
    Ok(steps
        .into_iter()
        .map(|(id, place)| (id.into(), place))
        .collect())
}

impl Text {
    /// The text. `markup` is what its target makes of it: values are escaped for that, the words of the template are not.
    ///
    /// # Errors
    /// An undefined variable, a filter that does not fit, a limit of the budget.
    pub fn render(
        &self,
        data: &Data<'_>,
        markup: Markup,
        budget: &Budget,
    ) -> Result<String, EvalError> {
        match &self.0 {
            Kind::Plain(text) => {
                budget.charge_text(text.len())?;
                Ok(text.to_string())
            }
            Kind::Template {
                environment,
                name,
                reads,
            } => {
                let environment = environment
                    .get()
                    .ok_or_else(|| EvalError::wrong("the texts of this graph are not ready"))?;
                let template = environment
                    .get_template(name)
                    .map_err(|error| EvalError::wrong(describe(&error)))?;
                let context = reads
                    .iter()
                    .map(|read| Ok((read.name.to_string(), read.value(data, budget)?)))
                    .collect::<Result<Vec<_>, EvalError>>()?;
                carry_out(
                    environment,
                    &template,
                    Jinja::from_pairs(context),
                    markup,
                    budget,
                )
            }
        }
    }

    /// Whether it has parts that come from data.
    pub fn is_plain(&self) -> bool {
        matches!(self.0, Kind::Plain(_))
    }
}

fn carry_out<'env>(
    environment: &'env Environment<'env>,
    template: &Template<'env, 'env>,
    context: Jinja,
    markup: Markup,
    budget: &Budget,
) -> Result<String, EvalError> {
    let compiled = machinery::get_compiled_template(template);
    let program = program::Program::of(compiled, markup != Markup::Plain);
    let metered = meter::Metered::by(budget);
    let mut text = String::new();
    let rendering = || {
        let (_, state) = machinery::eval(
            environment,
            &program.main,
            context,
            &program.blocks,
            &mut machinery::make_string_output(&mut text),
            escape::auto_escape(markup),
        )?;
        Ok::<u64, minijinja::Error>(state.fuel_levels().map_or(0, |(used, _)| used))
    };
    // What the engine left half done is dropped: the text, the state of this rendering, and, by its guard, the meter.
    let ended = catch_unwind(AssertUnwindSafe(rendering)).map_err(|_| {
        EvalError::wrong(
            "the text cannot be rendered: the template engine failed at an operation of it, as it does at loop.cycle() without arguments",
        )
    })?;
    let done = match ended {
        Ok(used) => budget.charge(used),
        Err(error) => Err(match (metered.met(), error.kind()) {
            (Some(limit), _) => limit,
            (None, minijinja::ErrorKind::OutOfFuel) => EvalError::OutOfFuel,
            (None, _) => {
                EvalError::wrong(format!("the text cannot be rendered: {}", describe(&error)))
            }
        }),
    };
    done?;
    match text.len() > MAX_TEXT {
        true => Err(EvalError::TooLong),
        false => Ok(text),
    }
}

impl Read {
    fn value(&self, data: &Data<'_>, budget: &Budget) -> Result<Jinja, EvalError> {
        let converted = |place: Place| {
            let value = data.lookup(place, &[], budget)?;
            budget.charge_json(&value)?;
            Ok(convert(&value))
        };
        if self.steps.is_empty() {
            return converted(self.place);
        }
        let steps = self
            .steps
            .iter()
            .map(|(id, place)| Ok((id.to_string(), converted(*place)?)));
        Ok(Jinja::from_pairs(
            steps.collect::<Result<Vec<_>, EvalError>>()?,
        ))
    }
}

fn convert(value: &Value) -> Jinja {
    match value {
        Value::Null => Jinja::from(()),
        Value::Bool(yes) => Jinja::from(*yes),
        Value::Number(number) => match (number.as_i64(), number.as_u64()) {
            (Some(int), _) => Jinja::from(int),
            (None, Some(uint)) => Jinja::from(uint),
            _ => Jinja::from(number.as_f64().unwrap_or_default()),
        },
        Value::String(text) => Jinja::from(text.as_str()),
        Value::Array(items) => items.iter().map(convert).collect(),
        Value::Object(map) => Jinja::from_pairs(
            map.iter()
                .map(|(key, value)| (key.as_str(), convert(value))),
        ),
    }
}

#[cfg(test)]
mod tests;
