//! The texts of each language, parsed on first use.

use std::sync::LazyLock;

use fluent_bundle::{FluentArgs, FluentResource, concurrent::FluentBundle};

use crate::Locale;

pub(crate) type Bundle = FluentBundle<FluentResource>;

pub(crate) const EN: &str = include_str!("../locales/en.ftl");
pub(crate) const ZH_CN: &str = include_str!("../locales/zh-CN.ftl");

pub(crate) fn bundle(locale: Locale) -> &'static Bundle {
    static EN_BUNDLE: LazyLock<Bundle> = LazyLock::new(|| parse(Locale::En, EN));
    static ZH_CN_BUNDLE: LazyLock<Bundle> = LazyLock::new(|| parse(Locale::ZhCn, ZH_CN));
    match locale {
        Locale::En => &EN_BUNDLE,
        Locale::ZhCn => &ZH_CN_BUNDLE,
    }
}

/// Skips what can't be parsed; a test checks that everything can.
fn parse(locale: Locale, texts: &str) -> Bundle {
    let language = <&str>::from(locale).parse().unwrap_or_default();
    let mut bundle = Bundle::new_concurrent(vec![language]);
    bundle.set_use_isolating(false);
    bundle.add_resource_overriding(FluentResource::try_new(texts.to_owned()).unwrap_or_else(|(parsed, _)| parsed));
    bundle
}

/// The text with this id: in English if the language lacks it, the id itself if English does too.
pub(crate) fn value(locale: Locale, id: &str, args: &FluentArgs<'_>) -> String {
    with_fallback(locale, id, |bundle| format(bundle, id, None, args))
}

/// An attribute of the text with this id, with the same fallback.
pub(crate) fn attribute(locale: Locale, id: &str, name: &str, args: &FluentArgs<'_>) -> String {
    with_fallback(locale, id, |bundle| format(bundle, id, Some(name), args))
}

fn with_fallback(locale: Locale, id: &str, format: impl Fn(&Bundle) -> Option<String>) -> String {
    format(bundle(locale)).or_else(|| format(bundle(Locale::En))).unwrap_or_else(|| id.to_owned())
}

/// None if there is no such text, or an argument is missing.
pub(crate) fn format(bundle: &Bundle, id: &str, attribute: Option<&str>, args: &FluentArgs<'_>) -> Option<String> {
    let message = bundle.get_message(id)?;
    let pattern = match attribute {
        Some(name) => message.get_attribute(name)?.value(),
        None => message.value()?,
    };
    let mut errors = vec![];
    let text = bundle.format_pattern(pattern, Some(args), &mut errors).into_owned();
    errors.is_empty().then_some(text)
}
