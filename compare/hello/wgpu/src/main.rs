fn main() -> hello_wgpu::Result<()> {
    println!("{}", hello_wgpu::Alone::open()?.run()?);
    Ok(())
}
