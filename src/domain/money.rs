//! Money: decimal amounts with their currencies, never added up over currencies, never through binary fractions.
//!
//! An amount comes as a JSON number or as decimal text. Where digits have to go it is rounded half to even, as banks do. Amounts are shown in
//! one way everywhere: `4,820.50 USD`, thousands parted by commas, with as many decimals as the currency has.

use iso_currency::Currency;
use rust_decimal::{Decimal, RoundingStrategy};
use serde_json::Value;
use std::collections::BTreeMap;

/// Words after an amount whose currency nobody told.
const UNTOLD: &str = "(currency not told)";

/// An amount as text or number, exactly as it is written.
///
/// # Errors
/// A sentence: it is no number, or none that can be held (28 digits).
pub fn amount(value: &Value) -> Result<Decimal, String> {
    let text = match value {
        Value::Number(number) => number.to_string(),
        Value::String(text) => text.trim().to_owned(),
        other => return Err(format!("{other} is no amount")),
    };
    let parsed = match text.contains(['e', 'E']) {
        true => Decimal::from_scientific(&text),
        false => Decimal::from_str_exact(&text),
    };
    let shown: String = text.chars().take(40).collect();
    parsed.map_err(|_| format!("`{shown}` is no amount: a number of at most 28 digits is"))
}

/// The code of a currency: `usd`, `USD`, or an object with it as `value`, `code` or `currency`, as QuickBooks gives it. `None`: not told.
pub fn code(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => {
            let text = text.trim();
            let is_code = text.len() == 3 && text.bytes().all(|byte| byte.is_ascii_alphabetic());
            is_code.then(|| text.to_ascii_uppercase())
        }
        Value::Object(fields) => ["value", "code", "currency"]
            .iter()
            .find_map(|name| fields.get(*name).and_then(code)),
        _ => None,
    }
}

/// The code of a currency that people write: `€`, `euros`, `EUR`, `C$`. A bare `$` is the dollar of the United States.
pub fn code_of_word(word: &str) -> Option<&'static str> {
    Some(match word.to_lowercase().as_str() {
        "$" | "us$" | "usd" | "dollar" | "dollars" | "bucks" => "USD",
        "€" | "eur" | "euro" | "euros" => "EUR",
        "£" | "gbp" | "pound" | "pounds" => "GBP",
        "¥" | "jpy" | "yen" => "JPY",
        "chf" | "franc" | "francs" => "CHF",
        "c$" | "ca$" | "can$" => "CAD",
        "a$" | "au$" => "AUD",
        "nz$" => "NZD",
        "hk$" => "HKD",
        "s$" | "sg$" => "SGD",
        "mx$" => "MXN",
        "nt$" => "TWD",
        "r$" => "BRL",
        "₹" => "INR",
        "₩" => "KRW",
        "₪" => "ILS",
        "₫" => "VND",
        "₱" => "PHP",
        "₺" => "TRY",
        "₴" => "UAH",
        "₦" => "NGN",
        "₽" => "RUB",
        "฿" => "THB",
        "₡" => "CRC",
        "₲" => "PYG",
        "₵" => "GHS",
        "₸" => "KZT",
        "₼" => "AZN",
        "₾" => "GEL",
        // "CAD$"
        other if other.len() == 4 && other.ends_with('$') => code_of_word(&other[..3])?,
        other if other.len() == 3 => Currency::from_code(&other.to_uppercase())?.code(),
        _ => return None,
    })
}

/// Decimals of a currency: two for the dollar, none for the yen, three for the dinar of Kuwait. `None` for one that is not known.
pub fn decimals(code: &str) -> Option<u32> {
    Currency::from_code(code)?.exponent().map(u32::from)
}

/// The amount with as many decimals as its currency has.
pub fn rounded(amount: Decimal, places: u32) -> Decimal {
    let mut rounded = amount.round_dp_with_strategy(places, RoundingStrategy::MidpointNearestEven);
    rounded.rescale(places);
    // A negative amount that became nothing.
    if rounded.is_zero() {
        rounded.set_sign_positive(true);
    }
    rounded
}

/// `4,820.50 USD`. Says so if the currency is not told; of one that is not known the amount stays as it is.
pub fn show(amount: Decimal, currency: Option<&str>) -> String {
    match currency {
        None => format!("{} {UNTOLD}", grouped(&amount.to_string())),
        Some(code) => {
            let shown = match decimals(code) {
                Some(places) => rounded(amount, places).to_string(),
                None => amount.to_string(),
            };
            format!("{} {code}", grouped(&shown))
        }
    }
}

/// Commas between thousands.
fn grouped(number: &str) -> String {
    let (sign, digits) = match number.strip_prefix('-') {
        Some(digits) => ("-", digits),
        None => ("", number),
    };
    let (whole, fraction) = match digits.split_once('.') {
        Some((whole, fraction)) => (whole, Some(fraction)),
        None => (digits, None),
    };
    let mut made = String::with_capacity(number.len() + number.len() / 3);
    made.push_str(sign);
    for (place, digit) in whole.chars().enumerate() {
        if place > 0 && (whole.len() - place) % 3 == 0 {
            made.push(',');
        }
        made.push(digit);
    }
    if let Some(fraction) = fraction {
        made.push('.');
        made.push_str(fraction);
    }
    made
}

/// One sum for each currency, by its code; what has no currency is summed by itself.
///
/// # Errors
/// A sum that cannot be held.
pub fn sums(
    amounts: impl IntoIterator<Item = (Decimal, Option<String>)>,
) -> Result<Vec<(Option<String>, Decimal)>, String> {
    let mut sums: BTreeMap<Option<String>, Decimal> = BTreeMap::new();
    for (amount, currency) in amounts {
        let sum = sums.entry(currency).or_default();
        *sum = sum
            .checked_add(amount)
            .ok_or("the sum has more than 28 digits")?;
    }
    // Those with a currency first.
    let (untold, told): (Vec<_>, Vec<_>) = sums.into_iter().partition(|(code, _)| code.is_none());
    Ok(told.into_iter().chain(untold).collect())
}

/// Amounts side by side: `4,820.50 USD and 510 JPY`.
pub fn show_all(amounts: &[(Option<String>, Decimal)]) -> String {
    let shown: Vec<String> = amounts
        .iter()
        .map(|(code, amount)| show(*amount, code.as_deref()))
        .collect();
    match shown.as_slice() {
        [] => "nothing".into(),
        [one] => one.clone(),
        [most @ .., last] => format!("{} and {last}", most.join(", ")),
    }
}

/// Whole units of the currency's smallest coin.
///
/// # Errors
/// A currency that is not known, or an amount that is too large.
pub fn to_minor(amount: Decimal, code: &str) -> Result<i64, String> {
    let places = decimals(code).ok_or_else(|| unknown(code))?;
    units(amount, places)
}

/// # Errors
/// A currency that is not known.
pub fn from_minor(units: i64, code: &str) -> Result<Decimal, String> {
    let places = decimals(code).ok_or_else(|| unknown(code))?;
    Ok(Decimal::new(units, places))
}

fn units(amount: Decimal, places: u32) -> Result<i64, String> {
    let factor = Decimal::from(10u64.pow(places));
    let whole = rounded(amount, places).checked_mul(factor);
    whole
        .and_then(|whole| i64::try_from(whole).ok())
        .ok_or_else(|| format!("{amount} is too large"))
}

fn unknown(code: &str) -> String {
    let shown: String = code.chars().take(20).collect();
    format!("`{shown}` is no currency: three letters such as USD are")
}

/// Stripe counts in the smallest unit too, but not of every currency that ISO 4217 says: <https://docs.stripe.com/currencies>.
fn stripe_decimals(code: &str) -> Result<u32, String> {
    const NONE: [&str; 14] = [
        "BIF", "CLP", "DJF", "GNF", "JPY", "KMF", "KRW", "MGA", "PYG", "RWF", "VND", "VUV", "XAF",
        "XOF",
    ];
    // Without decimals in the world, with two on the wire.
    const TWO: [&str; 2] = ["ISK", "UGX"];
    Ok(match code {
        code if NONE.contains(&code) || code == "XPF" => 0,
        code if TWO.contains(&code) => 2,
        code => decimals(code).ok_or_else(|| unknown(code))?,
    })
}

/// An amount as Stripe takes it. Of currencies with three decimals Stripe wants the last to be zero.
///
/// # Errors
/// As [`to_minor`].
pub fn to_stripe(amount: Decimal, code: &str) -> Result<i64, String> {
    match stripe_decimals(code)? {
        3 => units(amount, 2)?
            .checked_mul(10)
            .ok_or_else(|| format!("{amount} is too large")),
        places => units(amount, places),
    }
}

/// # Errors
/// As [`from_minor`].
pub fn from_stripe(units: i64, code: &str) -> Result<Decimal, String> {
    Ok(Decimal::new(units, stripe_decimals(code)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use std::str::FromStr;

    fn shown(value: Value, currency: &str) -> String {
        show(
            amount(&value).expect("an amount"),
            code(&json!(currency)).as_deref(),
        )
    }

    #[test]
    fn amounts_are_shown_with_the_decimals_of_their_currency() {
        for (value, currency, expected) in [
            (json!(4820.5), "USD", "4,820.50 USD"),
            (json!(510.0), "EUR", "510.00 EUR"),
            (json!(510), "jpy", "510 JPY"),
            (json!("1234567.891"), "KWD", "1,234,567.891 KWD"),
            (json!(0.1), "CHF", "0.10 CHF"),
            (json!(-1234.5), "GBP", "-1,234.50 GBP"),
            (json!(-0.004), "USD", "0.00 USD"),
            (
                json!(9_007_199_254_740_993i64),
                "USD",
                "9,007,199,254,740,993.00 USD",
            ),
            (json!(1e21), "JPY", "1,000,000,000,000,000,000,000 JPY"),
            (json!("12.5"), "", "12.5 (currency not told)"),
            (json!(12.345), "ABC", "12.345 ABC"),
            (json!(999), "ISK", "999 ISK"),
        ] {
            assert_eq!(
                shown(value.clone(), currency),
                expected,
                "{value} {currency}"
            );
        }
    }

    #[test]
    fn what_has_to_go_is_rounded_half_to_even() {
        for (text, places, expected) in [
            ("0.125", 2, "0.12"),
            ("0.135", 2, "0.14"),
            ("-0.125", 2, "-0.12"),
            ("2.5", 0, "2"),
            ("3.5", 0, "4"),
            ("1.0005", 3, "1.000"),
        ] {
            let amount = Decimal::from_str(text).expect("decimal");
            assert_eq!(rounded(amount, places).to_string(), expected, "{text}");
        }
    }

    #[test]
    fn sums_are_exact_and_kept_apart_by_currency() {
        let of = |list: &[(&str, Option<&str>)]| {
            let amounts = list.iter().map(|(amount, code)| {
                (
                    Decimal::from_str(amount).expect("decimal"),
                    code.map(str::to_owned),
                )
            });
            show_all(&sums(amounts).expect("sums"))
        };
        assert_eq!(
            of(&[("0.1", Some("USD")), ("0.2", Some("USD"))]),
            "0.30 USD"
        );
        assert_eq!(
            of(&[
                ("500", Some("USD")),
                ("500", Some("EUR")),
                ("20", Some("USD"))
            ]),
            "500.00 EUR and 520.00 USD"
        );
        assert_eq!(
            of(&[("1", None), ("2", Some("JPY")), ("3", Some("KWD"))]),
            "2 JPY, 3.000 KWD and 1 (currency not told)"
        );
        assert_eq!(
            of(&[("9007199254740993", Some("USD")), ("0.01", Some("USD"))]),
            "9,007,199,254,740,993.01 USD"
        );
        assert_eq!(of(&[]), "nothing");
        let huge = Decimal::MAX;
        assert!(sums([(huge, None), (huge, None)]).is_err());
    }

    #[test]
    fn smallest_units_are_whole_and_come_back() {
        let decimal = |text: &str| Decimal::from_str(text).expect("decimal");
        for (text, code, units) in [
            ("12.34", "USD", 1_234),
            ("500", "JPY", 500),
            ("1.234", "KWD", 1_234),
            ("0.005", "EUR", 0),
            ("-3.1", "CHF", -310),
        ] {
            assert_eq!(to_minor(decimal(text), code), Ok(units), "{text} {code}");
        }
        for (text, code, units) in [
            ("12.34", "USD", 1_234),
            ("500", "JPY", 500),
            ("5000", "MGA", 5_000),
            ("1.234", "KWD", 1_230),
            ("700", "ISK", 70_000),
            ("700", "UGX", 70_000),
            ("800", "XPF", 800),
        ] {
            assert_eq!(to_stripe(decimal(text), code), Ok(units), "{text} {code}");
        }
        assert_eq!(
            from_stripe(1_230, "KWD").map(|amount| show(amount, Some("KWD"))),
            Ok("1.230 KWD".into())
        );
        assert_eq!(
            from_minor(4_250, "JPY").map(|amount| amount.to_string()),
            Ok("4250".into())
        );
        assert!(to_minor(decimal("1"), "NOPE").is_err());
        assert!(to_minor(Decimal::MAX, "USD").is_err());
    }

    #[test]
    fn currencies_are_read_in_the_forms_that_are_sent() {
        for (value, expected) in [
            (json!("usd"), Some("USD")),
            (json!({"value": "EUR", "name": "Euro"}), Some("EUR")),
            (json!({"code": "gbp"}), Some("GBP")),
            (json!(null), None),
            (json!(""), None),
            (json!("dollars"), None),
            (json!({}), None),
        ] {
            assert_eq!(code(&value).as_deref(), expected, "{value}");
        }
        for (word, expected) in [
            ("€", Some("EUR")),
            ("euros", Some("EUR")),
            ("SEK", Some("SEK")),
            ("$", Some("USD")),
            ("US$", Some("USD")),
            ("C$", Some("CAD")),
            ("NZD$", Some("NZD")),
            ("HK$", Some("HKD")),
            ("X$", None),
            ("₩", Some("KRW")),
            ("₪", Some("ILS")),
            ("§", None),
            ("Yen", Some("JPY")),
            ("the", None),
            ("customers", None),
        ] {
            assert_eq!(code_of_word(word), expected, "{word}");
        }
    }

    #[test]
    fn what_is_no_amount_is_refused() {
        for value in [
            json!("12,50"),
            json!("ten"),
            json!(null),
            json!([1]),
            json!("1e99"),
            json!(""),
        ] {
            assert!(amount(&value).is_err(), "{value}");
        }
    }
}
