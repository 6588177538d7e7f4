//! The parameters of a page's query or form, by name.

use crate::connect::form;
use std::collections::BTreeMap;

/// The parameters of a query or a form; of several with one name the first counts.
pub fn pairs(text: &str) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    for (name, value) in form::pairs(text) {
        found.entry(name).or_insert(value);
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries_are_read_as_browsers_write_them() {
        let read = pairs("code=a%2Fb+c&state=s%20t&empty=&code=second&bare&bad=%zz%");
        let expected = [
            ("bad", "%zz%"),
            ("bare", ""),
            ("code", "a/b c"),
            ("empty", ""),
            ("state", "s t"),
        ];
        let found: Vec<_> = read
            .iter()
            .map(|(name, value)| (&**name, &**value))
            .collect();
        assert_eq!(found, expected);
    }
}
