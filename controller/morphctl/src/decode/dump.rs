//! Bytes as people have them: raw, as hexadecimal digits, or as a dump with offsets (of xxd, `hexdump -C`, `od -A x -t x1`,
//! `ovs-ofctl`, Wireshark, tshark).
//!
//! 1. Control characters or bytes that are no text: raw. (OpenFlow is: its first byte is a version.)
//! 2. A line that begins with the offset 0, in four digits or more: a dump. A line's bytes end where its text begins; the next
//!    offset must be as many bytes further on, or 0 again in another dump. Lines without an offset are others' words.
//! 3. Else all words are digits, up to a `#` on each line; `BYTE x N` is N times the same byte.

/// How much is read at most: a person looks at it.
pub(super) const MOST: usize = 16 << 20;

/// Reads what was given, or says in which line what is wrong.
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

/// What may stand between words of digits.
fn between(c: char) -> bool {
    c.is_whitespace() || c == ':' || c == ','
}

/// Whether words of the command line are digits rather than a file's name.
pub(super) fn is_hex(text: &str) -> bool {
    let digits = |word: &str| {
        let digits = word.strip_prefix("0x").unwrap_or(word);
        digits.chars().all(|c| c.is_ascii_hexdigit())
    };
    text.contains(|c| !between(c)) && text.split(between).all(digits)
}

/// A line's offset, as it is written, and what follows it.
fn offset(line: &str) -> Option<(&str, &str)> {
    let line = line.trim_start();
    let end = line.find(|c: char| !c.is_ascii_hexdigit());
    let (digits, rest) = line.split_at(end.unwrap_or(line.len()));
    let marked = rest.strip_prefix(':');
    let apart = rest.starts_with("  ") || rest.starts_with('\t') || rest.trim().is_empty();
    // With one space only, it must be of a length that no bytes have: `od` has 6 or 7 digits.
    let odd = rest.starts_with(' ') && matches!(digits.len(), 6 | 7);
    match digits.len() >= 4 && (marked.is_some() || apart || odd) {
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
        let said = [16, 8].map(|radix| usize::from_str_radix(digits, radix).unwrap_or(usize::MAX));
        if said[0] == 0 {
            base = bytes.len();
        }
        if repeats && !row.is_empty() && said[0] <= MOST {
            let missing = (base + said[0]).saturating_sub(bytes.len());
            bytes.extend(row.iter().cycle().take(missing));
        }
        repeats = false;
        if !said.contains(&(bytes.len() - base)) {
            let before = bytes.len() - base;
            return Err(format!(
                "line {number}: the offset {digits}, where {before} (0x{before:x}) bytes came before"
            ));
        }
        row = row_bytes(rest).map_err(|why| format!("line {number}: {why}"))?;
        bytes.extend_from_slice(&row);
    }
    Ok(bytes)
}

/// The bytes of a dump's line after its offset, up to a gap or a bar: what stands behind is text.
fn row_bytes(rest: &str) -> Result<Vec<u8>, String> {
    let until_bar = |text: &str| -> String {
        let bytes = text.split(" |").next().unwrap_or_default();
        // `ovs-ofctl` has a hyphen in the middle.
        bytes.replace('-', " ")
    };
    let rest = rest.trim();
    let Some((left, right)) = rest.split_once("  ") else {
        return pairs(&until_bar(rest));
    };
    let mut bytes = pairs(&until_bar(left))?;
    // Eight and eight, with a gap of just two between them.
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
        let wrong = |why| format!("line {number}: {why}");
        let row = match words[..] {
            [byte, "x", count] => repeated(byte, count),
            _ => pairs(line),
        };
        bytes.extend(row.map_err(wrong)?);
        if bytes.len() > MOST {
            return Err(wrong(format!("more than {MOST} bytes")));
        }
    }
    Ok(bytes)
}

fn repeated(byte: &str, count: &str) -> Result<Vec<u8>, String> {
    let times = count.parse().ok().filter(|times| *times <= MOST);
    let times = times.ok_or_else(|| format!("{count:?} is no count up to {MOST}"))?;
    Ok(pairs(byte)?.repeat(times))
}

/// Two digits a byte, in words of any length; with or without 0x, colons and commas.
fn pairs(text: &str) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    for word in text.split(between).filter(|word| !word.is_empty()) {
        let digits = word.strip_prefix("0x").unwrap_or(word).as_bytes();
        let byte = |pair: &[u8]| {
            let [high, low] = *pair else { return None };
            let digit = |c: u8| (c as char).to_digit(16);
            Some((digit(high)? << 4 | digit(low)?) as u8)
        };
        let read: Option<Vec<u8>> = digits.chunks(2).map(byte).collect();
        let shown: String = word.chars().take(40).collect();
        bytes.extend(
            read.ok_or_else(|| format!("{shown:?} is not hexadecimal, two digits a byte"))?,
        );
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Vec<u8>, String> {
        bytes(text.as_bytes().to_vec())
    }

    /// 20 bytes: two rows.
    fn echo() -> Vec<u8> {
        let mut echo = vec![4, 2, 0, 20, 0, 0, 0, 1];
        echo.extend_from_slice(b"ab cd 12 ef|");
        echo
    }

    #[test]
    fn dumps_of_all_tools_are_the_same_bytes() {
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
    fn two_dumps_follow_each_other_and_a_star_repeats_a_row() {
        let dump = "0000  01 02\n\nsome words\n0000  03 04\n0002\n";
        assert_eq!(read(dump), Ok(vec![1, 2, 3, 4]));
        let star = "00000000  07 07  |..|\n*\n00000008  01  |.|\n00000009\n";
        assert_eq!(read(star), Ok(vec![7, 7, 7, 7, 7, 7, 7, 7, 1]));
    }

    #[test]
    fn what_is_no_dump_is_said_with_its_line() {
        for (text, said) in [
            ("04 02\nzz", "line 2: \"zz\" is not hexadecimal"),
            ("040", "line 1: \"040\" is not hexadecimal"),
            (
                "0000  04 02\n0003  01",
                "line 2: the offset 0003, where 2 (0x2) bytes came before",
            ),
            ("0000  04 0g", "line 1: \"0g\" is not hexadecimal"),
            ("00 x 99999999999", "line 1: \"99999999999\" is no count"),
            ("00 x 16000000\n00 x 16000000", "line 2: more than"),
            ("0000  01\n*\nffffffffffffff  01", "line 3: the offset"),
        ] {
            let error = read(text).unwrap_err();
            assert!(error.contains(said), "{text}: {error}");
        }
        assert_eq!(read(""), Ok(vec![]));
    }

    #[test]
    fn a_word_is_digits_or_a_file() {
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
