//! The fields of the account.

use super::Report;
use crate::connect::catalog::AccountField;
use std::collections::BTreeSet;

pub(super) fn check(report: &mut Report, fields: &[AccountField]) {
    let mut names = BTreeSet::new();
    for (place, field) in fields.iter().enumerate() {
        let place = format!("/account/{place}");
        if !names.insert(&field.name) {
            report.add(&place, format!("`{}` stands twice", field.name));
        }
        let Some(regex) = report.take(&place, field.regex()) else {
            continue;
        };
        if let Some(default) = &field.default
            && field.pattern.is_some()
            && !regex.is_match(default)
        {
            report.add(
                &place,
                format!("the default of `{}` does not fit its pattern", field.name),
            );
        }
    }
}
