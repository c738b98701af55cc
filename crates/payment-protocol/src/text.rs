//! Texts for people, as providers take them.

/// At most this many characters.
pub fn shortened(text: &str, characters: usize) -> String {
    text.chars().take(characters).collect()
}

/// With a space for each character that fails, at most this many characters, and never empty.
pub fn plain(text: &str, characters: usize, allowed: impl Fn(char) -> bool) -> String {
    let replaced: String = text.chars().map(|c| if allowed(c) && !c.is_control() { c } else { ' ' }).collect();
    let text = shortened(replaced.trim(), characters);
    if text.is_empty() { "-".to_owned() } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_cut_between_characters() {
        assert_eq!(shortened("咖啡杯", 2), "咖啡");
        assert_eq!(plain("杯\u{1F600}a\nb", 10, |c| c.len_utf8() < 4), "杯 a b");
        assert_eq!(plain("\u{1F600}", 10, |c| c.len_utf8() < 4), "-");
    }
}
