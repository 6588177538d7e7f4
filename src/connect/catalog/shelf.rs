//! All integrations that somebody may use: those that the binary was built with, and those of one org.

use super::{Capability, CapabilityFacts, CatalogError, Integration, check, nearest};
use bytes::Bytes;
use std::{
    collections::BTreeMap,
    sync::{Arc, LazyLock, OnceLock},
};

#[derive(rust_embed::RustEmbed)]
#[folder = "catalog/integrations"]
struct Files;

/// Checking all files takes a moment, and they never change.
static EMBEDDED: LazyLock<Result<Catalog, CatalogError>> = LazyLock::new(read_embedded);

/// The built-in integrations, shared by everybody, and on top of them an org's own. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Catalog {
    built_in: Arc<Shelf>,
    own: Arc<Shelf>,
    listings: Arc<Listings>,
}

/// How the built-in integrations are shown, made when somebody asks first: with schemas and without.
#[derive(Debug, Default)]
struct Listings {
    with_schemas: OnceLock<Bytes>,
    without: OnceLock<Bytes>,
}

#[derive(Debug, Default)]
struct Shelf {
    integrations: BTreeMap<String, Arc<Integration>>,
    capabilities: BTreeMap<String, Arc<Capability>>,
}

impl Shelf {
    fn add(&mut self, file: &str, integration: Integration) -> Result<(), CatalogError> {
        // A capability's id starts with its integration's, so these are all that could clash.
        if self.integrations.contains_key(&integration.id) {
            return Err(taken(file, &integration.id));
        }
        for capability in &integration.capabilities {
            self.capabilities
                .insert(capability.id.clone(), capability.clone());
        }
        self.integrations
            .insert(integration.id.clone(), Arc::new(integration));
        Ok(())
    }
}

fn taken(file: &str, id: &str) -> CatalogError {
    CatalogError {
        file: file.into(),
        place: "/id".into(),
        message: format!("the id `{id}` is taken"),
    }
}

fn read_embedded() -> Result<Catalog, CatalogError> {
    let mut names: Vec<_> = Files::iter()
        .filter(|name| name.ends_with(".yaml"))
        .collect();
    names.sort();
    let files: Vec<_> = names
        .iter()
        .filter_map(|name| Some((name.to_string(), Files::get(name)?)))
        .collect();
    let texts = files
        .iter()
        .map(|(name, file)| (name.as_str(), String::from_utf8_lossy(&file.data)));
    Catalog::from_yaml(texts)
}

impl Catalog {
    /// The catalog that the binary was built with.
    ///
    /// # Errors
    /// The first mistake in one of its files; a test makes sure that there is none.
    pub fn embedded() -> Result<Self, CatalogError> {
        EMBEDDED.clone()
    }

    /// A catalog from (file name, YAML) pairs.
    ///
    /// # Errors
    /// The first mistake: wrong YAML, against the published schema, an id that is taken, a template that cannot work.
    pub fn from_yaml<'a, Text: AsRef<str>>(
        files: impl IntoIterator<Item = (&'a str, Text)>,
    ) -> Result<Self, CatalogError> {
        let mut shelf = Shelf::default();
        for (name, text) in files {
            let integration = check::read(name, text.as_ref()).map_err(first)?;
            shelf.add(name, integration)?;
        }
        Ok(Self {
            built_in: Arc::new(shelf),
            own: Arc::default(),
            listings: Arc::default(),
        })
    }

    /// The same with the integrations of one org, instead of those that it had.
    ///
    /// # Errors
    /// An id that is taken.
    pub fn with_own(
        &self,
        integrations: impl IntoIterator<Item = Integration>,
    ) -> Result<Self, CatalogError> {
        let mut own = Shelf::default();
        for integration in integrations {
            let id = integration.id.clone();
            if self.is_built_in(&id) {
                return Err(taken(&id, &id));
            }
            own.add(&id, integration)?;
        }
        Ok(Self {
            built_in: self.built_in.clone(),
            own: Arc::new(own),
            listings: self.listings.clone(),
        })
    }

    /// The text that shows the built-in integrations, with their schemas or without: one for everybody who is reading it, as `make` makes it
    /// the first time.
    pub fn built_in_listing(&self, schemas: bool, make: impl FnOnce() -> Bytes) -> Bytes {
        let listing = match schemas {
            true => &self.listings.with_schemas,
            false => &self.listings.without,
        };
        listing.get_or_init(make).clone()
    }

    /// Whether everybody has the integration.
    pub fn is_built_in(&self, integration: &str) -> bool {
        self.built_in.integrations.contains_key(integration)
    }

    /// The built-in ones first, each in the order of their ids.
    pub fn integrations(&self) -> impl Iterator<Item = &Integration> {
        self.shelves()
            .flat_map(|shelf| shelf.integrations.values().map(|one| &**one))
    }

    pub fn integration(&self, id: &str) -> Option<&Integration> {
        self.shared(id).map(|one| &**one)
    }

    /// The same for those who keep it while the catalog may change.
    pub fn shared(&self, id: &str) -> Option<&Arc<Integration>> {
        self.shelves().find_map(|shelf| shelf.integrations.get(id))
    }

    pub fn capability(&self, id: &str) -> Option<&Arc<Capability>> {
        self.shelves().find_map(|shelf| shelf.capabilities.get(id))
    }

    /// The built-in ones first, each in the order of their ids.
    pub fn capabilities(&self) -> impl Iterator<Item = &Arc<Capability>> {
        self.shelves().flat_map(|shelf| shelf.capabilities.values())
    }

    pub fn facts(&self, id: &str) -> Option<CapabilityFacts<'_>> {
        self.capability(id).map(|capability| capability.facts())
    }

    /// The known capability whose id is nearest to `id`, if one is near enough to be meant.
    pub fn nearest(&self, id: &str) -> Option<&str> {
        nearest(id, self.capabilities().map(|one| one.id.as_str()))
    }

    fn shelves(&self) -> impl Iterator<Item = &Shelf> {
        [&*self.built_in, &*self.own].into_iter()
    }
}

fn first(mistakes: Vec<CatalogError>) -> CatalogError {
    mistakes
        .into_iter()
        .next()
        .expect("a file is refused for at least one mistake")
}
