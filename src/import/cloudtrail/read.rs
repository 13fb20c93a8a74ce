//! Reads one file, one record at a time: `{"Records":[…]}`, a bare array, or one record.

use std::fmt;
use std::io::Read;
use std::marker::PhantomData;

use serde::Deserialize;
use serde::de::{
    DeserializeSeed, Deserializer, Error, IgnoredAny, IntoDeserializer, MapAccess, SeqAccess, Visitor,
    value::{MapAccessDeserializer, StringDeserializer},
};

use super::record::{FIELDS, ObjectVisitor, Record};

/// Takes the records of a file, each with its index in it, from 0.
pub(super) type Sink<'a> = &'a mut dyn FnMut(u64, Record);

/// Why a file, or its rest, could not be read. Holds nothing of what stands in it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum BadFile {
    /// It ends before its JSON does.
    #[error("is cut off behind record {0}; the records before were used")]
    CutOff(u64),
    /// It cannot be read on, or unpacked.
    #[error("cannot be read on: {0}; the records before were used")]
    Io(std::io::ErrorKind),
    /// It is no JSON.
    #[error("is not JSON in line {line}, column {column}; the records before were used")]
    NotJson {
        /// From 1.
        line: usize,
        /// From 1.
        column: usize,
    },
    /// It is JSON, but of something else.
    #[error("is not CloudTrail: neither an object with `Records`, nor a list of records, nor a record")]
    NotCloudTrail,
    /// Some items of its list are no records.
    #[error(
        "holds {count} items that are not records of CloudTrail, the first at {first}; the records were used"
    )]
    NotRecords {
        /// How many.
        count: u64,
        /// The index of the first.
        first: u64,
    },
}

/// Reads a file to its end, or as far as it goes.
///
/// # Errors
/// [`BadFile`]; the records before the place that is wrong were handed over.
pub(super) fn records(from: impl Read, sink: Sink<'_>) -> Result<(), BadFile> {
    let mut reading = Reading { sink, next: 0, others: 0, first_other: 0, recognised: false };
    let mut json = serde_json::Deserializer::from_reader(from);
    let read = Top(&mut reading).deserialize(&mut json).and_then(|()| json.end());
    if let Err(e) = read {
        return Err(reading.classify(&e));
    }
    match (reading.recognised, reading.others) {
        (true, 0) => Ok(()),
        (true, others) if others < reading.next => {
            Err(BadFile::NotRecords { count: others, first: reading.first_other })
        }
        _ => Err(BadFile::NotCloudTrail),
    }
}

struct Reading<'a> {
    sink: Sink<'a>,
    /// Items met, records or not.
    next: u64,
    /// Items that are no records.
    others: u64,
    first_other: u64,
    /// Whether the file has one of the three forms.
    recognised: bool,
}

impl Reading<'_> {
    fn take(&mut self, record: Option<Record>) {
        match record {
            Some(record) if record.is_one() => (self.sink)(self.next, record),
            _ => {
                if self.others == 0 {
                    self.first_other = self.next;
                }
                self.others += 1;
            }
        }
        self.next += 1;
    }

    fn classify(&self, error: &serde_json::Error) -> BadFile {
        use serde_json::error::Category;
        match error.classify() {
            Category::Eof => BadFile::CutOff(self.next),
            // The decoder of gzip says "unexpected end" where its input is cut off.
            Category::Io if error.io_error_kind() == Some(std::io::ErrorKind::UnexpectedEof) => {
                BadFile::CutOff(self.next)
            }
            Category::Io => BadFile::Io(error.io_error_kind().unwrap_or(std::io::ErrorKind::Other)),
            Category::Syntax => BadFile::NotJson { line: error.line(), column: error.column() },
            Category::Data => BadFile::NotCloudTrail,
        }
    }
}

/// The whole file.
struct Top<'r, 'a>(&'r mut Reading<'a>);

impl<'de> DeserializeSeed<'de> for Top<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<(), D::Error> {
        from.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Top<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("records of CloudTrail")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<(), A::Error> {
        Records(self.0).visit_seq(seq)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(key) = map.next_key::<String>()? {
            if key == "Records" {
                map.next_value_seed(Records(self.0))?;
            } else if FIELDS.contains(&key.as_str()) {
                let whole = Rejoined { first: Some(key), rest: map };
                let record = Record::deserialize(MapAccessDeserializer::new(whole))?;
                if !record.is_one() {
                    return Err(A::Error::custom("not a record"));
                }
                self.0.recognised = true;
                self.0.take(Some(record));
                return Ok(());
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(())
    }
}

/// The list of records.
struct Records<'r, 'a>(&'r mut Reading<'a>);

impl<'de> DeserializeSeed<'de> for Records<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<(), D::Error> {
        from.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for Records<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of records")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        self.0.recognised = true;
        while let Some(record) = seq.next_element_seed(Item)? {
            self.0.take(record);
        }
        Ok(())
    }
}

/// One item of the list: a record, or something else.
struct Item;

impl<'de> DeserializeSeed<'de> for Item {
    type Value = Option<Record>;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<Option<Record>, D::Error> {
        from.deserialize_any(ObjectVisitor(PhantomData))
    }
}

/// An object whose first key was already read, to see what it is.
struct Rejoined<A> {
    first: Option<String>,
    rest: A,
}

impl<'de, A: MapAccess<'de>> MapAccess<'de> for Rejoined<A> {
    type Error = A::Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, A::Error> {
        match self.first.take() {
            Some(key) => {
                let key: StringDeserializer<A::Error> = key.into_deserializer();
                seed.deserialize(key).map(Some)
            }
            None => self.rest.next_key_seed(seed),
        }
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, A::Error> {
        self.rest.next_value_seed(seed)
    }
}
