//! Text in fields of constant length.

/// Decodes text from a field of `N` bytes, up to its first zero; the last byte is always a terminator. Each byte
/// that is not UTF-8 becomes a question mark, so that the text still fits when it is encoded again.
pub(crate) fn read_text<const N: usize>(field: &[u8; N]) -> String {
    let bytes = &field[..N - 1];
    let bytes = bytes.split(|b| *b == 0).next().unwrap_or_default();
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        text.push_str(chunk.valid());
        text.extend(chunk.invalid().iter().map(|_| '?'));
    }
    text
}

/// Encodes text into a field of `N` bytes; text that is too long is cut at a character boundary.
pub(crate) fn write_text<const N: usize>(text: &str) -> [u8; N] {
    let mut field = [0; N];
    let end = text.floor_char_boundary(N - 1);
    field[..end].copy_from_slice(&text.as_bytes()[..end]);
    field
}
