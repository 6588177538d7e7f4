//! What `scripts/test-needs` has installed for the tests outside the checkout.

use std::path::PathBuf;

/// The directory of one of them; the same rule as in the script.
pub fn directory(name: &str) -> PathBuf {
    let of = |variable: &str| std::env::var_os(variable).filter(|value| !value.is_empty());
    let base = of("TENURE_TEST_CACHE").map(PathBuf::from).or_else(|| {
        let cache = of("XDG_CACHE_HOME").map(PathBuf::from);
        let home = of("HOME").map(|home| PathBuf::from(home).join(".cache"));
        cache.or(home).map(|cache| cache.join("tenure-test"))
    });
    base.expect("TENURE_TEST_CACHE or HOME tells where the tests' needs are")
        .join(name)
}
