//! Files with links that a tree does not have.

use super::{Attribute, File, Member, NewGroup, Object, write};

/// A group with the members `aa` and `bb`: the next group, or one without members.
fn nested(depth: usize) -> NewGroup {
    let next = |depth: usize| Member::Group(if depth == 0 { NewGroup::default() } else { nested(depth - 1) });
    NewGroup { attributes: vec![], members: vec![("aa".into(), next(depth)), ("bb".into(), next(0))] }
}

/// The places of the addresses in the links of this name.
fn links(bytes: &[u8], name: &str) -> Vec<usize> {
    let start = [&[1, 1, 2, 0], name.as_bytes()].concat();
    (0..bytes.len()).filter(|&at| bytes[at..].starts_with(&start)).map(|at| at + start.len()).collect()
}

#[test]
fn what_is_written_is_read() {
    let array = Member::Array { shape: vec![2, 1], words: [1.5f32, -2.0].map(f32::to_bits).to_vec() };
    let texts = ["one".to_owned(), "three".to_owned()];
    let attributes = vec![
        ("list".to_owned(), Attribute::Texts(texts.to_vec())),
        ("text".to_owned(), Attribute::Text("x".into())),
        ("none".to_owned(), Attribute::Texts(vec![])),
    ];
    let inner = NewGroup { attributes, members: vec![("array".into(), array)] };
    let bytes = write(&NewGroup { attributes: vec![], members: vec![("inner".into(), Member::Group(inner))] }).unwrap();
    let file = File::read(&bytes).unwrap();
    let Some(Object::Array(array)) = file.root.at("inner/array") else { panic!("{file:?}") };
    assert_eq!((&array.shape[..], array.to_f32().unwrap()), (&[2, 1][..], vec![1.5, -2.0]));
    let inner = file.root.group("inner").unwrap();
    assert_eq!(file.texts(inner, "list").unwrap().unwrap(), texts);
    assert_eq!(file.texts(inner, "text").unwrap().unwrap(), ["x"]);
    assert!(file.texts(inner, "none").unwrap().unwrap().is_empty());
    assert!(file.texts(inner, "absent").unwrap().is_none());
}

#[test]
fn groups_that_contain_themselves_or_each_other_many_times_are_refused() {
    let mut cycle = write(&nested(1)).unwrap();
    let root = cycle[64..72].to_vec();
    for at in links(&cycle, "aa") {
        cycle[at..at + 8].copy_from_slice(&root);
    }
    let error = File::read(&cycle).unwrap_err();
    assert!(error.contains("nested more than 64 deep"), "{error}");
    // Each of 40 groups has the next one twice: 2^40 paths.
    let mut many = write(&nested(40)).unwrap();
    assert!(File::read(&many).is_ok());
    for (from, to) in links(&many, "aa").into_iter().zip(links(&many, "bb")) {
        many.copy_within(from..from + 8, to);
    }
    let error = File::read(&many).unwrap_err();
    assert!(error.contains("too many objects"), "{error}");
}
