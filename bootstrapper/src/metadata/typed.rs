//! From the tree to typed values, without any coercion: a serde deserializer whose errors know their place.

use serde::de::value::StrDeserializer;
use serde::de::{self, DeserializeOwned, DeserializeSeed, IntoDeserializer, Visitor};

use super::fault::Fault;
use super::tree::{Key, Meaning, Node, Value};

/// Reads a value of this type out of a tree.
///
/// # Errors
/// The first thing that does not fit, with its place and path.
pub fn read<T: DeserializeOwned>(node: &Node) -> Result<T, Fault> {
    T::deserialize(Reader(node)).map_err(|fault| fault.at_value(node))
}

#[derive(Clone, Copy)]
struct Reader<'t>(&'t Node);

impl<'t> Reader<'t> {
    fn expected<T>(self, what: &str) -> Result<T, Fault> {
        let remedy = match self.0.meaning() {
            Some(Meaning::Nothing) => ": give it a value, or remove the key",
            Some(Meaning::Text(text)) if what != "a text" && super::tree::meaning(text) != Meaning::Text(text) => {
                ": remove the quotes"
            }
            Some(Meaning::Bool(_) | Meaning::Whole(_) | Meaning::Decimal | Meaning::Disputed(_))
                if what == "a text" =>
            {
                ": put it in quotes"
            }
            Some(Meaning::Disputed(_)) => ": write it in plain decimal digits",
            Some(Meaning::Bool(_) | Meaning::Whole(_) | Meaning::Decimal | Meaning::Text(_)) | None => "",
        };
        Err(Fault::here(&self.0.place, format!("expected {what}, found {}{remedy}", self.0.kind())))
    }

    fn text(self) -> Result<&'t str, Fault> {
        match self.0.meaning() {
            Some(Meaning::Text(text)) => Ok(text),
            Some(Meaning::Nothing | Meaning::Bool(_) | Meaning::Whole(_) | Meaning::Decimal | Meaning::Disputed(_))
            | None => self.expected("a text"),
        }
    }

    fn whole<T: TryFrom<i128>>(self, least: i128, most: i128) -> Result<T, Fault> {
        match self.0.meaning() {
            Some(Meaning::Whole(number)) => T::try_from(number).map_err(|_| {
                let message = format!("{number} is out of range: expected a number from {least} to {most}");
                Fault::here(&self.0.place, message)
            }),
            Some(Meaning::Nothing | Meaning::Bool(_) | Meaning::Decimal | Meaning::Disputed(_) | Meaning::Text(_))
            | None => self.expected("a whole number"),
        }
    }
}

macro_rules! whole_numbers {
    ($($method:ident $visit:ident $type:ty),*) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
            visitor.$visit(self.whole::<$type>(<$type>::MIN.into(), <$type>::MAX.into())?)
        }
    )*};
}

impl<'de> de::Deserializer<'de> for Reader<'de> {
    type Error = Fault;

    whole_numbers! {
        deserialize_u8 visit_u8 u8, deserialize_u16 visit_u16 u16, deserialize_u32 visit_u32 u32,
        deserialize_u64 visit_u64 u64, deserialize_i8 visit_i8 i8, deserialize_i16 visit_i16 i16,
        deserialize_i32 visit_i32 i32, deserialize_i64 visit_i64 i64
    }

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        match (&self.0.value, self.0.meaning()) {
            (Value::List(_), _) => self.deserialize_seq(visitor),
            (Value::Map(_), _) => self.deserialize_map(visitor),
            (Value::Text(..), Some(Meaning::Bool(value))) => visitor.visit_bool(value),
            (Value::Text(..), Some(Meaning::Whole(_))) => {
                visitor.visit_i64(self.whole(i64::MIN.into(), i64::MAX.into())?)
            }
            (Value::Text(..), Some(Meaning::Decimal)) => visitor.visit_f64(0.0),
            (Value::Text(..), Some(Meaning::Nothing)) => self.expected("a value"),
            (Value::Text(..), Some(Meaning::Text(_) | Meaning::Disputed(_)) | None) => {
                visitor.visit_borrowed_str(self.text()?)
            }
        }
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        match self.0.meaning() {
            Some(Meaning::Bool(value)) => visitor.visit_bool(value),
            Some(Meaning::Disputed(_)) => Err(Fault::here(&self.0.place, "write true or false, in lower case")),
            Some(Meaning::Nothing | Meaning::Whole(_) | Meaning::Decimal | Meaning::Text(_)) | None => {
                self.expected("true or false")
            }
        }
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        visitor.visit_borrowed_str(self.text()?)
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        self.deserialize_str(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        if self.0.is_nothing() { self.expected("a value") } else { visitor.visit_some(self) }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, Fault> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        match &self.0.value {
            Value::List(items) => visitor.visit_seq(Items(items.iter().enumerate())),
            Value::Text(..) | Value::Map(_) => self.expected("a list (lines that begin with `- `)"),
        }
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        match &self.0.value {
            Value::Map(entries) => visitor
                .visit_map(Entries { rest: entries.iter(), value: None })
                .map_err(|fault| fault.at(&self.0.place)),
            Value::Text(..) | Value::List(_) => self.expected("a mapping (lines of `key: value`)"),
        }
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fault> {
        self.deserialize_map(visitor)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fault> {
        match &self.0.value {
            Value::Text(text, _) => visitor.visit_enum(Choice { name: text, place: self.0, value: None }),
            Value::Map(entries) => match entries.as_slice() {
                [(key, value)] => visitor.visit_enum(Choice { name: &key.name, place: self.0, value: Some(value) }),
                _ => self.expected(&format!("exactly one of {}", variants.join(", "))),
            },
            Value::List(_) => self.expected(&format!("one of {}", variants.join(", "))),
        }
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        visitor.visit_unit()
    }

    serde::forward_to_deserialize_any! {
        i128 u128 f32 f64 char bytes byte_buf unit unit_struct tuple tuple_struct identifier
    }
}

struct Items<'t>(std::iter::Enumerate<std::slice::Iter<'t, Node>>);

impl<'de> de::SeqAccess<'de> for Items<'de> {
    type Error = Fault;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Fault> {
        let Some((index, node)) = self.0.next() else { return Ok(None) };
        seed.deserialize(Reader(node)).map(Some).map_err(|fault| fault.at_value(node).in_item(index))
    }
}

struct Entries<'t> {
    rest: std::slice::Iter<'t, (Key, Node)>,
    value: Option<&'t (Key, Node)>,
}

impl<'de> de::MapAccess<'de> for Entries<'de> {
    type Error = Fault;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Fault> {
        self.value = self.rest.next();
        let Some((key, _)) = self.value else { return Ok(None) };
        let name: StrDeserializer<'_, Fault> = key.name.as_str().into_deserializer();
        seed.deserialize(name).map(Some).map_err(|fault| fault.at(&key.place).under(&key.name))
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Fault> {
        let Some((key, node)) = self.value else {
            return Err(Fault::new("a value was asked for before its key"));
        };
        seed.deserialize(Reader(node)).map_err(|fault| fault.at_value(node).under(&key.name))
    }
}

struct Choice<'t> {
    name: &'t str,
    place: &'t Node,
    value: Option<&'t Node>,
}

impl<'de> de::EnumAccess<'de> for Choice<'de> {
    type Error = Fault;
    type Variant = Self;

    fn variant_seed<V: DeserializeSeed<'de>>(self, seed: V) -> Result<(V::Value, Self), Fault> {
        let name: StrDeserializer<'_, Fault> = self.name.into_deserializer();
        seed.deserialize(name).map(|value| (value, self.here())).map_err(|fault| fault.at_value(self.place))
    }
}

impl<'t> Choice<'t> {
    fn here(&self) -> Choice<'t> {
        Choice { name: self.name, place: self.place, value: self.value }
    }
}

impl<'de> de::VariantAccess<'de> for Choice<'de> {
    type Error = Fault;

    fn unit_variant(self) -> Result<(), Fault> {
        match self.value {
            None => Ok(()),
            Some(value) => {
                Err(Fault::here(&value.place, format!("`{}` stands alone: remove the braces and the value", self.name)))
            }
        }
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<T::Value, Fault> {
        match self.value {
            None => {
                Err(Fault::here(&self.place.place, format!("`{0}` needs a value: write {{{0}: VALUE}}", self.name)))
            }
            Some(value) => seed.deserialize(Reader(value)).map_err(|fault| fault.at_value(value).under(self.name)),
        }
    }

    fn tuple_variant<V: Visitor<'de>>(self, _: usize, _: V) -> Result<V::Value, Fault> {
        Err(Fault::here(&self.place.place, "the document has no such value"))
    }

    fn struct_variant<V: Visitor<'de>>(self, _: &'static [&'static str], _: V) -> Result<V::Value, Fault> {
        Err(Fault::here(&self.place.place, "the document has no such value"))
    }
}
