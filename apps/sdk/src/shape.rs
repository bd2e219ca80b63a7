//! Shapes of tables: printed by `--schema`, compared by `morphctl schema diff`.
//!
//! A value's shape is found by asking its type what it would read. Each run of its `Deserialize` follows one path into
//! the value and notes what is requested at its end; the result of the run does not matter. So nothing has to be
//! declared twice. Variants of an enum and parts of a tuple are not looked into.

use std::cell::Cell;
use std::fmt;

use morph_api::description;
use serde::de::{self, DeserializeOwned, DeserializeSeed, Visitor, value::StrDeserializer};
use serde::forward_to_deserialize_any;
use serde_json::{Value, json};

use crate::table_rows::{Row, TableRows};
use crate::{Key, Table};

/// Greatest depth that is looked into: types may contain themselves.
const DEPTH: usize = 8;
/// Keys of maps that are tried, as a value is only read behind a key that its type accepts.
const KEYS: [&str; 5] = [
    "0",
    "02:00:00:00:00:01",
    "10.0.0.1",
    "::1",
    "0000000000000001",
];

/// Shape of a table's rows.
///
/// ```
/// use morph_sdk::{Dpid, Table};
///
/// const NAMES: Table<Dpid, String> = Table::new("names");
///
/// let shape = NAMES.shape();
/// assert_eq!((shape.name.as_str(), shape.key.as_str()), ("names", "Dpid"));
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct TableShape {
    /// App that owns the table; `None` for the app's own.
    pub app: Option<&'static str>,
    /// Name of the table.
    pub name: String,
    /// Rust type of the keys.
    pub key: String,
    /// Rust type of the values.
    pub value: String,
    /// JSON form of a value: a word, or an object with one of `list`, `map`, `fields`, `optional`, `variants`, `tuple`.
    pub shape: Value,
    /// Rows of the table in memory; none yet.
    pub(crate) rows: TableRows,
}

impl<K: Key, V: Row> Table<K, V> {
    /// Shape of this table, for `App::tables`, or for `App::reads` where it is another app's.
    pub fn shape(&self) -> TableShape {
        TableShape {
            app: self.app(),
            name: self.name().to_owned(),
            key: short(std::any::type_name::<K>()),
            value: short(std::any::type_name::<V>()),
            shape: shape_of::<V>(),
            rows: TableRows::typed::<K, V>(self.name()),
        }
    }
}

impl From<TableShape> for description::TableShape {
    fn from(shape: TableShape) -> Self {
        description::TableShape {
            app: shape.app.map(str::to_owned),
            name: shape.name,
            key: shape.key,
            value: shape.value,
            shape: shape.shape,
        }
    }
}

/// Name of a type without its modules.
fn short(name: &str) -> String {
    let mut out = String::new();
    let mut rest = name;
    while let Some(at) = rest.find(|c: char| !(c.is_alphanumeric() || c == '_' || c == ':')) {
        let (path, more) = rest.split_at(at);
        out.push_str(path.rsplit("::").next().unwrap_or(path));
        let mut letters = more.chars();
        out.extend(letters.next());
        rest = letters.as_str();
    }
    out.push_str(rest.rsplit("::").next().unwrap_or(rest));
    out
}

/// One step of a path into a value.
#[derive(Debug, Clone, Copy)]
enum Segment {
    Optional,
    Element,
    /// The value behind one of [`KEYS`].
    Key(&'static str),
    Field(&'static str),
}

/// Kind of value that a type requests.
#[derive(Debug, Clone, Copy)]
enum Request {
    Word(&'static str),
    Optional,
    List,
    Map,
    Fields(&'static [&'static str]),
    Variants(&'static [&'static str]),
    Tuple(usize),
}

fn shape_of<V: DeserializeOwned>() -> Value {
    let request_at = |path: &[Segment]| {
        let request = Cell::new(None);
        let probe = Probe {
            path,
            request: &request,
        };
        let _ = V::deserialize(probe);
        request.get()
    };
    shape_at(&request_at, &mut Vec::new())
}

fn shape_at(request_at: &impl Fn(&[Segment]) -> Option<Request>, path: &mut Vec<Segment>) -> Value {
    let any = json!("any");
    let Some(request) = request_at(path).filter(|_| path.len() < DEPTH) else {
        return any;
    };
    let mut inside = |segment| {
        path.push(segment);
        let shape = shape_at(request_at, path);
        path.pop();
        shape
    };
    match request {
        Request::Word(word) => json!(word),
        Request::Optional => json!({ "optional": inside(Segment::Optional) }),
        Request::List => json!({ "list": inside(Segment::Element) }),
        Request::Map => {
            let values = KEYS.map(|key| inside(Segment::Key(key)));
            let value = values.into_iter().find(|shape| *shape != any);
            json!({ "map": value.unwrap_or(any) })
        }
        Request::Fields(names) => {
            let fields = names.iter().map(|name| {
                let name: &'static str = name;
                (name.to_owned(), inside(Segment::Field(name)))
            });
            json!({ "fields": fields.collect::<serde_json::Map<_, _>>() })
        }
        Request::Variants(names) => json!({ "variants": names }),
        Request::Tuple(parts) => json!({ "tuple": parts }),
    }
}

/// End of a run, always by an error.
#[derive(Debug)]
struct Stop;

impl fmt::Display for Stop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("stop")
    }
}

impl std::error::Error for Stop {}

impl de::Error for Stop {
    fn custom<T: fmt::Display>(_: T) -> Self {
        Stop
    }
}

/// Deserializer that follows a path, and notes what is requested at its end.
#[derive(Clone, Copy)]
struct Probe<'a> {
    path: &'a [Segment],
    request: &'a Cell<Option<Request>>,
}

impl<'a> Probe<'a> {
    /// Follows the next step. At the end of the path it notes the request.
    fn next(self, request: Request) -> Result<(Segment, Probe<'a>), Stop> {
        match self.path.split_first() {
            Some((segment, path)) => Ok((*segment, Probe { path, ..self })),
            None => {
                self.request.set(Some(request));
                Err(Stop)
            }
        }
    }

    fn word(self, word: &'static str) -> Stop {
        let _ = self.next(Request::Word(word));
        Stop
    }
}

macro_rules! words {
    ($($method:ident: $word:literal)+) => {$(
        fn $method<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Stop> {
            Err(self.word($word))
        }
    )+};
}

impl<'de> de::Deserializer<'de> for Probe<'_> {
    type Error = Stop;

    words! {
        deserialize_any: "any" deserialize_bool: "bool" deserialize_i8: "i8" deserialize_i16: "i16" deserialize_i32: "i32"
        deserialize_i64: "i64" deserialize_i128: "i128" deserialize_u8: "u8" deserialize_u16: "u16" deserialize_u32: "u32"
        deserialize_u64: "u64" deserialize_u128: "u128" deserialize_f32: "f32" deserialize_f64: "f64"
        deserialize_char: "text" deserialize_str: "text" deserialize_string: "text" deserialize_bytes: "bytes"
        deserialize_byte_buf: "bytes" deserialize_unit: "null" deserialize_identifier: "text"
        deserialize_ignored_any: "any"
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Stop> {
        let (_, next) = self.next(Request::Optional)?;
        visitor.visit_some(next)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Stop> {
        let (_, next) = self.next(Request::List)?;
        visitor.visit_seq(Single(None, next))
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Stop> {
        self.inside(Request::Map, visitor)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Stop> {
        self.inside(Request::Fields(fields), visitor)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Stop> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: V,
    ) -> Result<V::Value, Stop> {
        Err(self.word("null"))
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, parts: usize, _: V) -> Result<V::Value, Stop> {
        self.next(Request::Tuple(parts)).and(Err(Stop))
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        parts: usize,
        _: V,
    ) -> Result<V::Value, Stop> {
        self.next(Request::Tuple(parts)).and(Err(Stop))
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        variants: &'static [&'static str],
        _: V,
    ) -> Result<V::Value, Stop> {
        self.next(Request::Variants(variants)).and(Err(Stop))
    }
}

impl Probe<'_> {
    fn inside<'de, V: Visitor<'de>>(self, request: Request, visitor: V) -> Result<V::Value, Stop> {
        let (segment, next) = self.next(request)?;
        let key = match segment {
            Segment::Key(key) | Segment::Field(key) => key,
            Segment::Optional | Segment::Element => return Err(Stop),
        };
        visitor.visit_map(Single(Some(key), next))
    }
}

/// One element, behind a key where there is one.
struct Single<'a>(Option<&'static str>, Probe<'a>);

impl<'de> de::SeqAccess<'de> for Single<'_> {
    type Error = Stop;

    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, Stop> {
        seed.deserialize(self.1).map(Some)
    }
}

impl<'de> de::MapAccess<'de> for Single<'_> {
    type Error = Stop;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, Stop> {
        let Some(key) = self.0.take() else {
            return Ok(None);
        };
        seed.deserialize(KeyText(key)).map(Some)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Stop> {
        seed.deserialize(self.1)
    }
}

/// Key of a map, which is text in JSON whatever its type is.
struct KeyText(&'static str);

macro_rules! numbers {
    ($($method:ident $visit:ident)+) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Stop> {
            visitor.$visit(self.0.parse().map_err(|_| Stop)?)
        }
    )+};
}

impl<'de> de::Deserializer<'de> for KeyText {
    type Error = Stop;

    numbers! {
        deserialize_u8 visit_u8 deserialize_u16 visit_u16 deserialize_u32 visit_u32 deserialize_u64 visit_u64
        deserialize_i8 visit_i8 deserialize_i16 visit_i16 deserialize_i32 visit_i32 deserialize_i64 visit_i64
    }

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Stop> {
        StrDeserializer::<Stop>::new(self.0).deserialize_any(visitor)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Stop> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Stop> {
        let first = variants.first().copied().unwrap_or(self.0);
        StrDeserializer::<Stop>::new(first).deserialize_enum(name, variants, visitor)
    }

    forward_to_deserialize_any! {
        bool i128 u128 f32 f64 char str string bytes byte_buf option unit unit_struct seq tuple tuple_struct map struct
        identifier ignored_any
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde::{Deserialize, Serialize};

    use super::*;
    use crate::{Dpid, MacAddr};

    #[derive(Clone, PartialEq, Serialize, Deserialize)]
    #[allow(dead_code)]
    struct Host {
        port: u32,
        mac: MacAddr,
        at: Option<Place>,
        tags: Vec<String>,
        ways: BTreeMap<Dpid, Vec<u16>>,
        by_number: BTreeMap<u8, bool>,
        kind: Kind,
        pair: (u8, u8),
        anything: Value,
    }

    #[derive(Clone, PartialEq, Serialize, Deserialize)]
    #[allow(dead_code)]
    struct Place {
        next: Option<Box<Place>>,
        number: Number,
    }

    #[derive(Clone, PartialEq, Serialize, Deserialize)]
    #[allow(dead_code)]
    struct Number(u64);

    #[derive(Clone, PartialEq, Serialize, Deserialize)]
    #[serde(rename_all = "lowercase")]
    #[allow(dead_code)]
    enum Kind {
        Host,
        Link(u8),
    }

    const ROWS: Table<(Dpid, u32), Host> = Table::new("rows");

    #[test]
    fn a_shape_is_what_the_type_reads() {
        let table = ROWS.shape();
        let names = [&table.name, &table.key, &table.value].map(String::as_str);
        assert_eq!(names, ["rows", "(Dpid, u32)", "Host"]);
        let fields = &table.shape["fields"];
        assert_eq!(fields["port"], json!("u32"));
        assert_eq!(fields["mac"], json!("text"));
        assert_eq!(fields["tags"], json!({"list": "text"}));
        assert_eq!(fields["ways"], json!({"map": {"list": "u16"}}));
        assert_eq!(fields["by_number"], json!({"map": "bool"}));
        assert_eq!(fields["kind"], json!({"variants": ["host", "link"]}));
        assert_eq!(fields["pair"], json!({"tuple": 2}));
        assert_eq!(fields["anything"], json!("any"));
        assert_eq!(fields["at"]["optional"]["fields"]["number"], json!("u64"));
    }

    #[test]
    fn names_of_types_lose_their_modules() {
        let name = "alloc::collections::BTreeMap<(a::b::Dpid, u32), core::option::Option<c::D>>";
        assert_eq!(short(name), "BTreeMap<(Dpid, u32), Option<D>>");
    }
}
