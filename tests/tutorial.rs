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

/// The code blocks of a page in this language.
fn blocks<'a>(page: &'a str, language: &str) -> Vec<&'a str> {
    let rests = page.split(&format!("```{language}\n")).skip(1).collect::<Vec<_>>();
    rests.into_iter().map(|rest| rest.split_once("```").expect("a block that ends").0).collect()
}

#[test]
fn the_programs_are_what_the_pages_say() {
    let page = include_str!("../docs/embedding.md");
    let [rust, toml, wgsl] = ["rust", "toml", "wgsl"].map(|language| blocks(page, language));
    assert_eq!(page.matches("```").count() / 2, rust.len() + toml.len() + wgsl.len(), "every block has a language");
    check("program.rs", &rust);
    check("readme.rs", &blocks(include_str!("../README.md"), "rust")[..1]);
}
