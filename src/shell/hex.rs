//! Bytes as lower-case hexadecimal digits, and back. Without a formatter for each byte: a claim's answer has 64 of these.

/// Two digits a byte.
pub fn hex(bytes: &[u8]) -> String {
    let digits = bytes.iter().flat_map(|byte| [byte >> 4, byte & 0xf]);
    let mut text = String::with_capacity(2 * bytes.len());
    text.extend(digits.filter_map(|digit| char::from_digit(digit.into(), 16)));
    text
}

/// The reverse of [`hex`]; `None` for what it does not write, but for the case of letters.
pub fn unhex(text: &str) -> Option<Vec<u8>> {
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let bytes = pairs.iter().map(|[high, low]| Some(digit(*high)? << 4 | digit(*low)?)).collect();
    if rest.is_empty() { bytes } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_has_two_digits_and_comes_back() {
        let all: Vec<u8> = (0..=u8::MAX).collect();
        assert!(hex(&all).starts_with("000102") && hex(&all).ends_with("fdfeff"));
        assert_eq!(unhex(&hex(&all)), Some(all));
        assert_eq!(unhex("0Fa0"), Some(vec![15, 160]));
        assert_eq!(["0", "zz", "0 ", "+1", "é"].map(unhex), [const { None }; 5]);
    }
}
