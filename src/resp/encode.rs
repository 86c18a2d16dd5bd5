//! Commands into wire form: an array of bulk strings, written straight into the buffer that will be sent.

/// Writes one command of known size behind what a buffer holds already.
pub(crate) struct Encoder<'a> {
    room: &'a mut [u8],
    at: usize,
}

impl<'a> Encoder<'a> {
    /// Makes room for `size` bytes; all of them must be written.
    #[inline]
    pub(crate) fn new(out: &'a mut Vec<u8>, size: usize) -> Self {
        let start = out.len();
        out.resize(start + size, 0);
        Encoder { room: &mut out[start..], at: 0 }
    }

    /// The head of a command of `argc` arguments.
    #[inline]
    pub(crate) fn head(&mut self, argc: usize) {
        self.length(b'*', argc);
    }

    /// An argument.
    #[inline]
    pub(crate) fn argument(&mut self, bytes: &[u8]) {
        self.length(b'$', bytes.len());
        self.raw(bytes);
        self.raw(b"\r\n");
    }

    /// One argument after the other.
    #[inline]
    pub(crate) fn arguments(&mut self, arguments: &[&[u8]]) {
        for bytes in arguments {
            self.argument(bytes);
        }
    }

    /// An argument that is a number, in decimal.
    #[inline]
    pub(crate) fn number(&mut self, number: usize) {
        if number < 10 {
            self.raw(&[b'$', b'1', b'\r', b'\n', b'0' + number as u8, b'\r', b'\n']);
        } else {
            self.argument(itoa::Buffer::new().format(number).as_bytes());
        }
    }

    /// Bytes that are in wire form already.
    #[inline(always)]
    pub(crate) fn raw(&mut self, bytes: &[u8]) {
        self.room[self.at..self.at + bytes.len()].copy_from_slice(bytes);
        self.at += bytes.len();
    }

    #[inline(always)]
    fn length(&mut self, sign: u8, length: usize) {
        if length < 10 {
            self.raw(&[sign, b'0' + length as u8, b'\r', b'\n']);
        } else {
            self.long_length(sign, length);
        }
    }

    fn long_length(&mut self, sign: u8, length: usize) {
        self.raw(&[sign]);
        self.raw(itoa::Buffer::new().format(length).as_bytes());
        self.raw(b"\r\n");
    }
}

impl Drop for Encoder<'_> {
    #[inline]
    fn drop(&mut self) {
        debug_assert_eq!(self.at, self.room.len(), "a command of another size than announced");
    }
}

/// The bytes that [`Encoder::head`] writes.
#[inline]
pub(crate) fn head_size(argc: usize) -> usize {
    3 + digits(argc)
}

/// The bytes that [`Encoder::argument`] writes for `length` bytes.
#[inline]
pub(crate) fn argument_size(length: usize) -> usize {
    5 + digits(length) + length
}

/// The bytes that [`Encoder::number`] writes.
#[inline]
pub(crate) fn number_size(number: usize) -> usize {
    argument_size(digits(number))
}

#[inline]
fn digits(number: usize) -> usize {
    if number < 10 { 1 } else { number.ilog10() as usize + 1 }
}

/// The bytes that [`Encoder::arguments`] writes.
#[inline]
pub(crate) fn arguments_size(arguments: &[&[u8]]) -> usize {
    arguments.iter().map(|bytes| argument_size(bytes.len())).sum()
}

/// Appends a whole command.
pub(crate) fn command(out: &mut Vec<u8>, arguments: &[&[u8]]) {
    let mut encoder = Encoder::new(out, head_size(arguments.len()) + arguments_size(arguments));
    encoder.head(arguments.len());
    encoder.arguments(arguments);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_an_array_of_bulk_strings() {
        let mut out = b"+".to_vec();
        command(&mut out, &[b"SET", b"", b"a\r\n\0b"]);
        assert_eq!(out, b"+*3\r\n$3\r\nSET\r\n$0\r\n\r\n$5\r\na\r\n\0b\r\n");
    }

    #[test]
    fn lengths_of_every_width() {
        for number in [0, 9, 10, 99, 100, 12_345, 1 << 40] {
            let mut out = Vec::new();
            let mut encoder = Encoder::new(&mut out, head_size(number) + number_size(number));
            encoder.head(number);
            encoder.number(number);
            drop(encoder);
            let text = number.to_string();
            assert_eq!(out, format!("*{text}\r\n${}\r\n{text}\r\n", text.len()).into_bytes());
        }
    }
}
