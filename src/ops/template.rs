//! Template expansion for shaders. WGSL has neither macros nor loops over names, and kernels need named accumulators.
//!
//! - Lines between `// for each NAME` and `// end` are repeated. `counts` gives the number of repetitions.
//! - Lines between `// if CONDITION` and `// end` are kept if the condition holds. A condition is a name in
//!   `conditions`, or it compares numbers: `row<count`.
//! - `{NAME}` becomes the index of the repetition. Outside of a repetition it becomes the count.
//! - Braces can contain expressions such as `{NAME/count}` and `{NAME%count+1}`: sums and differences of products.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::{Mutex, PoisonError};

/// Expanded texts. A plan expands the same templates each time it is made, and each kernel of equal layers too.
static TEXTS: Mutex<BTreeMap<String, String>> = Mutex::new(BTreeMap::new());

/// Most bytes of expanded texts that are kept.
const MOST_KEPT: usize = 16 << 20;

/// Expands a template. `counts` gives the number of repetitions or the value of each name. `conditions` lists each
/// condition of the template and whether it holds.
///
/// # Panics
/// If the template uses an unknown name. This is a mistake in the shader, which the tests find.
pub fn expand(template: &str, counts: &[(&str, u32)], conditions: &[(&str, bool)]) -> String {
    let mut key = template.to_owned();
    counts.iter().for_each(|(name, value)| _ = write!(key, "\n{name}={value}"));
    conditions.iter().for_each(|(name, value)| _ = write!(key, "\n{name}={value}"));
    let texts = || TEXTS.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(text) = texts().get(&key) {
        return text.clone();
    }
    let mut text = String::new();
    let lines: Vec<&str> = template.lines().collect();
    push(&mut text, &lines, &counts.to_vec(), counts, conditions);
    let mut texts = texts();
    if texts.values().map(String::len).sum::<usize>() + text.len() > MOST_KEPT {
        texts.clear();
    }
    texts.insert(key, text.clone());
    text
}

fn push(
    text: &mut String,
    lines: &[&str],
    names: &Vec<(&str, u32)>,
    counts: &[(&str, u32)],
    conditions: &[(&str, bool)],
) {
    let mut at = 0;
    while at < lines.len() {
        let line = lines[at].trim();
        let block = || &lines[at + 1..end_of(lines, at)];
        if let Some(name) = line.strip_prefix("// for each ") {
            for i in 0..value(counts, name) {
                let mut names = names.clone();
                names.retain(|(known, _)| *known != name);
                names.push((name, i));
                push(text, block(), &names, counts, conditions);
            }
            at = end_of(lines, at);
        } else if let Some(condition) = line.strip_prefix("// if ") {
            let known = || conditions.iter().find(|(known, _)| *known == condition);
            let holds = match condition.split_once('<') {
                Some((less, more)) => expression(names, less) < expression(names, more),
                None => known().unwrap_or_else(|| panic!("unknown condition: {condition}")).1,
            };
            if holds {
                push(text, block(), names, counts, conditions);
            }
            at = end_of(lines, at);
        } else {
            push_line(text, lines[at], names);
        }
        at += 1;
    }
}

/// Line of the `// end` that closes the block that begins at `start`.
fn end_of(lines: &[&str], start: usize) -> usize {
    let mut depth = 0;
    for (i, line) in lines.iter().enumerate().skip(start) {
        match line.trim() {
            "// end" => depth -= 1,
            line if line.starts_with("// for each ") || line.starts_with("// if ") => depth += 1,
            _ => {}
        }
        if depth == 0 {
            return i;
        }
    }
    panic!("no end to {}", lines[start]);
}

/// Appends a line and replaces the expressions in braces. Braces of WGSL blocks stay.
fn push_line(text: &mut String, line: &str, names: &[(&str, u32)]) {
    let mut rest = line;
    while let Some((before, after)) = rest.split_once('{') {
        text.push_str(before);
        match after.split_once('}') {
            Some((name, after)) if !name.trim().is_empty() && !name.contains([';', '{']) => {
                text.push_str(&expression(names, name).to_string());
                rest = after;
            }
            _ => {
                text.push('{');
                rest = after;
            }
        }
    }
    text.push_str(rest);
    text.push('\n');
}

/// Evaluates a sum of products such as `row/8+2*step-1`, from left to right, without parentheses.
fn expression(names: &[(&str, u32)], text: &str) -> u32 {
    let difference = |terms: &str| terms.split('-').map(|term| product(names, term)).reduce(|a, b| a - b);
    text.split('+').filter_map(difference).sum()
}

fn product(names: &[(&str, u32)], term: &str) -> u32 {
    let Some(at) = term.rfind(['*', '/', '%']) else { return value(names, term) };
    let (left, right) = (product(names, &term[..at]), value(names, &term[at + 1..]));
    match term.as_bytes()[at] {
        b'*' => left * right,
        b'/' => left / right,
        _ => left % right,
    }
}

fn value(names: &[(&str, u32)], text: &str) -> u32 {
    let known = names.iter().find(|(name, _)| *name == text).map(|(_, value)| *value);
    known.or_else(|| text.parse().ok()).unwrap_or_else(|| panic!("unknown name in a template: {text}"))
}

#[cfg(test)]
mod tests {
    use super::expand;

    #[test]
    fn repetitions_nest_and_choices_are_made() {
        let template = "// for each row\n// for each step\nx_{row/2}_{step+row%2*2+pass} {\n// end\n// end\n// if a\na {\n}\n// end\n\
                        // if b\n// for each row\nb\n// end\n// end\n{row}";
        let text = expand(template, &[("row", 3), ("step", 1), ("pass", 4)], &[("a", true), ("b", false)]);
        assert_eq!(text, "x_0_4 {\nx_0_6 {\nx_1_4 {\na {\n}\n3\n");
        let some = "// for each row\n// if 0<row\n{row*4-row+1}\n// end\n// end";
        assert_eq!(expand(some, &[("row", 3)], &[]), "4\n7\n");
    }
}
