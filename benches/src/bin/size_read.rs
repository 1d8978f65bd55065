//! A program whose size is measured (`benches/size`): it reads a file.

use std::io;

fn main() -> io::Result<()> {
    gimmal::run(async {
        let bytes = gimmal::fs::read("/etc/passwd").await?;
        println!("{}", bytes.len());
        Ok(())
    })
}
