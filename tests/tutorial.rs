//! `docs/embedding.md` is a program: its Rust blocks, in order, are `tests/tutorial/program.rs`, which runs here.

mod program {
    include!("tutorial/program.rs");

    #[test]
    fn the_tutorial_runs() {
        main().unwrap();
    }
}

/// To take over what the page says: `WRITE_TUTORIAL=1 cargo test --test tutorial`.
#[test]
fn the_program_is_what_the_page_says() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let page = std::fs::read_to_string(root.join("docs/embedding.md")).unwrap();
    let blocks: Vec<&str> =
        page.split("```rust\n").skip(1).map(|rest| rest.split_once("```").expect("a block that ends").0).collect();
    assert_eq!(page.matches("```").count(), 2 * (blocks.len() + 1), "all blocks but Cargo.toml's are Rust");
    let program = root.join("tests/tutorial/program.rs");
    if std::env::var_os("WRITE_TUTORIAL").is_some() {
        std::fs::write(&program, blocks.join("\n")).unwrap();
    }
    assert_eq!(std::fs::read_to_string(&program).unwrap(), blocks.join("\n"));
}
