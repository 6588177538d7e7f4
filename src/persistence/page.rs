//! Pages by key: a list goes on after the last item that was seen, so that what is inserted meanwhile shifts nothing.

use super::error::{DbError, Result};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::Serialize;
use uuid::Uuid;

pub const LIMIT_DEFAULT: u32 = 50;
pub const LIMIT_MAX: u32 = 200;

/// One page of a list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Page<T> {
    pub items: Vec<T>,
    /// Where the next page begins; opaque; `None` on the last page.
    pub next: Option<String>,
}

impl<T> Page<T> {
    pub fn map<U>(self, change: impl FnMut(T) -> U) -> Page<U> {
        Page {
            items: self.items.into_iter().map(change).collect(),
            next: self.next,
        }
    }
}

/// What part of a list is wanted.
#[derive(Clone, Debug, Default)]
pub struct PageRequest {
    limit: Option<u32>,
    after: Option<Vec<u8>>,
}

impl PageRequest {
    /// `limit` is brought into 1 to 200, 50 if absent; `after` is the `next` of the page before.
    ///
    /// # Errors
    /// `Cursor` for a text that is none.
    pub fn new(limit: Option<u32>, after: Option<&str>) -> Result<Self> {
        let after = after
            .map(|text| URL_SAFE_NO_PAD.decode(text).map_err(|_| DbError::Cursor))
            .transpose()?;
        Ok(Self { limit, after })
    }
    pub fn limit(&self) -> u32 {
        self.limit.unwrap_or(LIMIT_DEFAULT).clamp(1, LIMIT_MAX)
    }
    /// One more than asked for, to see whether there is a next page.
    pub(super) fn fetch(&self) -> i64 {
        i64::from(self.limit()) + 1
    }
    pub(super) fn after_uuid(&self) -> Result<Option<Uuid>> {
        self.after
            .as_deref()
            .map(|bytes| Uuid::from_slice(bytes).map_err(|_| DbError::Cursor))
            .transpose()
    }
    /// The parts of a key that was made by `text_key`.
    pub(super) fn after_texts(&self, parts: usize) -> Result<Option<Vec<String>>> {
        let Some(bytes) = &self.after else {
            return Ok(None);
        };
        let texts: Vec<String> = serde_json::from_slice(bytes).map_err(|_| DbError::Cursor)?;
        if texts.len() == parts {
            Ok(Some(texts))
        } else {
            Err(DbError::Cursor)
        }
    }
    /// Cuts what `fetch` found to a page; `key` gives the bytes of the cursor after an item.
    pub(super) fn page<T>(&self, mut items: Vec<T>, key: impl Fn(&T) -> Vec<u8>) -> Page<T> {
        let limit = self.limit() as usize;
        let more = items.len() > limit;
        items.truncate(limit);
        let next = items
            .last()
            .filter(|_| more)
            .map(|last| URL_SAFE_NO_PAD.encode(key(last)));
        Page { items, next }
    }
}

pub(super) fn uuid_key(id: Uuid) -> Vec<u8> {
    id.as_bytes().to_vec()
}

pub(super) fn text_key(parts: &[&str]) -> Vec<u8> {
    serde_json::to_vec(parts).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_page_has_no_next() {
        let request = PageRequest::new(Some(2), None).unwrap();
        let page = request.page(vec![1u128, 2, 3], |item| uuid_key(Uuid::from_u128(*item)));
        assert_eq!(page.items, [1, 2]);
        let next = PageRequest::new(Some(2), page.next.as_deref()).unwrap();
        assert_eq!(next.after_uuid().unwrap(), Some(Uuid::from_u128(2)));
        assert_eq!(
            next.page(vec![3u128], |item| uuid_key(Uuid::from_u128(*item)))
                .next,
            None
        );
    }

    #[test]
    fn foreign_cursors_are_refused() {
        assert!(matches!(
            PageRequest::new(None, Some("%%")),
            Err(DbError::Cursor)
        ));
        let request = PageRequest::new(Some(100_000), Some("AAAA")).unwrap();
        assert!(matches!(request.after_uuid(), Err(DbError::Cursor)));
        assert!(matches!(request.after_texts(2), Err(DbError::Cursor)));
        assert_eq!(request.limit(), LIMIT_MAX);
    }
}
