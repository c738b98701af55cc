//! Search in product names: the terms by which a name is found, and the terms that a query looks up. Pure functions,
//! without a database.
//!
//! A name is folded ([`fold`]) and split into terms ([`terms`]), which are stored in the table `product_terms`. Where a
//! script separates words by spaces, every prefix of a word is a term. Elsewhere (Chinese, but also punctuation and
//! emoji) every character and every bigram is a term, so that any part of the name is found. A query ([`Query`]) is
//! split in the same way, into as few terms as possible. What they leave open is checked in the folded name. The index
//! only looks up whole terms.

pub mod block;

use std::{cmp::Reverse, collections::BTreeSet};

use unicode_normalization::UnicodeNormalization;

/// The longest prefix that is a term, in characters. What follows it in a word is checked in the name itself.
const MAX_PREFIX: usize = 16;
/// The longest term where words are not separated, in characters.
const BIGRAM: usize = 2;
/// The most terms that a query looks up. The rest of a longer one is checked in the names that have these.
const MAX_TERMS: usize = 6;

/// Text in the form in which it is compared: compatibility composition (Unicode Standard Annex #15), lower case,
/// without accents, one space between words.
pub fn fold(text: &str) -> String {
    let is_accent = |c: &char| ('\u{300}'..='\u{36f}').contains(c);
    let folded: String = text.nfkd().flat_map(char::to_lowercase).filter(|c| !is_accent(c)).nfc().collect();
    folded.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Letter,
    Digit,
    /// Any part of it is found.
    Other,
}

/// Latin, Greek, Cyrillic and Armenian separate words by spaces.
fn kind(c: char) -> Kind {
    match c {
        c if c >= '\u{590}' => Kind::Other,
        c if c.is_numeric() => Kind::Digit,
        c if c.is_alphabetic() => Kind::Letter,
        _ => Kind::Other,
    }
}

fn is_word(run: &[char]) -> bool {
    run.first().is_some_and(|c| kind(*c) != Kind::Other)
}

fn max_term_length(run: &[char]) -> usize {
    if is_word(run) { MAX_PREFIX } else { BIGRAM }
}

/// Splits a text without spaces into runs of word characters and of other characters.
fn runs(part: &[char]) -> impl Iterator<Item = &[char]> {
    part.chunk_by(|a, b| (kind(*a) == Kind::Other) == (kind(*b) == Kind::Other))
}

/// Whether a term begins with `c`, which follows `before` in the same run: `mate60` is also found by `60`.
fn starts_term(before: Option<char>, c: char) -> bool {
    match before.map(kind) {
        None | Some(Kind::Other) => true,
        Some(before) => before != kind(c),
    }
}

/// The terms of a folded name.
pub fn terms(folded: &str) -> BTreeSet<String> {
    let mut terms = BTreeSet::new();
    for part in folded.split(' ') {
        let chars: Vec<char> = part.chars().collect();
        for run in runs(&chars) {
            let before = std::iter::once(None).chain(run.iter().copied().map(Some));
            for (at, (before, c)) in before.zip(run).enumerate() {
                if starts_term(before, *c) {
                    let term: Vec<char> = run.iter().copied().skip(at).take(max_term_length(run)).collect();
                    terms.extend((1..=term.len()).map(|length| term.iter().take(length).collect::<String>()));
                }
            }
        }
    }
    terms
}

/// A search query: words, in any order.
#[derive(Debug, PartialEq, Eq)]
pub struct Query {
    /// The whole query, folded.
    pub text: String,
    /// Terms that the name must have, all of them. The longest come first, since they tend to be rare.
    pub terms: Vec<String>,
    /// Texts that the folded name must also contain, since the terms might be apart from each other in it.
    pub parts: Vec<String>,
}

impl Query {
    pub fn new(q: &str) -> Self {
        let text = fold(q);
        let (mut terms, mut parts) = (BTreeSet::new(), BTreeSet::new());
        for part in text.split(' ').filter(|part| !part.is_empty()) {
            let chars: Vec<char> = part.chars().collect();
            for run in runs(&chars) {
                if run.len() < chars.len() || run.len() > max_term_length(run) {
                    parts.insert(part.to_owned());
                }
                terms.extend(needed_terms(run));
            }
        }
        let mut terms: Vec<_> = terms.into_iter().collect();
        terms.sort_by_key(|term| Reverse(term.len()));
        if terms.len() > MAX_TERMS {
            terms.truncate(MAX_TERMS);
            parts.extend(text.split(' ').map(str::to_owned));
        }
        Query { text, terms, parts: parts.into_iter().collect() }
    }

    /// How well a matching name fits: 3 if it equals the query, 2 if it begins with it, 1 if it contains it, 0 if it
    /// only has its words.
    pub fn relevance(&self, name: &str) -> i64 {
        let name = fold(name);
        match name.find(&self.text) {
            Some(0) if name.len() == self.text.len() => 3,
            Some(0) => 2,
            Some(_) => 1,
            None => 0,
        }
    }
}

/// The terms that a name with this run must have, as few as possible.
fn needed_terms(run: &[char]) -> Vec<String> {
    if is_word(run) || run.len() < BIGRAM {
        return vec![run.iter().take(MAX_PREFIX).collect()];
    }
    let bigrams = run.windows(BIGRAM).step_by(BIGRAM).chain(run.windows(BIGRAM).last());
    bigrams.map(|bigram| bigram.iter().collect()).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What the shop does with terms and query in SQL.
    fn finds(q: &str, name: &str) -> bool {
        let (query, name) = (Query::new(q), fold(name));
        let terms = terms(&name);
        query.terms.iter().all(|term| terms.contains(term))
            && query.parts.iter().all(|part| name.contains(part.as_str()))
    }

    #[test]
    fn a_name_is_split_into_prefixes_and_bigrams() {
        let of = |name: &str| terms(&fold(name)).into_iter().collect::<Vec<_>>();
        assert_eq!(of("华为手机壳"), ["为", "为手", "华", "华为", "壳", "手", "手机", "机", "机壳"]);
        assert_eq!(of("5G  Pro手"), ["5", "5g", "g", "p", "pr", "pro", "手"]);
        assert_eq!(of("it's 1%"), ["%", "'", "1", "i", "it", "s"]);
    }

    #[test]
    fn case_width_and_accents_do_not_count() {
        assert_eq!(fold(" Ｃafé  ＵＳＢ－Ｃ\u{3000}㎏ "), "cafe usb-c kg");
        assert_eq!(fold("がんばれ 한국"), "がんばれ 한국");
        assert_eq!(fold("İ Й"), "i и");
    }

    #[test]
    fn finds_parts_of_chinese_words_and_prefixes_of_others() {
        for (q, name, found) in [
            ("手机", "华为手机壳", true),
            ("壳", "华为手机壳", true),
            ("华手", "华为手机壳", false),
            ("机壳手", "机壳 壳手", false),
            ("iphone", "iPhone 15", true),
            ("IPH", "iPhone 15", true),
            ("15 iphone", "iPhone 15", true),
            ("手机 苹果", "苹果手机", true),
            ("手机 小米", "苹果手机", false),
            ("pro手机", "Mate60Pro手机", true),
            ("60", "Mate60Pro手机", true),
            ("usb-c", "绿联 USB-C 数据线", true),
            ("b-c", "USB C", false),
            ("%", "100% cotton", true),
            ("%%", "100% cotton", false),
            ("it's", "its", false),
            ("its", "it's", false),
            ("its", "it sings", false),
            ("say hi", "say \"hi\"", true),
            ("\"hi\"", "say hi", false),
            ("neil", "O'Neil", true),
            ("monitor 13\"", "13\"monitor", true),
            ("🍵", "Tea 🍵", true),
            ("🍵", "Beer 🍺", false),
            ("手", "手", true),
        ] {
            assert_eq!(finds(q, name), found, "{q} in {name}");
        }
    }

    #[test]
    fn a_long_query_looks_up_few_terms_but_matches_as_a_whole() {
        let long = Query::new("a b c d e f g h i");
        assert_eq!((long.terms.len(), long.parts.len()), (MAX_TERMS, 9));
        let word = "x".repeat(200);
        assert!(finds(&word, &word) && !finds(&word, &"x".repeat(199)));
        assert!(Query::new(" \u{301} ").terms.is_empty());
    }

    #[test]
    fn a_closer_match_is_more_relevant() {
        let of = |name| Query::new("iPhone 15").relevance(name);
        assert_eq!(["IPHONE  15", "iPhone 15 Pro", "Apple iPhone 15", "15 cases for iPhone"].map(of), [3, 2, 1, 0]);
    }

    proptest! {
        #[test]
        fn every_word_of_a_name_finds_it(name in "\\PC{1,60}") {
            for word in name.split_whitespace() {
                prop_assert!(finds(word, &name), "{word:?} in {name:?}");
            }
            prop_assert!(finds(&name, &name));
        }

        #[test]
        fn every_part_of_a_chinese_name_finds_it(
            before in "[a-z0-9 ]{0,8}", name in "[\u{4e00}-\u{4e20}]{2,30}", from in 0_usize..30, length in 2_usize..12
        ) {
            let part: String = name.chars().skip(from % (name.chars().count() - 1)).take(length).collect();
            let name = format!("{before}{name}");
            prop_assert!(finds(&part, &name), "{part:?} in {name:?}");
        }

        #[test]
        fn finds_nothing_but_substrings(name in "[\u{4e00}-\u{4e04}a-b ]{1,20}", q in "[\u{4e00}-\u{4e04}]{1,6}") {
            prop_assert_eq!(finds(&q, &name), name.contains(&q));
        }

        #[test]
        fn terms_fit_their_column(name in "\\PC{1,200}") {
            prop_assert!(terms(&fold(&name)).iter().all(|term| (1..=32).contains(&term.len())));
        }
    }
}
