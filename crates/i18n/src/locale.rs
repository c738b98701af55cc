//! The languages of the texts, and which of them a request asks for.

use serde::{Deserialize, Serialize};
use strum::{Display, EnumString, IntoStaticStr};
use utoipa::ToSchema;

/// A language, under its BCP 47 name.
#[derive(
    Debug,
    Clone,
    Copy,
    Default,
    PartialEq,
    Eq,
    Hash,
    Serialize,
    Deserialize,
    Display,
    EnumString,
    IntoStaticStr,
    ToSchema,
)]
#[cfg_attr(test, derive(strum::EnumIter))]
pub enum Locale {
    #[default]
    #[serde(rename = "en")]
    #[strum(serialize = "en")]
    En,
    #[serde(rename = "zh-CN")]
    #[strum(serialize = "zh-CN")]
    ZhCn,
}

impl Locale {
    /// The language that an `Accept-Language` header (RFC 9110, section 12.5.4) prefers; none if it names no supported
    /// one.
    ///
    /// For Traditional Chinese it is Simplified Chinese, which is closer than English.
    pub fn negotiate(accept_language: &str) -> Option<Locale> {
        // Not by `fluent-langneg`, whose parser ignores the weights.
        // Of equal weights the first counts, but `max_by` returns the last: hence `rev`.
        let ranges = accept_language.split(',').rev().filter_map(weighted);
        ranges.max_by(|(_, one), (_, other)| one.total_cmp(other)).map(|(locale, _)| locale)
    }

    fn of_range(language_range: &str) -> Option<Locale> {
        match language_range.split('-').next()?.to_ascii_lowercase().as_str() {
            "en" => Some(Locale::En),
            "zh" => Some(Locale::ZhCn),
            _ => None,
        }
    }
}

/// The language and the weight of an element; none if it is excluded (`q=0`), not supported or malformed.
fn weighted(element: &str) -> Option<(Locale, f32)> {
    let (range, weight) = match element.split_once(';') {
        Some((range, weight)) => (range, quality(weight.trim())?),
        None => (element, 1.0),
    };
    let locale = Locale::of_range(range.trim())?;
    (weight > 0.0).then_some((locale, weight))
}

fn quality(weight: &str) -> Option<f32> {
    let (name, value) = weight.split_once('=')?;
    let quality: f32 = value.parse().ok()?;
    (name.eq_ignore_ascii_case("q") && (0.0..=1.0).contains(&quality)).then_some(quality)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use strum::IntoEnumIterator;
    use utoipa::PartialSchema;

    use super::*;

    #[test]
    fn negotiates_by_weight_then_by_order() {
        let (en, zh) = (Some(Locale::En), Some(Locale::ZhCn));
        let cases = [
            ("en", en),
            ("EN-us", en),
            ("en-GB-oxendict", en),
            ("zh", zh),
            ("zh-CN", zh),
            ("ZH-cn", zh),
            ("zh-Hans", zh),
            ("zh-Hans-SG", zh),
            ("zh-SG", zh),
            ("zh-TW", zh),
            ("zh-Hant-HK", zh),
            ("zh-Hans-CN-u-nu-hanidec", zh),
            // What browsers send.
            ("zh-CN,zh;q=0.9,en;q=0.8", zh),
            ("en-US,en;q=0.9,zh-CN;q=0.8", en),
            ("de-DE,de;q=0.9,zh;q=0.8,en;q=0.7", zh),
            // The weight counts, not the order; of equals, the first.
            ("en;q=0.8, zh-CN", zh),
            ("en;q=0.1, zh;q=0.123", zh),
            ("en;q=0.5, zh;q=0.5", en),
            ("zh, en", zh),
            ("fr, en;q=0.2, *;q=0.9", en),
            (" zh ; q=0.4\t,\ten ; Q=0.6 ", en),
            // Excluded.
            ("en;q=0", None),
            ("en;q=0.000, zh;q=0.001", zh),
            // Not supported, or empty.
            ("", None),
            (" , ,", None),
            ("*", None),
            ("*;q=0.5", None),
            ("fr-FR, de", None),
            ("english", None),
            ("zhu", None),
            ("i-klingon, x-en", None),
            // Malformed: ignored.
            ("en;q=2, zh;q=0.1", zh),
            ("en;q=-1, zh;q=0.1", zh),
            ("en;q=NaN, zh;q=0.1", zh),
            ("en;q=inf, zh;q=0.1", zh),
            ("en;q=, zh;q=0.1", zh),
            ("en;level=1, zh;q=0.1", zh),
            ("en;, zh;q=0.1", zh),
            ("😀;q=0.9, zh;q=0.1", zh),
        ];
        for (header, locale) in cases {
            assert_eq!(Locale::negotiate(header), locale, "{header:?}");
        }
    }

    #[test]
    fn a_locale_has_one_name_everywhere() {
        for locale in Locale::iter() {
            let name: &str = locale.into();
            assert_eq!(name.parse(), Ok(locale));
            assert_eq!(locale.to_string(), name);
            assert_eq!(serde_json::to_value(locale).unwrap(), name);
            assert_eq!(serde_json::from_value::<Locale>(name.into()).unwrap(), locale);
        }
        let schema = serde_json::to_value(Locale::schema()).unwrap();
        assert_eq!(schema["enum"], serde_json::json!(["en", "zh-CN"]));
        assert!("zh-cn".parse::<Locale>().is_err() && "".parse::<Locale>().is_err());
    }

    proptest! {
        #[test]
        fn any_header_is_accepted(header in any::<String>()) {
            Locale::negotiate(&header);
        }

        #[test]
        fn an_almost_valid_header_is_accepted(header in "([a-z*]{0,3}(-[a-zA-Z0-9]{0,9})?[ ;]*(q=)?[0-9.naife-]{0,6}[, ]{0,2}){0,40}") {
            Locale::negotiate(&header);
        }

        #[test]
        fn the_greatest_weight_wins(en in 1_u32..=1000, zh in 1_u32..=1000) {
            let header = format!("en;q={:.3},zh;q={:.3}", f64::from(en) / 1000.0, f64::from(zh) / 1000.0);
            let expected = if zh > en { Locale::ZhCn } else { Locale::En };
            prop_assert_eq!(Locale::negotiate(&header), Some(expected));
        }
    }
}
