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
    list: Option<ListMark>,
}

/// Tells a list and its filters from others: stands in its cursors, so that another list's is refused and not read as a place in this one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ListMark([u8; 4]);

impl ListMark {
    /// `name` must be the same for each page of a list.
    pub fn new(name: &str) -> Self {
        Self(crc32fast::hash(name.as_bytes()).to_be_bytes())
    }
}

/// The cursor of a place in a list; opaque.
pub fn cursor(list: Option<ListMark>, key: &[u8]) -> String {
    let mut bytes = list.map(|ListMark(mark)| mark.to_vec()).unwrap_or_default();
    bytes.extend_from_slice(key);
    URL_SAFE_NO_PAD.encode(bytes)
}

/// The place that a cursor of this list says.
///
/// # Errors
/// `Cursor` for a text that is none, and for that of another list.
pub fn cursor_key(list: Option<ListMark>, cursor: &str) -> Result<Vec<u8>> {
    let mut bytes = URL_SAFE_NO_PAD
        .decode(cursor)
        .map_err(|_| DbError::Cursor)?;
    if let Some(ListMark(mark)) = list {
        if !bytes.starts_with(&mark) {
            return Err(DbError::Cursor);
        }
        bytes.drain(..mark.len());
    }
    Ok(bytes)
}

impl PageRequest {
    /// `limit` is brought into 1 to 200, 50 if absent; `after` is the `next` of the page before.
    ///
    /// # Errors
    /// `Cursor` for a text that is none.
    pub fn new(limit: Option<u32>, after: Option<&str>) -> Result<Self> {
        Self::of_list(None, limit, after)
    }

    /// The same for a list whose cursors are good for nothing else.
    ///
    /// # Errors
    /// `Cursor` for a text that is none of this list's.
    pub fn of_list(
        list: Option<ListMark>,
        limit: Option<u32>,
        after: Option<&str>,
    ) -> Result<Self> {
        let after = after.map(|text| cursor_key(list, text)).transpose()?;
        Ok(Self { limit, after, list })
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
            .map(|last| cursor(self.list, &key(last)));
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
    fn cursor_of_another_list_is_refused() {
        let (runs, effects) = (ListMark::new("runs"), ListMark::new("effects"));
        let request = PageRequest::of_list(Some(runs), Some(1), None).unwrap();
        let page = request.page(vec![1u128, 2], |item| uuid_key(Uuid::from_u128(*item)));
        let next = page.next.unwrap();
        let again = PageRequest::of_list(Some(runs), None, Some(&next)).unwrap();
        assert_eq!(again.after_uuid().unwrap(), Some(Uuid::from_u128(1)));
        let stranger = PageRequest::of_list(Some(effects), None, Some(&next));
        assert!(matches!(stranger, Err(DbError::Cursor)));
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
