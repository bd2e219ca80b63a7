//! Bytes in the forms that people have: raw, as hexadecimal digits, or as a dump with offsets (of xxd, `hexdump -C`,
//! `od -A x -t x1`, `ovs-ofctl`, Wireshark, tshark).
//!
//! 1. Input with control characters, or that is not text, is raw. (OpenFlow always is: its first byte is a version.)
//! 2. A line that begins with the offset 0, in four digits or more, makes the input a dump. The bytes of a line end where its
//!    text column begins. The next offset must be larger by their number, or 0 again for another dump. Lines without an
//!    offset are skipped.
//! 3. Otherwise all words are digits, up to a `#` on each line; `BYTE x N` stands for N times the same byte.

/// Limit of the input: people read the output.
pub(super) const MAX_BYTES: usize = 16 << 20;

/// Reads the input; an error names the line.
pub(super) fn bytes(input: Vec<u8>) -> Result<Vec<u8>, String> {
    let text = match String::from_utf8(input) {
        Ok(text) if !text.contains(|c: char| c.is_control() && !c.is_whitespace()) => text,
        Ok(text) => return Ok(text.into_bytes()),
        Err(error) => return Ok(error.into_bytes()),
    };
    let first = text.lines().filter_map(offset).next();
    match first.is_some_and(|(digits, _)| digits.bytes().all(|digit| digit == b'0')) {
        true => dump(&text),
        false => digits(&text),
    }
}

/// Tells whether a character separates words of digits.
fn is_separator(c: char) -> bool {
    c.is_whitespace() || c == ':' || c == ','
}

/// Tells whether words of the command line are digits rather than the name of a file.
pub(super) fn is_hex(text: &str) -> bool {
    let digits = |word: &str| {
        let digits = word.strip_prefix("0x").unwrap_or(word);
        digits.chars().all(|c| c.is_ascii_hexdigit())
    };
    text.contains(|c| !is_separator(c)) && text.split(is_separator).all(digits)
}

/// Splits a line into its offset and the rest.
fn offset(line: &str) -> Option<(&str, &str)> {
    let line = line.trim_start();
    let end = line.find(|c: char| !c.is_ascii_hexdigit());
    let (digits, rest) = line.split_at(end.unwrap_or(line.len()));
    let marked = rest.strip_prefix(':');
    let apart = rest.starts_with("  ") || rest.starts_with('\t') || rest.trim().is_empty();
    // Before a single space it must have a length that bytes do not have: `od` prints 6 or 7 digits.
    let of_od = rest.starts_with(' ') && matches!(digits.len(), 6 | 7);
    match digits.len() >= 4 && (marked.is_some() || apart || of_od) {
        true => Some((digits, marked.unwrap_or(rest))),
        false => None,
    }
}

fn dump(text: &str) -> Result<Vec<u8>, String> {
    let (mut bytes, mut base, mut row, mut repeats) = (Vec::new(), 0, Vec::new(), false);
    for (number, line) in (1..).zip(text.lines()) {
        if line.trim() == "*" {
            repeats = true;
            continue;
        }
        let Some((digits, rest)) = offset(line) else {
            continue;
        };
        let offsets =
            [16, 8].map(|radix| usize::from_str_radix(digits, radix).unwrap_or(usize::MAX));
        if offsets[0] == 0 {
            base = bytes.len();
        }
        if repeats && !row.is_empty() && offsets[0] <= MAX_BYTES {
            let missing = (base + offsets[0]).saturating_sub(bytes.len());
            bytes.extend(row.iter().cycle().take(missing));
        }
        repeats = false;
        if !offsets.contains(&(bytes.len() - base)) {
            let before = bytes.len() - base;
            return Err(format!(
                "line {number}: the offset is {digits}, but {before} (0x{before:x}) bytes precede it"
            ));
        }
        row = row_bytes(rest).map_err(|reason| format!("line {number}: {reason}"))?;
        bytes.extend_from_slice(&row);
    }
    Ok(bytes)
}

/// Reads the bytes of a dump's line after its offset. A gap or a bar ends them, and the text column follows.
fn row_bytes(rest: &str) -> Result<Vec<u8>, String> {
    let until_bar = |text: &str| -> String {
        let bytes = text.split(" |").next().unwrap_or_default();
        // `ovs-ofctl` prints a hyphen in the middle.
        bytes.replace('-', " ")
    };
    let rest = rest.trim();
    let Some((left, right)) = rest.split_once("  ") else {
        return pairs(&until_bar(rest));
    };
    let mut bytes = pairs(&until_bar(left))?;
    // Two groups of eight bytes may have a gap of two spaces between them.
    let middle = bytes.len() == 8 && left.len() == 23 && !right.starts_with([' ', '|']);
    let right = right.split("  ").next().unwrap_or_default();
    if middle && let Ok(more) = pairs(&until_bar(right)) {
        bytes.extend(more);
    }
    Ok(bytes)
}

fn digits(text: &str) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    for (number, line) in (1..).zip(text.lines()) {
        let line = line.split('#').next().unwrap_or_default();
        let words: Vec<&str> = line.split_whitespace().collect();
        let error = |reason| format!("line {number}: {reason}");
        let row = match words[..] {
            [byte, "x", count] => repeated(byte, count),
            _ => pairs(line),
        };
        bytes.extend(row.map_err(error)?);
        if bytes.len() > MAX_BYTES {
            return Err(error(format!(
                "more than {MAX_BYTES} bytes, which is the limit"
            )));
        }
    }
    Ok(bytes)
}

fn repeated(byte: &str, count: &str) -> Result<Vec<u8>, String> {
    let times = count.parse().ok().filter(|times| *times <= MAX_BYTES);
    let times = times.ok_or_else(|| format!("{count:?} is not a number up to {MAX_BYTES}"))?;
    Ok(pairs(byte)?.repeat(times))
}

/// Reads two digits for each byte, in words of any length, with or without 0x, colons and commas.
fn pairs(text: &str) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    for word in text.split(is_separator).filter(|word| !word.is_empty()) {
        let digits = word.strip_prefix("0x").unwrap_or(word).as_bytes();
        let byte = |pair: &[u8]| {
            let [high, low] = *pair else { return None };
            let digit = |c: u8| (c as char).to_digit(16);
            Some((digit(high)? << 4 | digit(low)?) as u8)
        };
        let read: Option<Vec<u8>> = digits.chunks(2).map(byte).collect();
        let shown: String = word.chars().take(40).collect();
        bytes.extend(read.ok_or_else(|| {
            format!("{shown:?} is not hexadecimal with two digits for each byte")
        })?);
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Vec<u8>, String> {
        bytes(text.as_bytes().to_vec())
    }

    /// Echo request of 20 bytes, which take two rows.
    fn echo() -> Vec<u8> {
        let mut echo = vec![4, 2, 0, 20, 0, 0, 0, 1];
        echo.extend_from_slice(b"ab cd 12 ef|");
        echo
    }

    #[test]
    fn dumps_of_all_tools_give_the_same_bytes() {
        let dumps = [
            (
                "xxd",
                "00000000: 0402 0014 0000 0001 6162 2063 6420 3132  ........ab cd 12\n\
                     00000010: 2065 667c                                 ef|\n",
            ),
            (
                "hexdump -C",
                "00000000  04 02 00 14 00 00 00 01  61 62 20 63 64 20 31 32  |........ab cd 12|\n\
                            00000010  20 65 66 7c                                       | ef||\n00000014\n",
            ),
            (
                "od -A x -t x1",
                "000000 04 02 00 14 00 00 00 01 61 62 20 63 64 20 31 32\n000010 20 65 66 7c\n000014\n",
            ),
            (
                "od -t x1",
                "0000000 04 02 00 14 00 00 00 01 61 62 20 63 64 20 31 32\n0000020 20 65 66 7c\n0000024\n",
            ),
            (
                "ovs-ofctl",
                "OFPT_ECHO_REQUEST (OF1.3) (xid=0x1): 12 bytes of payload\n\
                           00000000  04 02 00 14 00 00 00 01-61 62 20 63 64 20 31 32 |........ab cd 12|\n\
                           00000010  20 65 66 7c             -                        | ef||\n",
            ),
            (
                "Wireshark",
                "0000   04 02 00 14 00 00 00 01 61 62 20 63 64 20 31 32   ........ab cd 12\n\
                           0010   20 65 66 7c                                        ef|\n",
            ),
            (
                "hexdump without text",
                "0000  04 02 00 14 00 00 00 01  61 62 20 63 64 20 31 32\n0010  20 65 66 7c\n",
            ),
            ("digits", "040200140000000161622063642031322065667c"),
            (
                "bytes",
                "0x04,0x02 00:14 # length\n00 x 3\n01\n61622063 642031322065667C\n",
            ),
        ];
        for (tool, dump) in dumps {
            assert_eq!(read(dump), Ok(echo()), "{tool}");
        }
        assert_eq!(bytes(echo()), Ok(echo()), "raw");
    }

    #[test]
    fn dumps_may_follow_each_other_and_a_star_repeats_a_row() {
        let dump = "0000  01 02\n\nsome words\n0000  03 04\n0002\n";
        assert_eq!(read(dump), Ok(vec![1, 2, 3, 4]));
        let star = "00000000  07 07  |..|\n*\n00000008  01  |.|\n00000009\n";
        assert_eq!(read(star), Ok(vec![7, 7, 7, 7, 7, 7, 7, 7, 1]));
    }

    #[test]
    fn an_error_names_its_line() {
        for (text, expected) in [
            ("04 02\nzz", "line 2: \"zz\" is not hexadecimal"),
            ("040", "line 1: \"040\" is not hexadecimal"),
            (
                "0000  04 02\n0003  01",
                "line 2: the offset is 0003, but 2 (0x2) bytes precede it",
            ),
            ("0000  04 0g", "line 1: \"0g\" is not hexadecimal"),
            (
                "00 x 99999999999",
                "line 1: \"99999999999\" is not a number",
            ),
            ("00 x 16000000\n00 x 16000000", "line 2: more than"),
            ("0000  01\n*\nffffffffffffff  01", "line 3: the offset"),
        ] {
            let error = read(text).unwrap_err();
            assert!(error.contains(expected), "{text}: {error}");
        }
        assert_eq!(read(""), Ok(vec![]));
    }

    #[test]
    fn digits_and_file_names_are_told_apart() {
        for (word, hex) in [
            ("0400", true),
            ("0x04 00:08", true),
            ("", false),
            ("a.bin", false),
            ("./ab", false),
        ] {
            assert_eq!(is_hex(word), hex, "{word}");
        }
    }
}
