//! Values, one to a line.

/// An absent value, as redis-cli shows it.
const ABSENT: &[u8] = b"(nil)";

/// A value without newlines, so that it can be told from every other and from an absent one: newline, carriage return and
/// backslash are escaped, and so is the mark of an absent value. All other bytes stay as they are.
pub fn value(value: Option<&[u8]>) -> Vec<u8> {
    let Some(value) = value else {
        return ABSENT.to_vec();
    };
    let mut line = Vec::with_capacity(value.len());
    if value == ABSENT {
        line.push(b'\\');
    }
    for &byte in value {
        match byte {
            b'\n' => line.extend(b"\\n"),
            b'\r' => line.extend(b"\\r"),
            b'\\' => line.extend(b"\\\\"),
            other => line.push(other),
        }
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_is_one_line_and_different_from_every_other() {
        for (given, shown) in [
            (None, &b"(nil)"[..]),
            (Some(&b"(nil)"[..]), b"\\(nil)"),
            (Some(b"\\(nil)"), b"\\\\(nil)"),
            (Some(b""), b""),
            (Some(b"a b\tc"), b"a b\tc"),
            (Some(b"a\nb\r\n"), b"a\\nb\\r\\n"),
            (Some(b"a\\nb"), b"a\\\\nb"),
            (Some(b"\xff\xc3\xa4"), b"\xff\xc3\xa4"),
        ] {
            assert_eq!(value(given), shown);
        }
    }
}
