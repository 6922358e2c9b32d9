//! Copies functions from one kernel's text to another, so that each formula is written once. WGSL has no modules.

use std::collections::BTreeMap;

/// Appends a function and all items that it uses to `texts`, each once. `renamed` returns the new name of an item.
///
/// # Panics
/// If the text has no such function. This is a mistake in the shader, which the tests find.
pub fn excerpt(texts: &mut Vec<String>, text: &str, function: &str, renamed: impl Fn(&str) -> String) {
    let items = items(text);
    let mut called = vec![function];
    while let Some(next) = called
        .iter()
        .flat_map(|name| words(items[name]))
        .find(|word| items.contains_key(word) && !called.contains(word))
    {
        called.push(next);
    }
    for name in called.iter().rev() {
        let rename = |word: &str| if called.contains(&word) { renamed(word) } else { word.to_owned() };
        let text: String = words(items[name]).map(rename).collect();
        if !texts.contains(&text) {
            texts.push(text);
        }
    }
}

/// Functions, constants and structs of a text, by name and without their comments.
fn items(text: &str) -> BTreeMap<&str, &str> {
    let mut items = BTreeMap::new();
    for (start, _) in text.match_indices('\n') {
        let item = &text[start + 1..];
        let end = match () {
            () if item.starts_with("fn ") || item.starts_with("struct ") => item.find("\n}").map(|end| end + 3),
            () if item.starts_with("const ") => item.find(";\n").map(|end| end + 2),
            () => None,
        };
        if let Some(item) = end.and_then(|end| item.get(..end)) {
            items.extend(words(item).nth(2).map(|name| (name, item)));
        }
    }
    items
}

/// Splits a text into names and the characters between them.
fn words(text: &str) -> impl Iterator<Item = &str> {
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let mut rest = text;
    std::iter::from_fn(move || {
        let first = rest.chars().next()?;
        let end = rest.find(|c| is_part(c) != is_part(first)).unwrap_or(rest.len());
        let (word, after) = rest.split_at(end);
        rest = after;
        Some(word)
    })
}
