//! Copies functions from one kernel's text to another, so that each formula is written once. WGSL has no modules.

use std::collections::BTreeMap;

use super::{Launch, Word};

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

/// The text of a launch with its overrides and uniforms as constants, so that [`excerpt`] can copy functions that use
/// them.
///
/// # Panics
/// If the text does not declare the constants and uniforms. This is a mistake in the shader, which the tests find.
pub fn with_constants(launch: &Launch) -> String {
    let text = &launch.shader.source;
    let declared = |start: &str| {
        let after = text.split_once(start).unwrap_or_else(|| panic!("no {start}in {}", launch.shader.name)).1;
        words(after).next().unwrap_or_default()
    };
    let mut constants = String::from("\n");
    for &(name, value) in &launch.shader.constants {
        let ty = declared(&format!("override {name}: "));
        let value = match ty {
            "bool" => (value != 0.0).to_string(),
            "u32" => format!("{value}u"),
            _ => format!("{:?}", value as f32),
        };
        constants += &format!("const {name}: {ty} = {value};\n");
    }
    let uniform = |(_, word): &(_, Word)| match word {
        Word::U32(value) => format!("{value}u"),
        Word::F32(value) => format!("{value:?}"),
    };
    let uniforms: Vec<String> = launch.uniforms.iter().map(uniform).collect();
    constants += &format!("const u = {}({});\n", declared("var<storage, read> u: "), uniforms.join(", "));
    constants + text
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
