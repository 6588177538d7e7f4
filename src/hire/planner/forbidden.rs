//! What the text forbids. A prohibition is never turned into an action, and it takes away the skills that it speaks of.

use crate::hire::{
    entity::EntityKind,
    matching::{Found, Parsed},
    template::Template,
    words::{Sense, Tag},
};

/// A clause that says what is not to be done.
#[derive(Clone, Debug)]
pub struct Prohibition {
    pub text: String,
    /// Templates that it may speak of, by id.
    about: Vec<String>,
    /// Channels and people; empty: all of them.
    places: Vec<String>,
    /// "… without approval": it forbids only what no question goes before.
    pub unless_asked: bool,
}

impl Prohibition {
    pub fn of(text: &str, parsed: &Parsed<'_, '_>, templates: &[Template]) -> Prohibition {
        let places: Vec<String> = parsed
            .entities
            .iter()
            .filter(|entity| {
                matches!(
                    entity.kind,
                    EntityKind::Channel | EntityKind::Email | EntityKind::Mention
                )
            })
            .filter_map(|entity| entity.value.as_str().map(str::to_owned))
            .collect();
        let unless = parsed
            .tokens
            .iter()
            .any(|token| token.is_any(&["without", "before", "until", "unless"]));
        let unless_asked = unless && parsed.tags.iter().any(|tag| tag.is("approve"));
        let about = templates
            .iter()
            .filter(|template| speaks_of(template, parsed, unless_asked || !places.is_empty()))
            .map(|template| template.id.clone())
            .collect();
        Prohibition {
            text: text.to_owned(),
            about,
            places,
            unless_asked,
        }
    }

    /// Whether it takes this skill away.
    pub fn forbids(&self, found: &Found<'_>, asked: bool) -> bool {
        let said = |place: &String| {
            found
                .said
                .values()
                .any(|value| value.as_str() == Some(place))
        };
        let placed = self.places.is_empty() || self.places.iter().any(said);
        self.about.contains(&found.template.id)
            && placed
            && !(self.unless_asked && (asked || found.template.asks))
    }
}

/// Its verb is there, and either what it is about, or nothing else that the verb could be about ("do not mail"). `wide`: the verb is
/// enough, because the clause names a place or wants a question asked first.
fn speaks_of(template: &Template, parsed: &Parsed<'_, '_>, wide: bool) -> bool {
    if !parsed.tags.iter().any(|tag| tag.is(&template.act)) {
        return false;
    }
    let objects = template
        .matches
        .all
        .iter()
        .filter(|one| !one.groups().contains(&template.act));
    let mut objects = objects.flat_map(|one| one.groups()).peekable();
    let groups: Vec<&str> = template.groups().chain(["somebody", "approve"]).collect();
    let said = |tag: &Tag<'_>| {
        tag.has(Sense::Filler)
            || tag.has(Sense::Negation)
            || tag.has(Sense::Condition)
            || groups.iter().any(|group| tag.is(group))
    };
    let known =
        |at: usize| parsed.covered[at] || parsed.tags.iter().any(|tag| tag.covers(at) && said(tag));
    let bare = (0..parsed.tokens.len()).all(known);
    wide || bare
        || objects.peek().is_none()
        || objects.any(|group| parsed.tags.iter().any(|tag| tag.is(group)))
}
