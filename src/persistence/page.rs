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
    /// Where the next page begins; opaque; `None` on the last page. A page of a filtered list may be short, or empty, and have one: only so
    /// many rows are looked at for a page.
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
    /// Like [`Self::page`] for rows of a window that ends at `end`; `None`: there is nothing behind it.
    pub(super) fn page_of_window<T>(
        &self,
        items: Vec<T>,
        key: impl Fn(&T) -> Vec<u8>,
        end: Option<Uuid>,
    ) -> Page<T> {
        let mut page = self.page(items, key);
        page.next = page
            .next
            .or_else(|| end.map(|end| cursor(self.list, &uuid_key(end))));
        page
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

/// Rows that a list looks at for one page, where its filter has conditions that no index knows. If fewer fit than are wanted, the page is short
/// and says where to go on.
pub(super) const WINDOW: i64 = 5_000;

/// One page of a table of an org in the order of ids, with `narrow`, what an index can find, and `filter`, what each row is asked. Whatever the
/// filter is, at most `window` rows are read, not the whole org until enough fit: a row that fits may be on a later page, and a page may be
/// short or empty and have a `next`.
///
/// `narrow` and `filter` are closures over a `&mut QueryBuilder`; what they push begins with ` AND `. `filter` gives whether it pushed anything.
macro_rules! windowed_page {
    (
        $tx:expr, $request:expr, $columns:expr, $table:literal, $direction:ident, $window:expr,
        narrow: $narrow:expr, filter: $filter:expr, key: $key:expr $(,)?
    ) => {{
        use $crate::persistence::page::Direction;
        let (org, after) = ($tx.org(), $request.after_uuid()?);
        let (compare, order) = Direction::$direction.words();
        let window: i64 = $window;
        let (rows, end) = on_tx!($tx, |conn| {
            let narrowed = |query: &mut QueryBuilder<DB>, columns: &str| {
                query.push("SELECT ").push(columns).push(concat!(
                    " FROM ",
                    $table,
                    " WHERE org_id = "
                ));
                query.push_bind(org);
                ($narrow)(query);
                if let Some(after) = after {
                    query.push(compare).push_bind(after);
                }
                query.push(order);
            };
            let mut query = QueryBuilder::<DB>::new("SELECT ");
            query.push($columns).push(" FROM (");
            narrowed(&mut query, $columns);
            query.push(" LIMIT ").push_bind(window);
            query.push(") w WHERE true");
            let is_filtered: bool = ($filter)(&mut query);
            query
                .push(order)
                .push(" LIMIT ")
                .push_bind($request.fetch());
            let rows: Vec<_> = query.build_query_as().fetch_all(&mut *conn).await?;
            let end: Option<uuid::Uuid> = if is_filtered && (rows.len() as i64) < $request.fetch() {
                let mut query = QueryBuilder::<DB>::new("");
                narrowed(&mut query, "id");
                query.push(" LIMIT 1 OFFSET ").push_bind(window - 1);
                query.build_query_scalar().fetch_optional(conn).await?
            } else {
                None
            };
            (rows, end)
        });
        Ok($request.page_of_window(rows, $key, end))
    }};
}
pub(super) use windowed_page;

/// In which order of ids a list goes.
#[derive(Clone, Copy, Debug)]
pub(super) enum Direction {
    Ascending,
    Descending,
}

impl Direction {
    /// The condition on what comes after an id, and the order.
    pub fn words(self) -> (&'static str, &'static str) {
        match self {
            Self::Ascending => (" AND id > ", " ORDER BY id"),
            Self::Descending => (" AND id < ", " ORDER BY id DESC"),
        }
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
    fn a_short_page_of_a_window_goes_on_behind_it() {
        let request = PageRequest::new(Some(2), None).unwrap();
        let key = |item: &u128| uuid_key(Uuid::from_u128(*item));
        let page = request.page_of_window(vec![1], key, Some(Uuid::from_u128(9)));
        let next = PageRequest::new(Some(2), page.next.as_deref()).unwrap();
        assert_eq!(next.after_uuid().unwrap(), Some(Uuid::from_u128(9)));
        let full = request.page_of_window(vec![1, 2, 3], key, None);
        let next = PageRequest::new(Some(2), full.next.as_deref()).unwrap();
        assert_eq!(next.after_uuid().unwrap(), Some(Uuid::from_u128(2)));
        assert_eq!(request.page_of_window(vec![1], key, None).next, None);
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
