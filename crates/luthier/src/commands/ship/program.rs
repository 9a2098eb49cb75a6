//! The program that goes into the image, which must run where there is no C library.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

use super::shown;
use crate::failure::Failure;
use crate::term::Reporter;

/// The checkout that this program was built from, if it is still there.
const CHECKOUT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");

/// The bytes of a static build: the one that is `given`, else the program that runs, else one
/// built from the checkout.
pub(super) fn program(given: Option<&Path>) -> Result<Vec<u8>, Failure> {
    if let Some(path) = given {
        let bytes = fs::read(path).map_err(Failure::io(path))?;
        return match is_static(&bytes) {
            true => Ok(bytes),
            false => Err(Failure::input(format!("{} is no static program", shown(path)))
                .hint("an image of nothing else has no libraries; build it as in the guide")),
        };
    }
    let running = env::current_exe().map_err(Failure::io(Path::new("/proc/self/exe")))?;
    let bytes = fs::read(&running).map_err(Failure::io(&running))?;
    match is_static(&bytes) {
        true => Ok(bytes),
        false => {
            let built = build()?;
            fs::read(&built).map_err(Failure::io(&built))
        }
    }
}

/// Whether `bytes` are a 64-bit ELF program that asks for no loader of shared libraries (it has no
/// segment of type `PT_INTERP`; System V ABI, chapter 5).
fn is_static(bytes: &[u8]) -> bool {
    const PT_INTERP: u32 = 3;
    let number = |at: usize, length: usize| -> Option<u64> {
        let bytes = bytes.get(at..at.checked_add(length)?)?;
        Some(bytes.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte)))
    };
    let segments = || {
        let little_endian_64 = bytes.starts_with(b"\x7fELF\x02\x01");
        let table = usize::try_from(number(0x20, 8)?).ok()?;
        let (size, count) = (number(0x36, 2)? as usize, number(0x38, 2)? as usize);
        let kind = |index: usize| number(table.checked_add(index * size)?, 4);
        let kinds: Option<Vec<u64>> = (0..count).map(kind).collect();
        kinds.filter(|_| little_endian_64)
    };
    segments().is_some_and(|kinds| !kinds.contains(&u64::from(PT_INTERP)))
}

/// Builds the checkout for musl, and gives the program's path.
fn build() -> Result<PathBuf, Failure> {
    let target = format!("{}-unknown-linux-musl", env::consts::ARCH);
    let advice = format!(
        "run `rustup target add {target}` and `apt-get install musl-tools`, then the same command \
         again; or give a static build with --program"
    );
    let checkout = Path::new(CHECKOUT).canonicalize().ok();
    let checkout = checkout.filter(|path| path.join("Cargo.lock").is_file()).ok_or_else(|| {
        Failure::fault("this program needs shared libraries, and an image has none")
            .hint("give a static build of luthier with --program")
    })?;
    if !can_build(&target) {
        let message =
            format!("a program for an image is built for {target}, which is missing here");
        return Err(Failure::fault(message).hint(advice));
    }
    let folder = env::var_os("CARGO_TARGET_DIR").map_or(checkout.join("target"), PathBuf::from);
    Reporter::new(false).line("program", &format!("builds for {target}; minutes, the first time"));
    let status = Command::new("cargo")
        .args(["build", "--quiet", "--release", "--locked", "--package", "luthier"])
        .args(["--target", &target, "--target-dir"])
        .arg(&folder)
        .current_dir(&checkout)
        .status();
    match status {
        Ok(status) if status.success() => Ok(folder.join(target).join("release/luthier")),
        Ok(_) => Err(Failure::fault(format!("the build for {target} failed"))
            .hint("what it says is above; a static build can also be given with --program")),
        Err(error) => Err(Failure::fault(format!("cargo: {error}")).hint(advice)),
    }
}

/// Whether the compilers for `target` are there: Rust's, and C's for SQLite and Zstandard.
fn can_build(target: &str) -> bool {
    let output = |program: &str, args: &[&str]| {
        let output = Command::new(program).args(args).output().ok()?;
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    let library = output("rustc", &["--print", "target-libdir", "--target", target]);
    library.is_some_and(|folder| Path::new(&folder).is_dir())
        && output("musl-gcc", &["--version"]).is_some()
}

#[cfg(test)]
mod tests {
    use super::is_static;

    /// An ELF head with program headers of these types behind it.
    fn elf(kinds: &[u32]) -> Vec<u8> {
        let mut bytes = b"\x7fELF\x02\x01\x01".to_vec();
        bytes.resize(64, 0);
        bytes[0x20] = 64;
        bytes[0x36] = 56;
        bytes[0x38] = kinds.len() as u8;
        for kind in kinds {
            bytes.extend(kind.to_le_bytes());
            bytes.resize(bytes.len() + 52, 0);
        }
        bytes
    }

    #[test]
    fn a_loader_is_what_makes_a_program_dynamic() {
        assert!(is_static(&elf(&[])));
        assert!(is_static(&elf(&[1, 2, 6])));
        assert!(!is_static(&elf(&[6, 3, 1])));
        let whole = elf(&[1, 1]);
        for length in 0..64 + 57 {
            assert!(!is_static(&whole[..length]), "cut at {length}");
        }
        assert!(!is_static(b"#!/bin/sh\n"));
    }
}
