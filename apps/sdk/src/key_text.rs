//! Writing and reading of a key's parts.

use std::borrow::Cow;

/// Text of a key while it is written.
#[derive(Debug)]
pub struct KeyText {
    text: String,
    /// Number of enclosing keys that have further parts behind the present one.
    followed: u32,
}

impl Default for KeyText {
    fn default() -> Self {
        KeyText {
            // Room for a datapath id and two hardware addresses.
            text: String::with_capacity(52),
            followed: 0,
        }
    }
}

impl KeyText {
    /// Appends a part that is a text.
    pub fn text(&mut self, part: &str) {
        if self.followed == 0 {
            self.text.push_str(part);
            return;
        }
        for (at, letter) in part.char_indices() {
            match letter {
                '/' => self.text.push_str("%2F"),
                '%' if escape_of(&part[at..]).is_some() => self.text.push_str("%25"),
                letter => self.text.push(letter),
            }
        }
    }

    /// Appends a part that others follow, with the `/` behind it.
    pub fn lead(&mut self, write: impl FnOnce(&mut KeyText)) {
        self.followed += 1;
        write(self);
        self.followed -= 1;
        self.text.push('/');
    }

    /// Appends a byte as two hexadecimal digits. Keys are written several times for each event, and formatting is slower.
    pub(crate) fn hex(&mut self, byte: u8) {
        for digit in [byte >> 4, byte & 15] {
            let digit = char::from_digit(digit.into(), 16);
            self.text.push(digit.unwrap_or('0'));
        }
    }

    pub(crate) fn colon(&mut self) {
        self.text.push(':');
    }

    pub(crate) fn into_string(self) -> String {
        self.text
    }
}

/// Parts of a key that are not read yet.
#[derive(Debug)]
pub struct KeyParts<'a> {
    /// Text that is left; `None` behind the last part.
    rest: Option<&'a str>,
    /// Number of enclosing keys that have further parts behind the present one.
    followed: u32,
}

impl<'a> KeyParts<'a> {
    pub(crate) fn new(text: &'a str) -> Self {
        KeyParts {
            rest: Some(text),
            followed: 0,
        }
    }

    /// Next part as a text: all that is left, if it is the last one of the whole key.
    pub fn text(&mut self) -> Option<Cow<'a, str>> {
        let rest = self.rest.take()?;
        if self.followed == 0 {
            return Some(Cow::Borrowed(rest));
        }
        let (part, rest) = rest.split_once('/')?;
        self.rest = Some(rest);
        Some(unescape(part))
    }

    /// Next part, which others follow.
    pub fn lead<K>(&mut self, read: impl FnOnce(&mut Self) -> Option<K>) -> Option<K> {
        self.followed += 1;
        let key = read(self);
        self.followed -= 1;
        key
    }
}

/// Letter that an escape at the beginning of a text stands for.
fn escape_of(text: &str) -> Option<char> {
    match text.get(..3)? {
        "%2F" => Some('/'),
        "%25" => Some('%'),
        _ => None,
    }
}

fn unescape(part: &str) -> Cow<'_, str> {
    if !part.contains('%') {
        return Cow::Borrowed(part);
    }
    let mut out = String::with_capacity(part.len());
    let mut rest = part;
    while let Some(at) = rest.find('%') {
        out.push_str(&rest[..at]);
        let escape = &rest[at..];
        let (letter, length) = escape_of(escape).map_or(('%', 1), |letter| (letter, 3));
        out.push(letter);
        rest = &escape[length..];
    }
    out.push_str(rest);
    Cow::Owned(out)
}
