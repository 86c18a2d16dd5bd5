//! What a caller gives as keys and arguments: values of mixed types, each written as the text that the server sees.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::fmt::{self, Write};
use std::num::NonZero;
use std::rc::Rc;
use std::sync::Arc;

use crate::error::{Error, Result, Status};
use crate::resp::NoMemory;
use crate::resp::encode::{Arguments, Buffer};

/// What can be given as keys and arguments of a script, and as a command.
///
/// | given | is sent as |
/// |---|---|
/// | `&str`, `String`, `char`, `&[u8]`, `Vec<u8>`, `[u8; N]` | one argument: these bytes, whatever they are |
/// | an integer of any width | one argument in decimal: `-5` |
/// | `f32`, `f64` | one argument, the shortest text that reads back equal: `2.5`, `5`, `1e300`, `inf`, `-inf`, `nan` |
/// | `bool` | one argument, `1` or `0`. Lua takes the string `"0"` for true: compare it with `"1"` |
/// | a slice, array, `Vec` or set of what can be given | what each element gives, in order |
/// | a tuple of up to 12, also of mixed types | what each part gives, in order |
/// | a map | key, value, key, value, ... |
/// | `()` or an empty slice | nothing |
/// | a reference, `Box`, `Rc`, `Arc` or `Cow` of what can be given | the same |
///
/// A slice of `u8` is one string of bytes, never a list of numbers.
///
/// An `Option` cannot be given, and does not compile: were `None` left out, all arguments behind it would move
/// up, and a script would find them in the wrong places. Say what stands for nothing (`ttl.unwrap_or(0)`), or,
/// where the list may be shorter, give `ttl.as_slice()`.
///
/// ```
/// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/doctest.rs"));
/// # fn main() -> rs_script::Result<()> {
/// # let server = Server::start();
/// # let client = server.client();
/// use rs_script::Script;
///
/// client.command(("HSET", "user:1", "name", "Ada", "age", 36, "score", 2.5))?;
/// let echo = Script::new("return ARGV");
/// let sent: Vec<String> = client.call(&echo, "user:1", ("a", 5, 2.5, true, [1, 2], b"b\n"))?.to()?;
/// assert_eq!(sent, ["a", "5", "2.5", "1", "1", "2", "b\n"]);
/// # Ok(())
/// # }
/// ```
///
/// A type of the program's own writes its parts:
///
/// ```
/// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/doctest.rs"));
/// # fn main() -> rs_script::Result<()> {
/// # let server = Server::start();
/// # let client = server.client();
/// use rs_script::{Args, ToArgs};
///
/// struct Point { longitude: f64, latitude: f64 }
///
/// impl ToArgs for Point {
///     fn write_args(&self, args: &mut Args<'_>) {
///         (self.longitude, self.latitude).write_args(args);
///     }
/// }
///
/// let palermo = Point { longitude: 13.361389, latitude: 38.115556 };
/// client.command(("GEOADD", "sicily", palermo, "Palermo"))?;
/// # Ok(())
/// # }
/// ```
///
/// This does not compile:
///
/// ```compile_fail
/// use rs_script::ToArgs;
///
/// let ttl: Option<u32> = None;
/// ("SET", "k", "v", ttl).count_args();
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be given as keys or arguments",
    note = "given can be strings, bytes, numbers, `bool`, and slices, arrays, tuples and maps of these",
    note = "an `Option` cannot: say what stands for `None`, as in `.unwrap_or_default()`, or give `.as_slice()`, \
            which is no argument or one",
    note = "other types that have bytes are given as these: `value.as_ref() as &[u8]`"
)]
pub trait ToArgs {
    /// Appends each argument.
    fn write_args(&self, args: &mut Args<'_>);

    /// How many arguments [`ToArgs::write_args`] appends. What this says of itself writes them to nowhere, and
    /// counts; a call whose numbers do not agree ends with [`Status::InvalidArgument`].
    fn count_args(&self) -> usize {
        let mut args = Args { buffer: None, count: 0 };
        self.write_args(&mut args);
        args.count
    }

    #[doc(hidden)]
    fn write_slice(items: &[Self], args: &mut Args<'_>)
    where
        Self: Sized,
    {
        items.iter().for_each(|item| item.write_args(args));
    }

    #[doc(hidden)]
    fn count_slice(items: &[Self]) -> usize
    where
        Self: Sized,
    {
        items.iter().map(ToArgs::count_args).sum()
    }
}

/// The list that a [`ToArgs`] appends its arguments to.
///
/// ```
/// use rs_script::{Args, ToArgs};
///
/// struct Id(u64);
///
/// impl ToArgs for Id {
///     fn write_args(&self, args: &mut Args<'_>) {
///         args.push(format!("user:{}", self.0));
///     }
/// }
/// assert_eq!(Id(7).count_args(), 1);
/// ```
pub struct Args<'a> {
    /// Absent where they are only counted.
    buffer: Option<&'a mut Buffer>,
    count: usize,
}

impl Args<'_> {
    /// Appends one argument of exactly these bytes.
    ///
    /// ```
    /// use rs_script::{Args, ToArgs};
    ///
    /// struct Tagged<'a>(&'a str, &'a [u8]);
    ///
    /// impl ToArgs for Tagged<'_> {
    ///     fn write_args(&self, args: &mut Args<'_>) {
    ///         args.push(self.0);
    ///         args.push(self.1);
    ///     }
    /// }
    /// assert_eq!((Tagged("tag", b"\0"), 5).count_args(), 3);
    /// ```
    #[inline]
    pub fn push(&mut self, bytes: impl AsRef<[u8]>) {
        self.count += 1;
        if let Some(buffer) = &mut self.buffer {
            buffer.argument(bytes.as_ref());
        }
    }
}

impl fmt::Debug for Args<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Args({} so far)", self.count)
    }
}

/// What a caller has given, counted once.
pub(crate) struct Given<T> {
    value: T,
    count: usize,
}

impl<T: ToArgs> Given<T> {
    #[inline]
    pub(crate) fn new(value: T) -> Self {
        let count = value.count_args();
        Given { value, count }
    }
}

impl<T: ToArgs> Arguments for Given<T> {
    #[inline]
    fn count(&self) -> usize {
        self.count
    }

    #[inline]
    fn write(&self, buffer: &mut Buffer) -> Result<()> {
        let mut args = Args { buffer: Some(buffer), count: 0 };
        self.value.write_args(&mut args);
        if args.count == self.count { Ok(()) } else { Err(miscounted(self.count, args.count)) }
    }
}

/// A server would wait for the arguments that are missing, or take what is too much for the next command.
#[cold]
fn miscounted(counted: usize, written: usize) -> Error {
    let text = format!(
        "a type's ToArgs counts {counted} arguments and writes {written}; count_args must agree with write_args. \
         Nothing was sent"
    );
    Error::new(Status::InvalidArgument, text)
}

/// A list that is filled bit by bit, in wire form.
#[derive(Clone, Debug, Default)]
pub(crate) struct List {
    wire: Buffer,
    count: usize,
}

impl List {
    pub(crate) fn push(&mut self, arguments: impl ToArgs) {
        let mut args = Args { buffer: Some(&mut self.wire), count: 0 };
        arguments.write_args(&mut args);
        self.count += args.count;
    }
}

impl Arguments for List {
    fn count(&self) -> usize {
        self.count
    }

    fn write(&self, buffer: &mut Buffer) -> Result<()> {
        // It has fewer than it counts where there was no memory for one.
        self.wire.check().map_err(|NoMemory| Error::no_memory_to_send())?;
        buffer.raw(self.wire.as_slice());
        Ok(())
    }
}

/// A type that is one argument, and whose bytes are there.
macro_rules! bytes {
    ($($type:ty),*) => {$(
        impl ToArgs for $type {
            #[inline]
            fn write_args(&self, args: &mut Args<'_>) {
                args.push(self);
            }

            #[inline]
            fn count_args(&self) -> usize {
                1
            }
        }
    )*};
}

bytes!(str, String);

macro_rules! integers {
    ($($type:ty),*) => {$(
        impl ToArgs for $type {
            #[inline]
            fn write_args(&self, args: &mut Args<'_>) {
                args.push(itoa::Buffer::new().format(*self));
            }

            #[inline]
            fn count_args(&self) -> usize {
                1
            }
        }

        impl ToArgs for NonZero<$type> {
            #[inline]
            fn write_args(&self, args: &mut Args<'_>) {
                self.get().write_args(args);
            }

            #[inline]
            fn count_args(&self) -> usize {
                1
            }
        }
    )*};
}

integers!(i8, i16, i32, i64, i128, isize, u16, u32, u64, u128, usize);

/// Alone it is a number, in a row it is a string of bytes.
impl ToArgs for u8 {
    #[inline]
    fn write_args(&self, args: &mut Args<'_>) {
        args.push(itoa::Buffer::new().format(*self));
    }

    #[inline]
    fn count_args(&self) -> usize {
        1
    }

    #[inline]
    fn write_slice(items: &[u8], args: &mut Args<'_>) {
        args.push(items);
    }

    #[inline]
    fn count_slice(_: &[u8]) -> usize {
        1
    }
}

macro_rules! floats {
    ($($type:ty),*) => {$(
        impl ToArgs for $type {
            fn write_args(&self, args: &mut Args<'_>) {
                let mut text = Text::default();
                let size = self.abs();
                // Both forms are the shortest that read back as the same number; the texts of numbers fit.
                let _ = if self.is_nan() {
                    text.write_str("nan")
                } else if size == 0.0 || size.is_infinite() || (1e-5..1e17).contains(&size) {
                    write!(text, "{self}")
                } else {
                    write!(text, "{self:e}")
                };
                args.push(text.as_bytes());
            }

            #[inline]
            fn count_args(&self) -> usize {
                1
            }
        }
    )*};
}

floats!(f32, f64);

/// Room for the text of any number.
#[derive(Default)]
struct Text {
    bytes: [u8; 32],
    len: usize,
}

impl Text {
    fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

impl Write for Text {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let place = self.bytes.get_mut(self.len..self.len + text.len()).ok_or(fmt::Error)?;
        place.copy_from_slice(text.as_bytes());
        self.len += text.len();
        Ok(())
    }
}

impl ToArgs for bool {
    #[inline]
    fn write_args(&self, args: &mut Args<'_>) {
        args.push(if *self { "1" } else { "0" });
    }

    #[inline]
    fn count_args(&self) -> usize {
        1
    }
}

impl ToArgs for char {
    fn write_args(&self, args: &mut Args<'_>) {
        args.push(&*self.encode_utf8(&mut [0; 4]));
    }

    fn count_args(&self) -> usize {
        1
    }
}

impl<T: ToArgs> ToArgs for [T] {
    #[inline]
    fn write_args(&self, args: &mut Args<'_>) {
        T::write_slice(self, args);
    }

    #[inline]
    fn count_args(&self) -> usize {
        T::count_slice(self)
    }
}

impl<T: ToArgs, const N: usize> ToArgs for [T; N] {
    #[inline]
    fn write_args(&self, args: &mut Args<'_>) {
        T::write_slice(self, args);
    }

    #[inline]
    fn count_args(&self) -> usize {
        T::count_slice(self)
    }
}

impl<T: ToArgs> ToArgs for Vec<T> {
    #[inline]
    fn write_args(&self, args: &mut Args<'_>) {
        T::write_slice(self, args);
    }

    #[inline]
    fn count_args(&self) -> usize {
        T::count_slice(self)
    }
}

/// What points to something that can be given.
macro_rules! pointers {
    ($([$($generics:tt)*] $type:ty),*) => {$(
        impl<$($generics)*> ToArgs for $type {
            #[inline]
            fn write_args(&self, args: &mut Args<'_>) {
                (**self).write_args(args);
            }

            #[inline]
            fn count_args(&self) -> usize {
                (**self).count_args()
            }
        }
    )*};
}

pointers!(
    [T: ToArgs + ?Sized] &T,
    [T: ToArgs + ?Sized] &mut T,
    [T: ToArgs + ?Sized] Box<T>,
    [T: ToArgs + ?Sized] Rc<T>,
    [T: ToArgs + ?Sized] Arc<T>,
    [T: ToArgs + ToOwned + ?Sized] Cow<'_, T>
);

macro_rules! lists {
    ($([$($generics:tt)*] $type:ty),*) => {$(
        impl<$($generics)*> ToArgs for $type {
            fn write_args(&self, args: &mut Args<'_>) {
                self.iter().for_each(|item| item.write_args(args));
            }
        }
    )*};
}

lists!([T: ToArgs] BTreeSet<T>, [T: ToArgs, S] HashSet<T, S>);

macro_rules! maps {
    ($([$($generics:tt)*] $type:ty),*) => {$(
        impl<$($generics)*> ToArgs for $type {
            fn write_args(&self, args: &mut Args<'_>) {
                self.iter().for_each(|(key, value)| {
                    key.write_args(args);
                    value.write_args(args);
                });
            }
        }
    )*};
}

maps!([K: ToArgs, V: ToArgs] BTreeMap<K, V>, [K: ToArgs, V: ToArgs, S] HashMap<K, V, S>);

macro_rules! tuples {
    ($($part:ident)*) => {
        impl<$($part: ToArgs),*> ToArgs for ($($part,)*) {
            #[inline]
            #[allow(non_snake_case, unused_variables, reason = "each part is named by its type; there may be none")]
            fn write_args(&self, args: &mut Args<'_>) {
                let ($($part,)*) = self;
                $($part.write_args(args);)*
            }

            #[inline]
            #[allow(non_snake_case, reason = "each part is named by its type")]
            fn count_args(&self) -> usize {
                let ($($part,)*) = self;
                0 $(+ $part.count_args())*
            }
        }
    };
}

tuples!();
tuples!(A);
tuples!(A B);
tuples!(A B C);
tuples!(A B C D);
tuples!(A B C D E);
tuples!(A B C D E F);
tuples!(A B C D E F G);
tuples!(A B C D E F G H);
tuples!(A B C D E F G H I);
tuples!(A B C D E F G H I J);
tuples!(A B C D E F G H I J K);
tuples!(A B C D E F G H I J K L);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resp::encode::arguments;

    /// The arguments as texts.
    fn sent(value: impl ToArgs) -> Vec<String> {
        let mut buffer = Buffer::default();
        let given = Given::new(value);
        given.write(&mut buffer).expect("a list");
        let sent: Vec<String> =
            arguments(buffer.as_slice()).map(|bytes| bytes.escape_ascii().to_string()).collect();
        assert_eq!(sent.len(), given.count());
        sent
    }

    #[test]
    fn each_type_has_its_text() {
        assert_eq!(sent(("a", String::from("b"), 'é', "")), ["a", "b", r"\xc3\xa9", ""]);
        assert_eq!(
            sent((b"\xff\0", &b"x"[..], vec![1u8, 2], [b'y'; 2])),
            [r"\xff\x00", "x", r"\x01\x02", "yy"]
        );
        assert_eq!(
            sent((5u8, i8::MIN, u64::MAX, i128::MIN, NonZero::<u16>::MIN)),
            ["5", "-128", "18446744073709551615", "-170141183460469231731687303715884105728", "1"]
        );
        assert_eq!(sent([true, false]), ["1", "0"]);
        assert!(
            sent(()).is_empty() && sent(&[0u32; 0]).is_empty() && sent(None::<u32>.as_slice()).is_empty()
        );
        assert_eq!(sent(Some(7).as_slice()), ["7"]);
    }

    #[test]
    fn floats_are_the_shortest_text_that_reads_back() {
        let shown = sent([0.0, -0.0, 5.0, 2.5, -0.1, 1e16, 1e17, 1e300, 5e-324, 1e-5, 1e-6, f64::MAX]);
        let expected = [
            "0",
            "-0",
            "5",
            "2.5",
            "-0.1",
            "10000000000000000",
            "1e17",
            "1e300",
            "5e-324",
            "0.00001",
            "1e-6",
            "1.7976931348623157e308",
        ];
        assert_eq!(shown, expected);
        assert_eq!(
            sent([f64::INFINITY, f64::NEG_INFINITY, f64::NAN, -f64::NAN]),
            ["inf", "-inf", "nan", "nan"]
        );
        assert_eq!(sent((0.1f32, f32::MAX)), ["0.1", "3.4028235e38"]);
        let mut rng = fastrand::Rng::with_seed(5);
        for _ in 0..if cfg!(miri) { 100 } else { 20_000 } {
            let number = f64::from_bits(rng.u64(..));
            if !number.is_nan() {
                assert_eq!(sent(number)[0].parse::<f64>().map(f64::to_bits), Ok(number.to_bits()));
            }
            let number = rng.f64() * 10f64.powi(rng.i32(-8..20)) * if rng.bool() { 1.0 } else { -1.0 };
            assert_eq!(sent(number)[0].parse::<f64>(), Ok(number));
        }
    }

    #[test]
    fn lists_tuples_and_maps_give_what_is_in_them() {
        assert_eq!(
            sent(("a", 5, 2.5, ("b", [1, 2]), vec![vec!["c"], vec![]])),
            ["a", "5", "2.5", "b", "1", "2", "c"]
        );
        assert_eq!(sent(BTreeMap::from([("k", 1), ("l", 2)])), ["k", "1", "l", "2"]);
        assert_eq!(sent(HashMap::<_, _>::from_iter([("k", 1.5)])), ["k", "1.5"]);
        assert_eq!(sent((BTreeSet::from([3, 1]), HashSet::<_>::from_iter(["x"]))), ["1", "3", "x"]);
        assert_eq!(
            sent((Box::new(1), Rc::new("r"), Arc::<str>::from("s"), Cow::from("t"), &&mut 2)),
            ["1", "r", "s", "t", "2"]
        );
        assert_eq!(sent((1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12)).len(), 12);
        let unsized_ones: [&dyn ToArgs; 2] = [&"a", &5];
        assert_eq!(sent(unsized_ones), ["a", "5"]);
    }

    #[test]
    fn a_type_that_counts_wrongly_is_refused() {
        struct Wrong;
        impl ToArgs for Wrong {
            fn write_args(&self, args: &mut Args<'_>) {
                args.push("one");
            }

            fn count_args(&self) -> usize {
                2
            }
        }
        let error = Given::new(Wrong).write(&mut Buffer::default()).expect_err("one is not two");
        assert_eq!(error.status(), Status::InvalidArgument);
        assert!(error.is_not_executed(), "{error}");
    }

    #[test]
    fn a_list_takes_them_one_after_the_other() {
        let mut list = List::default();
        list.push("a");
        list.push((1, 2));
        let mut buffer = Buffer::default();
        list.write(&mut buffer).expect("a list");
        assert_eq!(arguments(buffer.as_slice()).collect::<Vec<_>>(), [b"a", b"1", b"2"]);
        assert_eq!(list.count(), 3);
    }
}
