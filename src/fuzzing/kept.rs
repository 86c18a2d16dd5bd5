//! Tests: what a fuzzer has kept, and changes of that, without the fuzzer: quick enough for every run.

use std::path::Path;

/// An input that is told when what it does is a panic.
struct Input<'a> {
    target: &'a str,
    bytes: &'a [u8],
}

impl Drop for Input<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let Input { target, bytes } = self;
            let file = std::env::temp_dir().join(format!("rs_script-{target}-{}", std::process::id()));
            let written = std::fs::write(&file, bytes);
            eprintln!(
                "the input is in {}: scripts/fuzz --repeat {target} FILE ({written:?})",
                file.display()
            );
        }
    }
}

/// Gives `run` each input in the corpus of `target`, and as many more as `changes` says, always the same ones: each
/// is a part of one with a part of another behind it, and a few of its bytes are others.
pub(crate) fn run(target: &str, changes: usize, run: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target);
    let mut files: Vec<_> =
        std::fs::read_dir(&folder).expect("a corpus").map(|entry| entry.expect("a file").path()).collect();
    files.sort();
    let inputs: Vec<Vec<u8>> = files.iter().map(|file| std::fs::read(file).expect("an input")).collect();
    assert!(inputs.len() >= 100, "{} inputs in {}", inputs.len(), folder.display());
    let mut rng = fastrand::Rng::with_seed(1);
    for number in 0..inputs.len() + changes {
        let bytes = match inputs.get(number) {
            Some(kept) => kept.clone(),
            None => changed(&inputs, &mut rng),
        };
        let input = Input { target, bytes: &bytes };
        run(input.bytes);
    }
}

fn changed(inputs: &[Vec<u8>], rng: &mut fastrand::Rng) -> Vec<u8> {
    let (one, other) = (&inputs[rng.usize(..inputs.len())], &inputs[rng.usize(..inputs.len())]);
    let mut bytes = [&one[..rng.usize(..=one.len())], &other[rng.usize(..=other.len())..]].concat();
    for _ in 0..rng.usize(..4) {
        if !bytes.is_empty() {
            let place = rng.usize(..bytes.len());
            bytes[place] = rng.u8(..);
        }
    }
    bytes
}
