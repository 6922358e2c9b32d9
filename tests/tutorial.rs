//! Runs the code of the pages. The Rust blocks of `docs/embedding.md`, in order, are `tests/tutorial/program.rs`. The
//! first Rust block of README.md is `tests/tutorial/readme.rs`.

mod program {
    include!("tutorial/program.rs");

    #[test]
    fn the_tutorial_runs() {
        main().unwrap();
    }
}

mod readme {
    include!("tutorial/readme.rs");

    #[test]
    fn the_readme_runs() {
        // A folder where the program may write its file.
        std::env::set_current_dir(env!("CARGO_TARGET_TMPDIR")).unwrap();
        main().unwrap();
    }
}

/// The program must equal the page's blocks. To copy them from the pages: `WRITE_TUTORIAL=1 cargo test --test
/// tutorial`.
fn check(program: &str, blocks: &[&str]) {
    let program = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/tutorial").join(program);
    if std::env::var_os("WRITE_TUTORIAL").is_some() {
        std::fs::write(&program, blocks.join("\n")).unwrap();
    }
    assert_eq!(std::fs::read_to_string(&program).unwrap(), blocks.join("\n"));
}

/// The Rust blocks of a page, and the number of all code blocks.
fn blocks(page: &str) -> (Vec<&str>, usize) {
    let rust = page.split("```rust\n").skip(1).map(|rest| rest.split_once("```").expect("a block that ends").0);
    (rust.collect(), page.matches("```").count() / 2)
}

#[test]
fn the_programs_are_what_the_pages_say() {
    let (rust, all) = blocks(include_str!("../docs/embedding.md"));
    assert_eq!(all, rust.len() + 1, "all blocks but Cargo.toml's are Rust");
    check("program.rs", &rust);
    let (rust, _) = blocks(include_str!("../README.md"));
    check("readme.rs", &rust[..1]);
}
