fn main() {
    let mut bindgen = wasm_bindgen_cli_support::Bindgen::new();
    bindgen.input_path(std::env::args().nth(1).unwrap()).web(true).unwrap();
    bindgen.generate(std::env::args().nth(2).unwrap()).unwrap();
}
