//! Files with links that a tree does not have.

use std::cell::Cell;

use super::{Array, Attribute, BYTES_OF_A_STEP, Bytes, Cursor, File, Kind, Member, NewGroup, Object, datatype, write};

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

#[test]
fn a_text_that_many_elements_name_is_counted_each_time() {
    let (count, length) = (10u32, 256u32);
    // A global heap with one object.
    let object =
        [&[1, 0, 0, 0, 0, 0, 0, 0][..], &u64::from(length).to_le_bytes(), &vec![b'x'; length as usize]].concat();
    let size = 16 + object.len() as u64;
    let heap = [&b"GCOL\x01\0\0\0"[..], &size.to_le_bytes(), &object].concat();
    let element = [&length.to_le_bytes()[..], &0u64.to_le_bytes(), &1u32.to_le_bytes()].concat();
    let array = Array { kind: Kind::LongText, shape: vec![count.into()], bytes: &element.repeat(count as usize) };
    let needed = count * (1 + length / BYTES_OF_A_STEP as u32);
    let texts = |left: u32| datatype::texts(&Bytes { bytes: &heap, left: Cell::new(left) }, &array);
    assert_eq!(texts(needed).unwrap(), vec!["x".repeat(length as usize); count as usize]);
    assert!(texts(needed - 1).unwrap_err().contains("too many objects"));
}

#[test]
fn lengths_beyond_the_format_are_refused() {
    let shape = |rank: u8| datatype::shape(Cursor(&[&[1, rank, 0, 0, 0, 0, 0, 0][..], &[1; 8 * 33]].concat()));
    assert_eq!(shape(32).unwrap().len(), 32);
    assert!(shape(33).unwrap_err().contains("33 dimensions; expected at most 32"));
    let named = |name: String| write(&NewGroup { attributes: vec![], members: vec![(name, empty())] });
    assert!(File::read(&named("n".repeat(1024)).unwrap()).is_ok());
    assert!(named("n".repeat(1025)).unwrap_err().contains("1025 bytes; expected at most 1024"));
    let members = (0..=u16::MAX).map(|i| (i.to_string(), empty())).collect();
    let error = write(&NewGroup { attributes: vec![], members }).unwrap_err();
    assert!(error.contains("65536 members and attributes; expected at most 65534"), "{error}");
}

fn empty() -> Member {
    Member::Group(NewGroup::default())
}
