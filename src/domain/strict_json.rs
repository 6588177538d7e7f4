//! JSON as strangers write it, read into types: what is written as an object must be one.
//!
//! serde's derived `Deserialize` takes an array for any struct, field by field in the order of the declaration, so that
//! `["intruder", "admin"]` is a request that nobody ever described. It also takes the last of two members with one name in a map. Both are
//! refused here, at every depth, for every type, by standing between the format and the type: a struct is asked for as a map.
//!
//! What serde reads ahead into a buffer of its own (the content of untagged and internally tagged enums, and of structs with flattened
//! fields) goes round this below its first level.

use serde::{
    Deserializer,
    de::{
        DeserializeOwned, DeserializeSeed, EnumAccess, Error, MapAccess, SeqAccess, Unexpected,
        VariantAccess, Visitor,
    },
};
use serde_json::Value;
use std::{
    collections::HashSet,
    fmt,
    hash::{DefaultHasher, Hasher},
};

/// # Errors
/// The bytes are not one JSON document, or not of this shape; with line and column.
pub fn from_slice<T: DeserializeOwned>(bytes: &[u8]) -> serde_json::Result<T> {
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    let value = T::deserialize(Strict(&mut reader))?;
    reader.end()?;
    Ok(value)
}

/// # Errors
/// As [`from_slice`], without a place.
pub fn from_value<T: DeserializeOwned>(value: Value) -> serde_json::Result<T> {
    T::deserialize(Strict(value))
}

/// A format, or a part of one, that gives no array where a struct is wanted.
struct Strict<D>(D);

/// Hands everything to a visitor with what is inside wrapped in turn.
struct Inside<V>(V);

/// Gives every method of a format but `deserialize_struct` to a macro.
macro_rules! methods {
    ($give:ident) => {
        $give! {
            deserialize_any();
            deserialize_bool();
            deserialize_i8();
            deserialize_i16();
            deserialize_i32();
            deserialize_i64();
            deserialize_i128();
            deserialize_u8();
            deserialize_u16();
            deserialize_u32();
            deserialize_u64();
            deserialize_u128();
            deserialize_f32();
            deserialize_f64();
            deserialize_char();
            deserialize_str();
            deserialize_string();
            deserialize_bytes();
            deserialize_byte_buf();
            deserialize_option();
            deserialize_unit();
            deserialize_unit_struct(name: &'static str);
            deserialize_newtype_struct(name: &'static str);
            deserialize_seq();
            deserialize_tuple(length: usize);
            deserialize_tuple_struct(name: &'static str, length: usize);
            deserialize_map();
            deserialize_enum(name: &'static str, variants: &'static [&'static str]);
            deserialize_identifier();
            deserialize_ignored_any();
        }
    };
}

macro_rules! pass_on {
    ($($method:ident($($argument:ident: $kind:ty),*);)*) => { $(
        fn $method<V: Visitor<'de>>(self, $($argument: $kind,)* visitor: V) -> Result<V::Value, D::Error> {
            self.0.$method($($argument,)* Inside(visitor))
        }
    )* };
}

impl<'de, D: Deserializer<'de>> Deserializer<'de> for Strict<D> {
    type Error = D::Error;

    methods!(pass_on);

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, D::Error> {
        self.0.deserialize_map(Inside(visitor))
    }

    fn is_human_readable(&self) -> bool {
        self.0.is_human_readable()
    }
}

macro_rules! values {
    ($($method:ident($kind:ty);)*) => { $(
        fn $method<E: Error>(self, value: $kind) -> Result<V::Value, E> {
            self.0.$method(value)
        }
    )* };
}

impl<'de, V: Visitor<'de>> Visitor<'de> for Inside<V> {
    type Value = V::Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.expecting(f)
    }

    values! {
        visit_bool(bool);
        visit_i8(i8);
        visit_i16(i16);
        visit_i32(i32);
        visit_i64(i64);
        visit_i128(i128);
        visit_u8(u8);
        visit_u16(u16);
        visit_u32(u32);
        visit_u64(u64);
        visit_u128(u128);
        visit_f32(f32);
        visit_f64(f64);
        visit_char(char);
        visit_str(&str);
        visit_borrowed_str(&'de str);
        visit_string(String);
        visit_bytes(&[u8]);
        visit_borrowed_bytes(&'de [u8]);
        visit_byte_buf(Vec<u8>);
    }

    fn visit_none<E: Error>(self) -> Result<V::Value, E> {
        self.0.visit_none()
    }
    fn visit_unit<E: Error>(self) -> Result<V::Value, E> {
        self.0.visit_unit()
    }
    fn visit_some<D: Deserializer<'de>>(self, inner: D) -> Result<V::Value, D::Error> {
        self.0.visit_some(Strict(inner))
    }
    fn visit_newtype_struct<D: Deserializer<'de>>(self, inner: D) -> Result<V::Value, D::Error> {
        self.0.visit_newtype_struct(Strict(inner))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, items: A) -> Result<V::Value, A::Error> {
        // Its first item would be its tag.
        if Expecting(&self.0)
            .to_string()
            .starts_with("internally tagged")
        {
            return Err(A::Error::invalid_type(Unexpected::Seq, &"an object"));
        }
        self.0.visit_seq(Strict(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, members: A) -> Result<V::Value, A::Error> {
        self.0.visit_map(Members {
            members,
            seen: Seen::default(),
        })
    }

    fn visit_enum<A: EnumAccess<'de>>(self, choice: A) -> Result<V::Value, A::Error> {
        self.0.visit_enum(Strict(choice))
    }
}

struct Expecting<'a, V>(&'a V);

impl<'de, V: Visitor<'de>> fmt::Display for Expecting<'_, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.expecting(f)
    }
}

impl<'de, T: DeserializeSeed<'de>> DeserializeSeed<'de> for Strict<T> {
    type Value = T::Value;
    fn deserialize<D: Deserializer<'de>>(self, inner: D) -> Result<T::Value, D::Error> {
        self.0.deserialize(Strict(inner))
    }
}

impl<'de, A: SeqAccess<'de>> SeqAccess<'de> for Strict<A> {
    type Error = A::Error;
    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, A::Error> {
        self.0.next_element_seed(Strict(seed))
    }
    fn size_hint(&self) -> Option<usize> {
        self.0.size_hint()
    }
}

impl<'de, A: EnumAccess<'de>> EnumAccess<'de> for Strict<A> {
    type Error = A::Error;
    type Variant = Strict<A::Variant>;
    fn variant_seed<T: DeserializeSeed<'de>>(
        self,
        seed: T,
    ) -> Result<(T::Value, Self::Variant), A::Error> {
        let (value, variant) = self.0.variant_seed(Strict(seed))?;
        Ok((value, Strict(variant)))
    }
}

impl<'de, A: VariantAccess<'de>> VariantAccess<'de> for Strict<A> {
    type Error = A::Error;
    fn unit_variant(self) -> Result<(), A::Error> {
        self.0.unit_variant()
    }
    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<T::Value, A::Error> {
        self.0.newtype_variant_seed(Strict(seed))
    }
    fn tuple_variant<V: Visitor<'de>>(
        self,
        length: usize,
        visitor: V,
    ) -> Result<V::Value, A::Error> {
        self.0.tuple_variant(length, Inside(visitor))
    }
    fn struct_variant<V: Visitor<'de>>(
        self,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, A::Error> {
        // As content of one value, which is asked for as a map: formats take an array for a variant's fields, too.
        self.0.newtype_variant_seed(AsMap(visitor))
    }
}

struct AsMap<V>(V);

impl<'de, V: Visitor<'de>> DeserializeSeed<'de> for AsMap<V> {
    type Value = V::Value;
    fn deserialize<D: Deserializer<'de>>(self, inner: D) -> Result<V::Value, D::Error> {
        inner.deserialize_map(Inside(self.0))
    }
}

/// The members of an object, none of which may come twice.
struct Members<A> {
    members: A,
    seen: Seen,
}

/// Hashes of names; two names that share one would be refused, which happens once in 2^64 pairs.
#[derive(Default)]
struct Seen {
    few: Vec<u64>,
    many: HashSet<u64>,
}

/// Beyond this a set is faster than looking through all.
const FEW: usize = 16;

impl Seen {
    fn is_new(&mut self, name: &str) -> bool {
        let mut hasher = DefaultHasher::new();
        hasher.write(name.as_bytes());
        let hash = hasher.finish();
        if self.few.contains(&hash) {
            return false;
        }
        if self.few.len() < FEW {
            self.few.push(hash);
            return true;
        }
        self.many.insert(hash)
    }
}

impl<'de, A: MapAccess<'de>> MapAccess<'de> for Members<A> {
    type Error = A::Error;
    fn next_key_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, A::Error> {
        let (name, seen) = (seed, &mut self.seen);
        self.members.next_key_seed(Name { name, seen })
    }
    fn next_value_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<T::Value, A::Error> {
        self.members.next_value_seed(Strict(seed))
    }
    fn size_hint(&self) -> Option<usize> {
        self.members.size_hint()
    }
}

/// What reads a name, and refuses it if it was seen: a seed, the format below it, and the visitor above that.
struct Name<'a, T> {
    name: T,
    seen: &'a mut Seen,
}

impl<T> Name<'_, T> {
    fn check<E: Error>(&mut self, name: &str) -> Result<(), E> {
        match self.seen.is_new(name) {
            true => Ok(()),
            false => Err(E::custom(format_args!("duplicate field `{name}`"))),
        }
    }
}

impl<'de, T: DeserializeSeed<'de>> DeserializeSeed<'de> for Name<'_, T> {
    type Value = T::Value;
    fn deserialize<D: Deserializer<'de>>(self, inner: D) -> Result<T::Value, D::Error> {
        let seen = self.seen;
        self.name.deserialize(Name { name: inner, seen })
    }
}

macro_rules! names {
    ($($method:ident($($argument:ident: $kind:ty),*);)*) => { $(
        fn $method<V: Visitor<'de>>(self, $($argument: $kind,)* visitor: V) -> Result<V::Value, D::Error> {
            let seen = self.seen;
            self.name.$method($($argument,)* Name { name: visitor, seen })
        }
    )* };
}

impl<'de, D: Deserializer<'de>> Deserializer<'de> for Name<'_, D> {
    type Error = D::Error;
    methods!(names);
    fn deserialize_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, D::Error> {
        self.name.deserialize_struct(name, fields, visitor)
    }
    fn is_human_readable(&self) -> bool {
        self.name.is_human_readable()
    }
}

impl<'de, V: Visitor<'de>> Visitor<'de> for Name<'_, V> {
    type Value = V::Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.name.expecting(f)
    }

    fn visit_str<E: Error>(mut self, name: &str) -> Result<V::Value, E> {
        self.check(name)?;
        self.name.visit_str(name)
    }
    fn visit_borrowed_str<E: Error>(mut self, name: &'de str) -> Result<V::Value, E> {
        self.check(name)?;
        self.name.visit_borrowed_str(name)
    }
    fn visit_string<E: Error>(mut self, name: String) -> Result<V::Value, E> {
        self.check(&name)?;
        self.name.visit_string(name)
    }
    // A name of a type of its own, and names that are numbers.
    fn visit_newtype_struct<D: Deserializer<'de>>(self, inner: D) -> Result<V::Value, D::Error> {
        let seen = self.seen;
        self.name.visit_newtype_struct(Name { name: inner, seen })
    }
    fn visit_enum<A: EnumAccess<'de>>(self, choice: A) -> Result<V::Value, A::Error> {
        self.name.visit_enum(choice)
    }
    fn visit_bool<E: Error>(self, value: bool) -> Result<V::Value, E> {
        self.name.visit_bool(value)
    }
    fn visit_i64<E: Error>(self, value: i64) -> Result<V::Value, E> {
        self.name.visit_i64(value)
    }
    fn visit_u64<E: Error>(self, value: u64) -> Result<V::Value, E> {
        self.name.visit_u64(value)
    }
    fn visit_f64<E: Error>(self, value: f64) -> Result<V::Value, E> {
        self.name.visit_f64(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;
    use serde_json::json;
    use std::collections::BTreeMap;

    #[derive(Debug, PartialEq, Deserialize)]
    struct Outer {
        name: String,
        #[serde(default)]
        inner: Option<Inner>,
        #[serde(default)]
        many: Vec<Inner>,
        #[serde(default)]
        by_name: BTreeMap<String, Inner>,
        #[serde(default)]
        choice: Option<Choice>,
        #[serde(default)]
        tagged: Option<Tagged>,
        #[serde(default)]
        pair: Option<(u32, Inner)>,
        #[serde(default)]
        any: Value,
    }
    #[derive(Debug, PartialEq, Deserialize)]
    struct Inner {
        count: u32,
    }
    #[derive(Debug, PartialEq, Deserialize)]
    #[serde(rename_all = "snake_case")]
    enum Choice {
        Unit,
        One(Inner),
        Fields { count: u32 },
        Pair(u32, u32),
    }
    #[derive(Debug, PartialEq, Deserialize)]
    #[serde(tag = "type", rename_all = "snake_case")]
    enum Tagged {
        Fields { count: u32 },
    }

    fn both(value: &Value) -> [Result<Outer, String>; 2] {
        let text = value.to_string();
        [
            from_slice(text.as_bytes()).map_err(|error| error.to_string()),
            from_value(value.clone()).map_err(|error| error.to_string()),
        ]
    }

    #[test]
    fn objects_are_read_as_ever() {
        for value in [
            json!({"name": "x"}),
            json!({"name": "x", "inner": {"count": 1}, "many": [{"count": 1}], "by_name": {"a": {"count": 2}}}),
            json!({"name": "x", "choice": "unit"}),
            json!({"name": "x", "choice": {"one": {"count": 1}}}),
            json!({"name": "x", "choice": {"fields": {"count": 1}}}),
            json!({"name": "x", "choice": {"pair": [1, 2]}}),
            json!({"name": "x", "tagged": {"type": "fields", "count": 1}}),
            json!({"name": "x", "pair": [1, {"count": 1}]}),
            json!({"name": "x", "any": [1, [2, {"a": null, "b": [1.5, "z"]}], u64::MAX]}),
        ] {
            let expected: Outer = serde_json::from_value(value.clone()).expect("plain serde");
            for read in both(&value) {
                assert_eq!(read.as_ref(), Ok(&expected), "{value}");
            }
        }
    }

    #[test]
    fn array_in_the_place_of_an_object_is_refused_at_every_depth() {
        for value in [
            json!(["x"]),
            json!(["x", null, [], {}, null, null, null, null]),
            json!({"name": "x", "inner": [1]}),
            json!({"name": "x", "many": [[1]]}),
            json!({"name": "x", "many": [{"count": 1}, [1]]}),
            json!({"name": "x", "by_name": {"a": [1]}}),
            json!({"name": "x", "choice": {"one": [1]}}),
            json!({"name": "x", "choice": {"fields": [1]}}),
            json!({"name": "x", "tagged": ["fields", 1]}),
            json!({"name": "x", "pair": [1, [1]]}),
        ] {
            for read in both(&value) {
                let error = read.expect_err(&value.to_string());
                assert!(error.contains("invalid type: sequence"), "{value}: {error}");
            }
        }
    }

    #[test]
    fn member_that_comes_twice_is_refused_at_every_depth() {
        let many: String = (0..40).map(|n| format!("\"k{n}\": 1, ")).collect();
        for text in [
            r#"{"name": "x", "name": "y"}"#,
            r#"{"name": "x", "unknown": 1, "unknown": 2}"#,
            r#"{"name": "x", "any": {"a": 1, "a": 2}}"#,
            r#"{"name": "x", "any": [{"a": {"b": 1, "c": 1, "b": 1}}]}"#,
            r#"{"name": "x", "any": {"a": 1, "\u0061": 2}}"#,
            r#"{"name": "x", "by_name": {"a": {"count": 1}, "a": {"count": 2}}}"#,
            &format!(r#"{{"name": "x", "any": {{{many} "k39": 2}}}}"#),
            &format!(r#"{{"name": "x", "any": {{{many} "k1": 2}}}}"#),
        ] {
            let error = from_slice::<Outer>(text.as_bytes()).expect_err(text);
            assert!(
                error.to_string().contains("duplicate field"),
                "{text}: {error}"
            );
        }
        let fine = format!(r#"{{"name": "x", "any": {{{many} "last": 2}}}}"#);
        assert!(from_slice::<Outer>(fine.as_bytes()).is_ok());
    }

    #[test]
    fn what_follows_the_document_and_what_is_too_deep_is_refused() {
        for text in [
            r#"{"name": "x"} {}"#.to_owned(),
            r#"{"name": "x"},"#.to_owned(),
            format!(
                r#"{{"name": "x", "any": {}{}}}"#,
                "[".repeat(200),
                "]".repeat(200)
            ),
        ] {
            assert!(from_slice::<Outer>(text.as_bytes()).is_err(), "{text}");
        }
    }
}
