//! The functions of money: `money`, `sum_money`, `to_minor`, `from_minor`, `to_stripe`, `from_stripe`.

use super::{EvalError, value::Val};
use crate::{domain::money, graph::budget::Budget};
use rust_decimal::Decimal;
use serde_json::{Value, json};

/// What reading or writing an amount costs.
const AMOUNT_UNITS: u64 = 16;

fn json_of(value: &Val<'_>, budget: &Budget) -> Result<Value, EvalError> {
    value.charge(budget)?;
    budget.charge(AMOUNT_UNITS)?;
    value.clone().into_json()
}

/// `{amount, currency}`, the currency as text or as QuickBooks gives it.
fn amount_of(value: &Value) -> Result<(Decimal, Option<String>), String> {
    match value {
        Value::Object(fields) => {
            let missing = || "an amount of money is {'amount': …, 'currency': …}".to_owned();
            let amount = fields.get("amount").ok_or_else(missing)?;
            let currency = fields.get("currency").unwrap_or(&Value::Null);
            Ok((money::amount(amount)?, money::code(currency)))
        }
        bare => Ok((money::amount(bare)?, None)),
    }
}

fn amounts_of(list: &[Value]) -> Result<Vec<(Decimal, Option<String>)>, String> {
    list.iter().map(amount_of).collect()
}

/// The text of an amount, of `{amount, currency}`, or of a list of those.
pub(crate) fn show(value: &Value, currency: Option<&Value>) -> Result<String, String> {
    match (value, currency) {
        (Value::Array(list), None) => {
            let each = amounts_of(list)?;
            let each: Vec<_> = each
                .into_iter()
                .map(|(amount, code)| (code, amount))
                .collect();
            Ok(money::show_all(&each))
        }
        (Value::Object(_), None) => {
            let (amount, code) = amount_of(value)?;
            Ok(money::show(amount, code.as_deref()))
        }
        (value, currency) => {
            let code = currency.and_then(money::code);
            Ok(money::show(money::amount(value)?, code.as_deref()))
        }
    }
}

/// A list of `{amount, currency}`, one for each currency; amounts are decimal text, so that none is rounded.
pub(crate) fn sums(list: &Value) -> Result<Value, String> {
    let Value::Array(list) = list else {
        return Err("sum_money() takes a list of {'amount': …, 'currency': …}".into());
    };
    let sums = money::sums(amounts_of(list)?)?;
    let sums = sums.into_iter().map(|(code, amount)| {
        let places = code.as_deref().and_then(money::decimals);
        let amount = places.map_or(amount, |places| {
            // Whatever is finer than a coin stays.
            if amount.normalize().scale() > places {
                amount
            } else {
                money::rounded(amount, places)
            }
        });
        json!({"amount": amount.to_string(), "currency": code})
    });
    Ok(sums.collect())
}

pub(super) fn call<'a>(
    name: &str,
    first: &Val<'a>,
    second: Option<&Val<'a>>,
    budget: &Budget,
) -> Result<Val<'a>, EvalError> {
    let value = json_of(first, budget)?;
    if let Value::Array(list) = &value {
        budget.charge(AMOUNT_UNITS.saturating_mul(list.len() as u64))?;
    }
    let currency = second.map(|second| json_of(second, budget)).transpose()?;
    let made = match name {
        "money" => show(&value, currency.as_ref()).map(Value::String),
        "sum_money" => sums(&value),
        _ => units(name, &value, currency.as_ref()),
    };
    let made = made.map_err(EvalError::wrong)?;
    if let Value::String(text) = &made {
        budget.charge_new_text(text.len())?;
    }
    Ok(Val::owned(made))
}

fn units(name: &str, value: &Value, currency: Option<&Value>) -> Result<Value, String> {
    let code = currency
        .and_then(money::code)
        .ok_or_else(|| format!("{name}() takes a currency, such as 'USD'"))?;
    let whole = || {
        value
            .as_i64()
            .ok_or_else(|| format!("{name}() takes a whole number of the smallest unit"))
    };
    Ok(match name {
        "to_minor" => money::to_minor(money::amount(value)?, &code)?.into(),
        "to_stripe" => money::to_stripe(money::amount(value)?, &code)?.into(),
        "from_minor" => money::from_minor(whole()?, &code)?.to_string().into(),
        _ => money::from_stripe(whole()?, &code)?.to_string().into(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_are_lists_by_currency() {
        let given = json!([
            {"amount": 4820.5, "currency": {"value": "USD"}},
            {"amount": 0.1, "currency": "EUR"},
            {"amount": 0.2, "currency": "EUR"},
            {"amount": 5, "currency": null},
            {"amount": "0.005", "currency": "CHF"},
        ]);
        let sums = sums(&given).expect("sums");
        assert_eq!(
            sums,
            json!([
                {"amount": "0.005", "currency": "CHF"},
                {"amount": "0.30", "currency": "EUR"},
                {"amount": "4820.50", "currency": "USD"},
                {"amount": "5", "currency": null},
            ])
        );
        assert_eq!(
            show(&sums, None),
            Ok("0.00 CHF, 0.30 EUR, 4,820.50 USD and 5 (currency not told)".into())
        );
    }
}
