//! A program whose size is measured (`benches/size`): it reads a file, with tokio.

use std::io;

fn main() -> io::Result<()> {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    builder.enable_all().build()?.block_on(async {
        let bytes = tokio::fs::read("/etc/passwd").await?;
        println!("{}", bytes.len());
        Ok(())
    })
}
