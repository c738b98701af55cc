//! What of a product's name can be found, and what a query looks for: rules alone, without a database.
//!
//! A name is folded ([`fold`]) and cut into terms ([`terms`]), which the table `product_terms` keeps. Where a script puts
//! spaces between words, every beginning of a word is a term; elsewhere (Chinese, but also punctuation and emoji) every
//! character and every two that stand together, so that any part is found. A query ([`Query`]) is cut in the same way, into
//! as few as tell it; what they don't say for certain is looked up in the folded name. No term is looked up but as a whole.

pub mod block;

use std::{cmp::Reverse, collections::BTreeSet};

use unicode_normalization::UnicodeNormalization;

/// Characters of a word that are a term at most; of what follows the name itself tells.
const WORD: usize = 16;
/// The same where words are not told apart.
const PAIR: usize = 2;
/// Terms that a query looks up. The rest of a long one is looked for in the names that have these.
const MOST_TERMS: usize = 6;

/// Text as it is compared: without case, accents and widths, one space between words.
pub fn fold(text: &str) -> String {
    let is_accent = |c: &char| ('\u{300}'..='\u{36f}').contains(c);
    let folded: String = text.nfkd().flat_map(char::to_lowercase).filter(|c| !is_accent(c)).nfc().collect();
    folded.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Letter,
    Digit,
    /// Found by any part.
    Other,
}

/// Latin, Greek, Cyrillic and Armenian put spaces between words.
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

fn longest(run: &[char]) -> usize {
    if is_word(run) { WORD } else { PAIR }
}

/// What stands between spaces, as runs of what is a word and what is not.
fn runs(part: &[char]) -> impl Iterator<Item = &[char]> {
    part.chunk_by(|a, b| (kind(*a) == Kind::Other) == (kind(*b) == Kind::Other))
}

/// Whether a term begins with `c` after `before` in the same run: `mate60` is found as `60`, too.
fn begins(before: Option<char>, c: char) -> bool {
    match before.map(kind) {
        None | Some(Kind::Other) => true,
        Some(before) => before != kind(c),
    }
}

/// What a folded name is found by.
pub fn terms(folded: &str) -> BTreeSet<String> {
    let mut terms = BTreeSet::new();
    for part in folded.split(' ') {
        let chars: Vec<char> = part.chars().collect();
        for run in runs(&chars) {
            let before = std::iter::once(None).chain(run.iter().copied().map(Some));
            for (at, (before, c)) in before.zip(run).enumerate() {
                if begins(before, *c) {
                    let term: Vec<char> = run.iter().copied().skip(at).take(longest(run)).collect();
                    terms.extend((1..=term.len()).map(|length| term.iter().take(length).collect::<String>()));
                }
            }
        }
    }
    terms
}

/// What somebody looks for: words, in any order.
#[derive(Debug, PartialEq, Eq)]
pub struct Query {
    /// The whole of it, folded.
    pub text: String,
    /// The name must have all of these. The longest first, which tend to be rare.
    pub terms: Vec<String>,
    /// What the folded name must have besides, since the terms could stand in it apart from each other.
    pub parts: Vec<String>,
}

impl Query {
    pub fn new(q: &str) -> Self {
        let text = fold(q);
        let (mut terms, mut parts) = (BTreeSet::new(), BTreeSet::new());
        for part in text.split(' ').filter(|part| !part.is_empty()) {
            let chars: Vec<char> = part.chars().collect();
            for run in runs(&chars) {
                if run.len() < chars.len() || run.len() > longest(run) {
                    parts.insert(part.to_owned());
                }
                terms.extend(wanted(run));
            }
        }
        let mut terms: Vec<_> = terms.into_iter().collect();
        terms.sort_by_key(|term| Reverse(term.len()));
        if terms.len() > MOST_TERMS {
            terms.truncate(MOST_TERMS);
            parts.extend(text.split(' ').map(str::to_owned));
        }
        Query { text, terms, parts: parts.into_iter().collect() }
    }

    /// How well a name fits: 3 if it is what was asked for, 2 if it begins so, 1 if it has it as it was said, 0 if it has
    /// all of its words.
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

/// The terms that a name with this run has, as few as tell it.
fn wanted(run: &[char]) -> Vec<String> {
    if is_word(run) || run.len() < PAIR {
        return vec![run.iter().take(WORD).collect()];
    }
    let pairs = run.windows(PAIR).step_by(PAIR).chain(run.windows(PAIR).last());
    pairs.map(|pair| pair.iter().collect()).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What the shop does with both, without a database.
    fn finds(q: &str, name: &str) -> bool {
        let (query, name) = (Query::new(q), fold(name));
        let terms = terms(&name);
        query.terms.iter().all(|term| terms.contains(term))
            && query.parts.iter().all(|part| name.contains(part.as_str()))
    }

    #[test]
    fn a_name_becomes_words_and_pairs() {
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
    fn finds_parts_of_chinese_words_and_beginnings_of_others_in_any_order() {
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
    fn a_long_query_looks_up_a_few_terms_and_means_all_of_it() {
        let long = Query::new("a b c d e f g h i");
        assert_eq!((long.terms.len(), long.parts.len()), (MOST_TERMS, 9));
        let word = "x".repeat(200);
        assert!(finds(&word, &word) && !finds(&word, &"x".repeat(199)));
        assert!(Query::new(" \u{301} ").terms.is_empty());
    }

    #[test]
    fn what_is_nearer_to_the_query_is_more_relevant() {
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
        fn nothing_is_found_that_is_not_there(name in "[\u{4e00}-\u{4e04}a-b ]{1,20}", q in "[\u{4e00}-\u{4e04}]{1,6}") {
            prop_assert_eq!(finds(&q, &name), name.contains(&q));
        }

        #[test]
        fn terms_fit_their_column(name in "\\PC{1,200}") {
            prop_assert!(terms(&fold(&name)).iter().all(|term| (1..=32).contains(&term.len())));
        }
    }
}
