//! Commands into wire form: an array of bulk strings, written straight into the buffer that will be sent.

/// Appends the head of a command of `argc` arguments.
#[inline]
pub(crate) fn head(out: &mut Vec<u8>, argc: usize) {
    length(out, b'*', argc);
}

/// Appends one argument.
#[inline]
pub(crate) fn argument(out: &mut Vec<u8>, bytes: &[u8]) {
    // Once for all three parts.
    out.reserve(bytes.len() + LENGTH_MAX + 2);
    length(out, b'$', bytes.len());
    out.extend_from_slice(bytes);
    out.extend_from_slice(b"\r\n");
}

/// Appends one argument, a number in decimal.
#[inline]
pub(crate) fn number(out: &mut Vec<u8>, number: usize) {
    if number < 10 {
        out.extend_from_slice(&[b'$', b'1', b'\r', b'\n', b'0' + number as u8, b'\r', b'\n']);
    } else {
        argument(out, itoa::Buffer::new().format(number).as_bytes());
    }
}

/// Appends a whole command.
pub(crate) fn command(out: &mut Vec<u8>, arguments: &[&[u8]]) {
    head(out, arguments.len());
    for bytes in arguments {
        argument(out, bytes);
    }
}

/// A sign, twenty digits, CR and LF.
const LENGTH_MAX: usize = 23;

#[inline(always)]
fn length(out: &mut Vec<u8>, sign: u8, length: usize) {
    if length < 10 {
        out.extend_from_slice(&[sign, b'0' + length as u8, b'\r', b'\n']);
    } else {
        long_length(out, sign, length);
    }
}

fn long_length(out: &mut Vec<u8>, sign: u8, length: usize) {
    out.push(sign);
    out.extend_from_slice(itoa::Buffer::new().format(length).as_bytes());
    out.extend_from_slice(b"\r\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_an_array_of_bulk_strings() {
        let mut out = Vec::new();
        command(&mut out, &[b"SET", b"", b"a\r\n\0b"]);
        assert_eq!(out, b"*3\r\n$3\r\nSET\r\n$0\r\n\r\n$5\r\na\r\n\0b\r\n");
    }

    #[test]
    fn lengths_of_every_width() {
        for count in [0, 9, 10, 99, 100, 12_345, 1 << 40] {
            let mut out = Vec::new();
            head(&mut out, count);
            assert_eq!(out, format!("*{count}\r\n").into_bytes());
        }
        let mut out = Vec::new();
        number(&mut out, 100_000);
        assert_eq!(out, b"$6\r\n100000\r\n");
    }
}
