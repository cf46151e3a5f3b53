//! How a gateway on another host and its hub write what they say to each other: CBOR without names, in one visible
//! table ([`words`]) that the compiler holds complete. Both sides have the same [`VERSION`], or part with a sentence.
//!
//! The nodes of a hub write to each other in the same way.
//!
//! A structure is the array of its fields, an enum the array of its variant's number and fields. Nothing is reserved
//! for a length that is only claimed, so a frame never becomes much larger than its bytes.

mod words;

use std::sync::Arc;

use bytes::Bytes;
use minicbor::{Decoder, Encoder};

use crate::DecodeError;

/// The version of all that is said over a link. One more with every change of the table or of the frames.
pub const VERSION: u64 = 6;
/// Largest frame in bytes.
pub const FRAME_BYTES_MAX: usize = 2 * 1024 * 1024;

/// What can be said over a link.
pub trait Wire: Sized {
    /// Writes it.
    fn put(&self, writer: &mut Writer);
    /// Reads it.
    ///
    /// # Errors
    /// If the bytes are something else.
    fn get(reader: &mut Reader<'_>) -> Result<Self, DecodeError>;
}

/// The bytes of something.
pub fn encode(what: &impl Wire) -> Bytes {
    let mut writer = Writer(Encoder::new(Vec::new()));
    what.put(&mut writer);
    Bytes::from(writer.0.into_writer())
}

/// Reads something that takes all of the bytes.
///
/// # Errors
/// If the bytes are something else, or more.
pub fn decode<T: Wire>(bytes: &[u8]) -> Result<T, DecodeError> {
    let mut reader = Reader(Decoder::new(bytes));
    let what = T::get(&mut reader)?;
    match reader.0.position() {
        end if end == bytes.len() => Ok(what),
        _ => Err(reader.wrong("something follows")),
    }
}

/// Where things are written to. Writing to memory does not fail.
pub struct Writer(Encoder<Vec<u8>>);

impl Writer {
    /// Begins a structure of so many items.
    pub fn items(&mut self, count: usize) {
        let _ = self.0.array(count as u64);
    }
    /// The number of a variant.
    pub fn tag(&mut self, number: u64) {
        let _ = self.0.u64(number);
    }
    fn bytes(&mut self, bytes: &[u8]) {
        let _ = self.0.bytes(bytes);
    }
}

/// Where things are read from.
pub struct Reader<'a>(Decoder<'a>);

impl<'a> Reader<'a> {
    /// How many items a structure has.
    ///
    /// # Errors
    /// If there is none.
    pub fn items(&mut self) -> Result<u64, DecodeError> {
        let length = self.0.array().map_err(|error| self.wrong(error))?;
        length.ok_or_else(|| self.wrong("a structure says how many items it has"))
    }
    /// Begins a structure that has so many items.
    ///
    /// # Errors
    /// If it has more or less.
    pub fn expect(&mut self, count: u64) -> Result<(), DecodeError> {
        match self.items()? {
            found if found == count => Ok(()),
            found => Err(self.wrong(format!("{found} items in place of {count}"))),
        }
    }
    /// The number of a variant.
    ///
    /// # Errors
    /// If there is none.
    pub fn tag(&mut self) -> Result<u64, DecodeError> {
        u64::get(self)
    }
    /// What is wrong, with its place.
    pub fn wrong(&self, why: impl std::fmt::Display) -> DecodeError {
        DecodeError(format!("a frame of the link, byte {}: {why}", self.0.position()))
    }
    fn bytes(&mut self) -> Result<&'a [u8], DecodeError> {
        self.0.bytes().map_err(|error| self.wrong(error))
    }
}

/// Makes structures and enums [`Wire`]. A field or variant that is not listed does not compile.
#[macro_export]
macro_rules! wire {
    ($(struct $name:ty { $($field:ident),* $(,)? })*) => {$(
        impl $crate::link::Wire for $name {
            fn put(&self, writer: &mut $crate::link::Writer) {
                let Self { $($field),* } = self;
                writer.items([$(stringify!($field)),*].len());
                $($crate::link::Wire::put($field, writer);)*
            }
            fn get(reader: &mut $crate::link::Reader<'_>) -> Result<Self, $crate::DecodeError> {
                reader.expect([$(stringify!($field)),*].len() as u64)?;
                Ok(Self { $($field: $crate::link::Wire::get(reader)?),* })
            }
        }
    )*};
    ($(enum $name:ty {
        $($tag:literal = $variant:ident $(($($item:ident),*))? $({ $($field:ident),* })?),* $(,)?
    })*) => {$(
        impl $crate::link::Wire for $name {
            fn put(&self, writer: &mut $crate::link::Writer) {
                match self {$(
                    Self::$variant $(($($item),*))? $({ $($field),* })? => {
                        const ITEMS: &[&str] = &[$($(stringify!($item)),*)? $($(stringify!($field)),*)?];
                        writer.items(1 + ITEMS.len());
                        writer.tag($tag);
                        $($($crate::link::Wire::put($item, writer);)*)?
                        $($($crate::link::Wire::put($field, writer);)*)?
                    }
                )*}
            }
            fn get(reader: &mut $crate::link::Reader<'_>) -> Result<Self, $crate::DecodeError> {
                let items = reader.items()?;
                match (reader.tag()?, items) {
                    $(($tag, items) if items == 1 + {
                        const ITEMS: &[&str] = &[$($(stringify!($item)),*)? $($(stringify!($field)),*)?];
                        ITEMS.len() as u64
                    } => Ok(Self::$variant
                        $(($({ let $item = $crate::link::Wire::get(reader)?; $item }),*))?
                        $({ $($field: $crate::link::Wire::get(reader)?),* })?
                    ),)*
                    (tag, items) => Err(reader.wrong(format!("no variant {tag} with {items} items is known"))),
                }
            }
        }
    )*};
}

macro_rules! numbers {
    ($($number:ident)*) => {$(
        impl Wire for $number {
            fn put(&self, writer: &mut Writer) {
                let _ = writer.0.$number(*self);
            }
            fn get(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
                reader.0.$number().map_err(|error| reader.wrong(error))
            }
        }
    )*};
}
numbers! { u8 u16 u32 u64 i64 f64 bool }

impl Wire for String {
    fn put(&self, writer: &mut Writer) {
        let _ = writer.0.str(self);
    }
    fn get(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        reader.0.str().map(str::to_owned).map_err(|error| reader.wrong(error))
    }
}

impl Wire for Box<str> {
    fn put(&self, writer: &mut Writer) {
        let _ = writer.0.str(self);
    }
    fn get(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        reader.0.str().map(Into::into).map_err(|error| reader.wrong(error))
    }
}

impl Wire for Box<[u8]> {
    fn put(&self, writer: &mut Writer) {
        writer.bytes(self);
    }
    fn get(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        reader.bytes().map(Into::into)
    }
}

impl<T: Wire> Wire for Arc<T> {
    fn put(&self, writer: &mut Writer) {
        self.as_ref().put(writer);
    }
    fn get(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        T::get(reader).map(Arc::new)
    }
}

impl Wire for Bytes {
    fn put(&self, writer: &mut Writer) {
        writer.bytes(self);
    }
    fn get(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        reader.bytes().map(Bytes::copy_from_slice)
    }
}

impl Wire for () {
    fn put(&self, writer: &mut Writer) {
        writer.items(0);
    }
    fn get(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        reader.expect(0)
    }
}

impl<A: Wire, B: Wire> Wire for (A, B) {
    fn put(&self, writer: &mut Writer) {
        writer.items(2);
        self.0.put(writer);
        self.1.put(writer);
    }
    fn get(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        reader.expect(2)?;
        Ok((A::get(reader)?, B::get(reader)?))
    }
}

impl<T: Wire> Wire for Vec<T> {
    fn put(&self, writer: &mut Writer) {
        writer.items(self.len());
        self.iter().for_each(|item| item.put(writer));
    }
    fn get(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        (0..reader.items()?).map(|_| T::get(reader)).collect()
    }
}

impl<T: Wire> Wire for Option<T> {
    fn put(&self, writer: &mut Writer) {
        writer.items(usize::from(self.is_some()));
        self.iter().for_each(|item| item.put(writer));
    }
    fn get(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        match reader.items()? {
            0 => Ok(None),
            1 => T::get(reader).map(Some),
            more => Err(reader.wrong(format!("{more} items in place of one or none"))),
        }
    }
}

impl<T: Wire> Wire for Box<T> {
    fn put(&self, writer: &mut Writer) {
        self.as_ref().put(writer);
    }
    fn get(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        T::get(reader).map(Box::new)
    }
}

impl<T: Wire, E: Wire> Wire for Result<T, E> {
    fn put(&self, writer: &mut Writer) {
        writer.items(2);
        match self {
            Ok(value) => {
                writer.tag(0);
                value.put(writer);
            }
            Err(error) => {
                writer.tag(1);
                error.put(writer);
            }
        }
    }
    fn get(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        reader.expect(2)?;
        match reader.tag()? {
            0 => T::get(reader).map(Ok),
            1 => E::get(reader).map(Err),
            tag => Err(reader.wrong(format!("{tag} in place of 0 or 1"))),
        }
    }
}

#[cfg(test)]
mod tests;
